"""Sounds to extract features from."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from marsbench.plugin.features import Floats

RATE = 22_050
Voice = Callable[[float, float, int], Floats]


@pytest.fixture(scope="session")
def voice() -> Voice:
    """Make something like a voice: gliding harmonics under a moving envelope, breath, and a true silence."""

    def speak(seconds: float, pitch: float, seed: int) -> Floats:
        rng = np.random.default_rng(seed)
        time = np.arange(round(seconds * RATE)) / RATE
        glide = pitch * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 4) * time))
        phase = 2 * np.pi * np.cumsum(glide) / RATE
        tone = sum(rng.uniform(0.2, 1) / k * np.sin(k * phase) for k in range(1, 20))
        breath = rng.normal(0, 0.02, len(time))
        loudness = 0.1 * (1 + np.sin(2 * np.pi * rng.uniform(1, 5) * time))
        sound = (loudness * (tone + breath)).astype(np.float32)
        sound[len(sound) // 2 : len(sound) // 2 + RATE // 8] = 0
        return sound

    return speak


@pytest.fixture(scope="session")
def ravdess() -> Path:
    return _folder("MARSBENCH_RAVDESS")


@pytest.fixture(scope="session")
def ravdess_48k() -> Path:
    return _folder("MARSBENCH_RAVDESS_48K")


def _folder(variable: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set to a folder of RAVDESS clips")
    return Path(os.environ[variable])
