"""The audio behind a run's clips, where it is still to be had."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import soundfile

from marsbench.audio import Waveform, resample
from marsbench.errors import BenchError
from marsbench.plugin.dataset import Dataset
from marsbench.plugin.registry import Recipe, discover

RATE = 16_000
_MAX_BYTES = 40_000
_MAX_SECONDS = 12
_COMPRESSIONS = (0.6, 0.8, 1.0)
_BLOCK = RATE
"""Samples at a time: libsndfile's Vorbis encoder takes its stack for each call."""


@dataclass(frozen=True)
class Sound:
    """Where the clips of a corpus are."""

    paths: dict[str, Path]
    """By clip id; empty if the corpus is not there."""
    problem: str | None = None
    """Why it is not."""


def find_sound(dataset: Recipe, folders: tuple[Path, ...]) -> Sound:
    """The clips that the dataset names now; never raises for what is missing."""
    try:
        entry = discover(folders).get("datasets", dataset.name)
        corpus = cast("Dataset", entry.plugin.create(dataset.parameters)).load()
        return Sound({clip.id: clip.path for clip in corpus.clips})
    except BenchError as error:
        return Sound({}, str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's plugin must not cost the page
        return Sound({}, f"{dataset.name}.load failed: {type(error).__name__}: {error}")


def player(waveform: Waveform) -> str:
    """Ogg Vorbis of the clip at 16 kHz, mono, as a data URI of about 40 kB at most."""
    heard = resample(waveform, RATE).samples[: _MAX_SECONDS * RATE]
    for compression in _COMPRESSIONS:
        data = _vorbis(heard, compression)
        if len(data) <= _MAX_BYTES:
            break
    else:
        data = _vorbis(heard[: len(heard) * _MAX_BYTES // len(data)], _COMPRESSIONS[-1])
    return f"data:audio/ogg;base64,{base64.b64encode(data).decode()}"


def _vorbis(samples: np.ndarray, compression: float) -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", RATE, 1, format="OGG", subtype="VORBIS", compression_level=compression
    ) as file:
        for start in range(0, len(samples), _BLOCK):
            file.write(samples[start : start + _BLOCK])
    return buffer.getvalue()
