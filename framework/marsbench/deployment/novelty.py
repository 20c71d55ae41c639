"""How unlike the training clips a recording is: its distance from them, as a quantile.

The distance is that of Mahalanobis in the first principal components of the clips' standardised features
(frames as their means and standard deviations). Its reference are the training clips, each measured from the
clips of other speakers: a new speaker in the setting of the training is nothing unusual.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from marsbench.atomic_files import write_atomically
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle_record import MAX_COMPONENTS, MAX_QUANTILES, MAX_WIDTH, NoveltyRecord
from marsbench.errors import PluginError, ResultsError
from marsbench.execution.limits import limited_threads
from marsbench.features.feature_file import FeatureFile
from marsbench.plugin.features import Floats
from marsbench.protocols.protocol import SPEAKER, Rows
from marsbench.protocols.splitting import groups_of

UNLIKE = 0.99
"""Share of training clips beyond which a recording is called unlike them."""
NOVELTY_FILE = "novelty.f32"
"""Name of the file in a bundle: float32 mean, projection and quantiles, one after the other."""
_LEAST_CLIPS, _MOST_CLIPS = 100, 3000
"""With fewer clips nothing tells what is unusual; of more, so many are drawn."""
_FOLDS = 5
_CLIPS_PER_COMPONENT = 5
_LEAST_DEVIATION = 1e-5
"""Values that vary by less than this share of their mean, and components than of the first, are not used."""


@dataclass(frozen=True)
class Novelty:
    """Measures how unlike the training clips a recording's features are."""

    mean: NDArray[np.float64]
    """Mean of the training clips, (width,); for frames, the width is twice their number of values."""
    projection: NDArray[np.float64]
    """From deviations of the mean to uncorrelated components of variance 1, (n_components, width)."""
    quantiles: NDArray[np.float64]
    """Quantiles of distances of training clips from those of other speakers, evenly spaced, 0 to 100 %."""

    @classmethod
    def of_clips(cls, vectors: NDArray[np.float64], groups: Rows) -> Self | None:
        """From training clips; None if there are too few, or their features are all alike.

        Args:
            vectors: (n_clips, width), see `as_vector`.
            groups: number of each clip's group, (n_clips,); a clip is measured from those of other groups.
        """
        from sklearn.model_selection import GroupKFold

        n_folds = min(_FOLDS, len(np.unique(groups)))
        if len(vectors) < _LEAST_CLIPS or n_folds < 2:
            return None
        folds = GroupKFold(n_folds, shuffle=True, random_state=0).split(vectors, groups=groups)
        parts = [(vectors[kept], vectors[aside]) for kept, aside in folds if 2 * len(kept) >= _LEAST_CLIPS]
        if sum(len(aside) for _, aside in parts) < _LEAST_CLIPS:
            return None
        # As many components for all clips as for a part: distances grow with their number.
        n = min(MAX_COMPONENTS, min(len(kept) for kept, _ in parts) // _CLIPS_PER_COMPONENT)
        distances = [one for kept, aside in parts for one in _distances(aside, *_components(kept, n))]
        mean, projection = _components(vectors, n)
        if not len(projection):
            return None
        levels = np.linspace(0, 1, min(len(distances), MAX_QUANTILES))
        return cls(mean, projection, np.quantile(distances, levels))

    def of_windows(self, windows: Sequence[Floats]) -> NDArray[np.float64]:
        """Share of training clips that are nearer to those of other speakers than each window, (n_windows,).

        Raises:
            PluginError: features of another shape than those of the training clips.
        """
        vectors = np.stack([as_vector(window) for window in windows])
        if vectors.shape[1:] != self.mean.shape:
            raise PluginError(f"features have {vectors.shape[1]} values, {len(self.mean)} in training")
        distances = _distances(vectors, self.mean, self.projection)
        levels = np.linspace(0, 1, len(self.quantiles))
        return np.interp(distances, self.quantiles, levels, left=0, right=1)

    @property
    def record(self) -> NoveltyRecord:
        """The sizes of what `write` writes."""
        n_components, width = self.projection.shape
        return NoveltyRecord(width=width, n_components=n_components, n_quantiles=len(self.quantiles))

    def write(self, path: Path) -> None:
        """Write all numbers as float32."""
        numbers = np.concatenate([self.mean, self.projection.ravel(), self.quantiles])
        write_atomically(path, lambda file: file.write(numbers.astype("<f4").tobytes()))

    @classmethod
    def read(cls, path: Path, record: NoveltyRecord) -> Self:
        """Read what `write` wrote; raises ResultsError if it is of another size or has impossible numbers."""
        ends = np.cumsum([record.width, record.n_components * record.width, record.n_quantiles])
        if path.stat().st_size != 4 * ends[-1]:
            raise ResultsError(f"{path} is not of the size that the record says, {4 * ends[-1]:,} bytes")
        numbers = np.fromfile(path, "<f4").astype(np.float64)
        mean, projection, quantiles = np.split(numbers, ends[:-1])
        if not np.isfinite(numbers).all() or quantiles[0] < 0 or (np.diff(quantiles) < 0).any():
            raise ResultsError(f"{path} has numbers that are not finite, or distances that do not ascend")
        return cls(mean, projection.reshape(record.n_components, record.width), quantiles)


def novelty_of(features: FeatureFile, corpus: CheckedCorpus, rows: Sequence[int]) -> Novelty | None:
    """From the clips in `rows` of the corpus, of which 3,000 are drawn if there are more.

    None if there are fewer than 100, or their features have more than 16,384 values.
    """
    drawn = np.array(sorted(rows), np.int64)
    if len(drawn) > _MOST_CLIPS:
        drawn = np.sort(np.random.default_rng(0).choice(drawn, _MOST_CLIPS, replace=False))
    if len(drawn) < _LEAST_CLIPS or len(as_vector(features.array(int(drawn[0])))) > MAX_WIDTH:
        return None
    vectors = np.stack([as_vector(features.array(row)) for row in drawn.tolist()])
    groups = groups_of(corpus, drawn, SPEAKER)
    if len(np.unique(groups)) < 2:
        groups = groups_of(corpus, drawn, ())
    with limited_threads(1):  # the last digits depend on it
        return Novelty.of_clips(vectors, groups)


def as_vector(features: Floats) -> NDArray[np.float64]:
    """A vector as it is; of frames the mean and standard deviation of each value, (2 n_dims,)."""
    values = features.astype(np.float64)
    return values if values.ndim == 1 else np.concatenate([values.mean(axis=0), values.std(axis=0)])


def mean_novelty(parts: Iterable[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """The mean over an ensemble's members, (n_windows,); None if none of them measures it."""
    found = [part for part in parts if part is not None]
    return np.mean(found, axis=0) if found else None


def _components(vectors: NDArray[np.float64], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean, (width,), and projection onto the first `n` principal components, divided by their deviations."""
    from sklearn.utils.extmath import randomized_svd

    mean, deviation = vectors.mean(axis=0), vectors.std(axis=0)
    varies = deviation > _LEAST_DEVIATION * np.abs(mean)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies)
    _, sizes, axes = randomized_svd((vectors - mean) * scale, min(n, len(mean)), n_iter=4, random_state=0)
    kept = sizes > _LEAST_DEVIATION * sizes[0]
    return mean, axes[kept] * scale * (np.sqrt(len(vectors)) / sizes[kept, None])


def _distances(
    vectors: NDArray[np.float64], mean: NDArray[np.float64], projection: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm((vectors - mean) @ projection.T, axis=1))
