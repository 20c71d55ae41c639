"""What a bundle predicts for a recording, and which files are to be predicted."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsbench.data.audio import SUFFIXES, is_far_beyond_full_scale
from marsbench.errors import AudioError


@dataclass(frozen=True)
class Window:
    """A stretch of a recording with the probability of each class."""

    start: float
    """In seconds."""
    end: float
    """In seconds."""
    probabilities: NDArray[np.float64]
    """(n_classes,)."""


@dataclass(frozen=True)
class Prediction:
    """The probability of each class, of the whole recording and over time."""

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """(n_classes,); the mean over windows."""
    windows: tuple[Window, ...]
    """In order; a single one for a recording about as long as the training clips."""
    seconds: float
    is_narrowband: bool
    """Whether its sample rate is lower than that of any training clip, which may change the prediction."""
    peak: float = 0.0
    """Largest absolute sample, where full scale is 1."""

    @property
    def is_far_beyond_full_scale(self) -> bool:
        """Whether the samples are probably integers that were stored as floats, unscaled."""
        return is_far_beyond_full_scale(self.peak)

    @property
    def label(self) -> str:
        """The most probable class; the first of several."""
        return self.labels[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        """Probability of the most probable class."""
        return float(self.probabilities.max())

    def by_label(self, probabilities: NDArray[np.float64] | None = None) -> dict[str, float]:
        """Probability by class, of the whole or of one window's array."""
        values = self.probabilities if probabilities is None else probabilities
        return dict(zip(self.labels, values.tolist(), strict=True))


def beyond_full_scale(peak: float) -> str:
    """A warning on samples far beyond full scale."""
    return (
        f"the largest sample is {peak:,.3g} times full scale: floats are expected in [-1, 1]; if they are "
        "unscaled integers, divide them by 32768 (16 bits)"
    )


def audio_files(words: Iterable[str]) -> list[Path]:
    """Named files, audio files below named folders, and matches of patterns such as `clips/*.wav`; each once.

    Raises:
        AudioError: no such file or folder, or nothing found.
    """
    return list(dict.fromkeys(path for word in words for path in _files_of(word)))


def _files_of(word: str) -> Iterator[Path]:
    path = Path(word).expanduser()
    if path.is_file():
        yield path
    elif path.is_dir():
        below = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        yield from _files_among(below, f"no audio files below {path}")
    elif has_magic(word):
        matches = (Path(name) for name in glob(str(path), recursive=True))  # noqa: PTH207 - from any root
        yield from _files_among(matches, f"{word} matches no file")
    else:
        raise AudioError(f"there is no file or folder {path.absolute()}")


def _files_among(paths: Iterable[Path], if_none: str) -> list[Path]:
    files = sorted(path for path in paths if path.is_file())
    if not files:
        raise AudioError(if_none)
    return files
