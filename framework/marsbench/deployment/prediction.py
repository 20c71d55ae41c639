"""What a model says to a recording."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsbench.data.audio import SUFFIXES
from marsbench.errors import AudioError


@dataclass(frozen=True)
class Window:
    """A stretch of a recording with the probability of each class."""

    start: float
    """In seconds."""
    end: float
    probabilities: NDArray[np.float64]
    """(n_classes,)."""


@dataclass(frozen=True)
class Prediction:
    """The probability of each class, of the whole and over time."""

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """(n_classes,); the mean over windows."""
    windows: tuple[Window, ...]
    """In order; a single one for a recording about as long as the clips of training."""
    seconds: float
    is_narrowband: bool
    """Whether it was recorded at a lower rate than any clip of training, which may change the answer."""

    @property
    def label(self) -> str:
        """The most probable class; the first of several."""
        return self.labels[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        """Its probability."""
        return float(self.probabilities.max())

    def by_label(self, probabilities: NDArray[np.float64] | None = None) -> dict[str, float]:
        """Probability by class, of the whole or of one window's array."""
        values = self.probabilities if probabilities is None else probabilities
        return dict(zip(self.labels, values.tolist(), strict=True))


def audio_files(words: Iterable[str]) -> list[Path]:
    """Files as named, those of audio below folders, and what patterns such as `clips/*.wav` match; each once.

    Raises:
        AudioError: no such file or folder, or nothing found.
    """
    return list(dict.fromkeys(path for word in words for path in _of_word(word)))


def _of_word(word: str) -> Iterator[Path]:
    path = Path(word).expanduser()
    if path.is_file():
        yield path
    elif path.is_dir():
        below = sorted(file for file in path.rglob("*") if file.is_file())
        yield from _found(
            [file for file in below if file.suffix.lower() in SUFFIXES], f"no audio below {path}"
        )
    elif has_magic(word):
        matches = [Path(name) for name in sorted(glob(str(path), recursive=True))]  # noqa: PTH207 - from any root
        yield from _found(matches, f"{word} matches nothing")
    else:
        raise AudioError(f"there is no file or folder {path.absolute()}")


def _found(paths: list[Path], otherwise: str) -> list[Path]:
    if not paths:
        raise AudioError(otherwise)
    return [path for path in paths if path.is_file()]
