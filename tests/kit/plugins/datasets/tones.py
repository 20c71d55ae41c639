"""Sine clips: each class a pitch, each speaker a loudness."""

import io
import os
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile

from marsbench.atomic_files import home
from marsbench.data.corpus import Clip, Corpus
from marsbench.plugin import Dataset

PITCHES = {"low": 200.0, "middle": 400.0, "high": 800.0}
RATE = 8000


@dataclass
class Tones(Dataset):
    """Three pitches, a few speakers, a fifth of a second each."""

    n_speakers: int = 5
    n_takes: int = 2

    def load(self) -> Corpus:
        """Write the clips and name them."""
        clips = [
            self._clip(label, speaker, take)
            for label in PITCHES
            for speaker in range(self.n_speakers)
            for take in range(self.n_takes)
        ]
        return Corpus("tones", tuple(PITCHES), tuple(clips), synthetic=True, licence="none")

    def _clip(self, label: str, speaker: int, take: int) -> Clip:
        path = home() / "tones" / f"{label}-{speaker}-{take}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            new = path.with_suffix(f".{os.getpid()}")  # whoever is killed here leaves no half of a clip
            new.write_bytes(_wav(PITCHES[label], 0.1 + 0.1 * speaker, take))
            new.replace(path)
        return Clip(f"{label}/{path.stem}", path, label, f"speaker {speaker}", {"take": str(take)})


@cache
def _wav(pitch: float, loudness: float, phase: float) -> bytes:
    times, stream = np.arange(RATE // 5) / RATE, io.BytesIO()
    soundfile.write(stream, loudness * np.sin(2 * np.pi * pitch * times + phase), RATE, format="WAV")
    return stream.getvalue()
