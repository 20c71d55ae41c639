"""Standardise features by statistics of a corpus or a speaker, without labels.

Two ways are transductive. Mean and deviation of each dimension are those of a group of clips: all of one
corpus, or all of one speaker. For frames they are over all real frames. Test clips of the group are among
them, so what is learnt about other clips is used on them before they are predicted (Vapnik 1998, Statistical
Learning Theory, section 8.1), and one clip alone cannot be predicted so.

The third, `training-speakers`, needs no test clips: features of each speaker in training get the mean and
deviation of all training clips, so that a model learns from differences within speakers. Test clips are
unchanged.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from marsbench.config import Normalise
from marsbench.data.corpus import CheckedCorpus
from marsbench.data.join import CORPUS
from marsbench.errors import CorpusError
from marsbench.features.feature_file import FeatureFile
from marsbench.plugin.features import Features, Floats

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
        names = [clip.attributes.get(CORPUS, "") for clip in corpus.clips]
    else:
        unknown = [clip.id for clip in corpus.clips if clip.speaker is None]
        if unknown:
            raise CorpusError(
                f"--normalise {by} needs the speaker of every clip; {len(unknown):,} of "
                f"{len(corpus.clips):,} clips of '{corpus.name}' have none, such as {unknown[0]} (--speaker "
                "REGEX names speakers; --normalise corpus needs none)"
            )
        # The speakers of two corpora are others, whatever their names.
        names = [f"{clip.attributes.get(CORPUS, '')}\0{clip.speaker}" for clip in corpus.clips]
        if alone := [name for name, count in Counter(names).items() if count < _LEAST_CLIPS]:
            named = ", ".join(name.partition("\0")[2] for name in alone[:_NAMED])
            raise CorpusError(
                f"--normalise {by} needs {_LEAST_CLIPS} clips of each speaker; {len(alone):,} have one "
                f"({named}{', ...' if len(alone) > _NAMED else ''})"
            )
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return tuple(numbers[name] for name in names)


def standardised(
    features: Features, file: FeatureFile, positions: NDArray[np.int64], groups: Groups
) -> Features:
    """Features minus the mean of their clip's group, divided by its deviation; padding stays zero.

    Args:
        features: of the clips at `positions`.
        file: where they are from: the statistics are those of all its clips.
        positions: in the file.
        groups: of each clip of the file.
    """
    mean, deviation = _of_file(file, groups)
    own = np.array(groups)[positions]
    return _affine(features, 1 / deviation[own], -mean[own] / deviation[own])


def aligned(features: Features, groups: NDArray[np.int64]) -> Features:
    """Features shifted and scaled so that each group has the mean and deviation of all; padding stays zero.

    A group of a single vector stays as it is: its deviation is not known.

    Args:
        features: of the training clips.
        groups: of each of them.
    """
    arrays = [np.atleast_2d(values)[:n] for values, n in zip(features.values, features.lengths, strict=True)]
    _, own = np.unique(groups, return_inverse=True)
    mean, deviation = _statistics(arrays.__getitem__, own.tolist(), arrays[0].shape[-1])
    mean_of_all, deviation_of_all = _statistics(arrays.__getitem__, [0] * len(arrays), arrays[0].shape[-1])
    scale = deviation_of_all / deviation
    shift = mean_of_all - mean * scale
    n_rows = np.bincount(own, weights=features.lengths)
    scale[n_rows < _LEAST_CLIPS], shift[n_rows < _LEAST_CLIPS] = 1, 0
    return _affine(features, scale[own], shift[own])


def _affine(features: Features, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> Features:
    """Features times `scale` plus `shift`, both (n_clips, n_dims); padding stays zero."""
    if features.kind == "vector":
        return Features((features.values * scale + shift).astype(np.float32), features.lengths)
    values = (features.values * scale[:, None] + shift[:, None]).astype(np.float32)
    return Features(np.where(features.is_real[..., None], values, np.float32(0)), features.lengths)


@lru_cache(maxsize=4)
def _of_file(file: FeatureFile, groups: Groups) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return _statistics(file.array, groups, file.input_shape[-1])


def _statistics(
    array: Callable[[int], Floats], groups: Sequence[int], n_dims: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each group, (n_groups, n_dims); 1 for a dimension that is constant in a group.

    Args:
        array: gives features of one clip, (n_frames, n_dims) or (n_dims,).
        groups: number of the group of each clip.
        n_dims: number of features.
    """
    n_groups = max(groups) + 1
    counts = np.zeros((n_groups, 1))
    sums, squares = np.zeros((n_groups, n_dims)), np.zeros((n_groups, n_dims))
    for position, group in enumerate(groups):
        rows = np.atleast_2d(array(position))
        counts[group] += len(rows)
        sums[group] += rows.sum(axis=0, dtype=np.float64)
    mean = sums / counts
    for position, group in enumerate(groups):
        rows = np.atleast_2d(array(position))
        squares[group] += ((rows - mean[group]) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / counts)
    # Of equal numbers, rounding leaves a deviation that is not quite zero.
    deviation[deviation <= np.finfo(np.float32).eps * np.abs(mean)] = 1
    return mean, deviation
