"""Synthetic emotional speech for demonstrations, generated on first use."""

import tempfile
import wave
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from marsbench.atomic_files import home
from marsbench.data.corpus import Clip, Corpus
from marsbench.data.labels import EMOTIONS
from marsbench.errors import ConfigError, CorpusError
from marsbench.hashing import derived_seed, digest
from marsbench.plugin.base import Dataset
from marsbench.plugin.identity import identity_of
from marsbench_plugins.synthesis import SAMPLE_RATE, SENTENCES, Speaker, speak


@dataclass
class Demo(Dataset):
    """Synthetic voices in eight emotions, generated once and cached.

    Each of `n_speakers` voices speaks each emotion `n_takes` times. The audio of a clip depends only on
    `seed`, emotion, speaker and take, not on the numbers of speakers and takes.

    Raises:
        ConfigError: a parameter is not an integer or too small.
    """

    seed: int = 0
    n_speakers: int = 10
    n_takes: int = 3

    requires: ClassVar[tuple[str, ...]] = ("numpy", "scipy")

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("n_speakers", 1), ("n_takes", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"demo: {name}={value!r}; a whole number of at least {least} is needed")

    def load(self) -> Corpus:
        """List the clips; generate their audio below `marsbench.atomic_files.home()` if it is not there.

        Raises:
            CorpusError: the audio cannot be written.
        """
        folder = home() / "demo" / self._digest()
        speakers, takes = range(1, self.n_speakers + 1), range(1, self.n_takes + 1)
        clips = tuple(_clip(folder, *which) for which in product(EMOTIONS, speakers, takes))
        if not _are_complete(clips):
            try:
                self._generate(folder, clips)
            except OSError as error:
                raise CorpusError(
                    f"the demo corpus cannot be written to {folder}: {error.strerror or error}; "
                    "set MARSBENCH_HOME to a folder with room for it"
                ) from error
        return Corpus("demo", EMOTIONS, clips, synthetic=True, licence="CC0-1.0 (generated)")

    def _digest(self) -> str:
        """Name of the folder, which depends on the parameters and the code that generates the audio."""
        return digest([self.parameters, identity_of(type(self)).digest])[:16]

    def _generate(self, folder: Path, clips: tuple[Clip, ...]) -> None:
        """Generate into a temporary folder, then rename it, so that `folder` is always complete."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        voices = {
            f"S{number:02d}": Speaker.draw(self.seed, number) for number in range(1, self.n_speakers + 1)
        }
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            new = Path(temporary, "new")
            for clip in clips:
                rng = np.random.default_rng(derived_seed(self.seed, "clip", clip.id))
                samples = speak(voices[str(clip.speaker)], clip.label, clip.attributes["statement"], rng)
                _write_wav(new / clip.id, samples)
            _put_in_place(new, folder, Path(temporary, "old"), clips)


def _clip(folder: Path, emotion: str, speaker: int, take: int) -> Clip:
    name = f"{emotion}/S{speaker:02d}_take{take}.wav"
    about = {"take": str(take), "statement": SENTENCES[(take - 1) % len(SENTENCES)]}
    return Clip(name, folder / name, emotion, f"S{speaker:02d}", about)


def _are_complete(clips: tuple[Clip, ...]) -> bool:
    """Whether every file exists and is not empty, also after a cache cleaner or a crash."""
    return all(clip.path.is_file() and clip.path.stat().st_size for clip in clips)


def _put_in_place(new: Path, folder: Path, old: Path, clips: tuple[Clip, ...]) -> None:
    """Rename `new` to `folder`, unless another process has generated the same meanwhile."""
    try:
        if folder.exists() and not _are_complete(clips):
            folder.rename(old)
        new.rename(folder)
    except OSError:
        if not _are_complete(clips):
            raise


def _write_wav(path: Path, samples: NDArray[np.int16]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
