"""The audio behind a run's clips, where it is still to be had."""

import base64
import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import soundfile
from markupsafe import Markup
from numpy.typing import NDArray

from marsbench.data.audio import Waveform, resample
from marsbench.errors import BenchError
from marsbench.plugin.dataset import Dataset
from marsbench.plugin.registry import Recipe, discover
from marsbench.report.svg import Plot, image, nice_ticks

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


_WINDOW, _HOP = 512, 256
_N_MELS = 64
_MAX_FRAMES = 320
_RANGE_DB = 70.0
"""From the loudest cell down; what is quieter is as dark as silence."""
_SHADES = 32
_TICKS_KHZ = (0.5, 1, 2, 4, 8)


def draw_spectrogram(waveform: Waveform, label: str) -> Markup:
    """The clip's log-mel spectrogram with axes in s and kHz; `label` says whose it is."""
    heard = resample(waveform, RATE)
    plot = Plot((0, heard.seconds), (0, float(_mel(RATE / 2))), width=300, height=170)
    left, right, top, bottom = plot.x(0), plot.x(heard.seconds), plot.y(plot.y_range[1]), plot.y(0)
    picture = image(left, top, right - left, bottom - top, png_uri(shades(heard.samples)))
    times = [(second, f"{second:g}") for second in nice_ticks(0, heard.seconds, 5)]
    pitches = [(float(_mel(1000 * pitch)), f"{pitch:g}") for pitch in _TICKS_KHZ]
    return plot.svg(picture + plot.grid(times, pitches, "s", "kHz"), f"Log-mel spectrogram of {label}")


def shades(samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Shade of each mel band and frame of a 16 kHz waveform, (n_mels, n_frames), high bands on top."""
    padded = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    hop = max(_HOP, len(padded) // _MAX_FRAMES)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1)) ** 2
    level = 10 * np.log10(np.maximum(power @ _filters().T, 1e-10))
    share = np.clip((level - level.max()) / _RANGE_DB + 1, 0, 1)
    return np.asarray(np.round(share.T[::-1] * (_SHADES - 1)), np.uint8)


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """An indexed PNG of the viridis palette as a data URI."""
    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(name, content)
        for name, content in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", _palette()),
            (b"IDAT", zlib.compress(rows, 9)),
            (b"IEND", b""),
        )
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@cache
def _palette() -> bytes:
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0, 1, _SHADES), bytes=True)[:, :3].tobytes()


@cache
def _filters() -> NDArray[np.float64]:
    """Triangles of equal width in mel, (n_mels, n_frequencies)."""
    edges = np.linspace(0, _mel(RATE / 2), _N_MELS + 2)
    at = _mel(np.arange(_WINDOW // 2 + 1) * RATE / _WINDOW)
    rise = (at - edges[:-2, None]) / (edges[1] - edges[0])
    triangles = np.maximum(0, np.minimum(rise, 2 - rise))
    # The lowest bands are narrower than a frequency bin: each has at least its nearest one.
    nearest = np.abs(at - edges[1:-1, None]).argmin(axis=1)
    triangles[np.arange(_N_MELS), nearest] = np.maximum(triangles[np.arange(_N_MELS), nearest], 0.5)
    return np.asarray(triangles / triangles.sum(axis=1, keepdims=True), np.float64)


def _mel(frequency: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """O'Shaughnessy's (1987) mel scale."""
    return np.asarray(2595 * np.log10(1 + np.asarray(frequency) / 700))
