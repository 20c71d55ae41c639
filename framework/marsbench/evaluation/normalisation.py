"""Standardise features by statistics of all clips of a corpus or a speaker, without their labels.

Mean and deviation of each dimension are those of a group of clips: all of one corpus, or all of one speaker.
For frames they are over all real frames. Test clips of the group are among them, so what is learnt about
other clips is used on them before they are predicted: scores are transductive (Vapnik 1998, Statistical
Learning Theory, section 8.1), and one clip alone cannot be predicted so.
"""

from collections import Counter
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from marsbench.config import Normalise
from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import CorpusError
from marsbench.features.store import FeatureFile
from marsbench.plugin.features import Features

Groups = tuple[int, ...]
"""Number of the group of each clip of a feature file."""
_NAMED = 3
_LEAST_CLIPS = 2


def groups_of(corpus: CheckedCorpus, by: Normalise | None) -> Groups:
    """Group of each clip; empty for no standardisation. Of a joined corpus, each part is one by itself.

    Raises:
        CorpusError: a clip without a speaker, or a speaker with a single clip, whose features would all be 0.
    """
    if by is None:
        return ()
    if by == "corpus":
        names = [clip.attributes.get("corpus", "") for clip in corpus.clips]
    else:
        unknown = [clip.id for clip in corpus.clips if clip.speaker is None]
        if unknown:
            raise CorpusError(
                f"--normalise speaker needs the speaker of every clip; {len(unknown):,} of "
                f"{len(corpus.clips):,} clips of '{corpus.name}' have none, such as {unknown[0]} (--speaker "
                "REGEX names speakers; --normalise corpus needs none)"
            )
        # The speakers of two corpora are others, whatever their names.
        names = [f"{clip.attributes.get('corpus', '')}\0{clip.speaker}" for clip in corpus.clips]
        if alone := [name for name, count in Counter(names).items() if count < _LEAST_CLIPS]:
            named = ", ".join(name.partition("\0")[2] for name in alone[:_NAMED])
            raise CorpusError(
                f"--normalise speaker needs {_LEAST_CLIPS} clips of each speaker; {len(alone):,} have one "
                f"({named}{', ...' if len(alone) > _NAMED else ''})"
            )
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return tuple(numbers[name] for name in names)


def standardised(
    features: Features, file: FeatureFile, positions: tuple[int, ...], groups: Groups
) -> Features:
    """Features minus the mean of their clip's group, divided by its deviation; padding stays zero.

    Args:
        features: of the clips at `positions`.
        file: where they are from: the statistics are those of all its clips.
        positions: in the file.
        groups: of each clip of the file.
    """
    mean, deviation = _statistics(file, groups)
    own = np.array(groups)[list(positions)]
    if features.kind == "vector":
        return Features((features.values - mean[own]) / deviation[own], features.lengths)
    values = (features.values - mean[own][:, None]) / deviation[own][:, None]
    return Features(np.where(features.is_real[..., None], values, np.float32(0)), features.lengths)


@lru_cache(maxsize=4)
def _statistics(file: FeatureFile, groups: Groups) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation of each group, (n_groups, n_dims); 1 for a dimension that is constant in a group."""
    n_groups, n_dims = max(groups) + 1, file.input_shape[-1]
    counts = np.zeros((n_groups, 1))
    sums, squares = np.zeros((n_groups, n_dims)), np.zeros((n_groups, n_dims))
    for position, group in enumerate(groups):
        rows = np.atleast_2d(file.array(position))
        counts[group] += len(rows)
        sums[group] += rows.sum(axis=0, dtype=np.float64)
    mean = sums / counts
    for position, group in enumerate(groups):
        rows = np.atleast_2d(file.array(position))
        squares[group] += ((rows - mean[group]) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / counts)
    # Of equal numbers, rounding leaves a deviation that is not quite zero.
    deviation[deviation <= np.finfo(np.float32).eps * np.abs(mean)] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)
