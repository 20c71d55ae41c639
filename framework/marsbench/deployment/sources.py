"""What a bundle predicts: recordings in every form in which Python programs have them, as mono waveforms."""

import operator
import os
import warnings
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from marsbench.data.audio import (
    MAX_BYTES,
    SUFFIXES,
    Waveform,
    as_floats,
    checked,
    decode,
    read_bytes,
    taken,
)
from marsbench.data.corpus_options import Channel
from marsbench.errors import AudioError, shown, shown_path

MAX_CHANNELS = 64
_SILENCED = 1e-3
"""Channels whose mean has less than this share of their largest sample cancel each other."""
_FORMS = (
    "a path, the bytes of a file, a file opened with 'rb', samples as an array with their rate, or a list of "
    "such is needed"
)


class Readable(Protocol):
    """A file opened in binary mode, or `io.BytesIO`."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes from where it stands."""


Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Waveform
"""A recording: a path, a file's bytes, an open file, or samples with their rate."""


def is_several(source: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether a source is a list of recordings."""
    if not isinstance(source, (list, tuple)):
        return False
    if len(source) == 2 and hasattr(source[0], "__array__") and _is_number(source[1]):
        raise AudioError("samples and their rate are two arguments: predict(samples, sample_rate)")
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number))


def waveform_of(source: Any, sample_rate: Any, max_seconds: float, channel: Channel = "mix") -> Waveform:
    """The recording as it is, one channel or the mean; raises AudioError as `BaseBundle.predict` says."""
    if hasattr(source, "__array__"):
        if sample_rate is None:
            raise AudioError("samples without their rate; predict(samples, sample_rate)")
        source = Waveform(source, sample_rate)
    elif sample_rate is not None:
        raise AudioError("a sample rate is for samples in an array; this source has its own")
    if isinstance(source, Waveform):
        return checked(
            Waveform(_mono(source.samples, channel), _rate(source.sample_rate)), max_seconds=max_seconds
        )
    if not isinstance(source, (str, os.PathLike)):
        return decode(_bytes(source), max_seconds=max_seconds, channel=channel)
    path = os.fsdecode(source)
    try:
        return decode(read_bytes(Path(path)), max_seconds=max_seconds, channel=channel)
    except AudioError as error:
        raise AudioError(f"{shown_path(path)}: {error}") from error


def _bytes(source: Any) -> bytes:
    """Those of a file's content, from where it stands if it is open."""
    if isinstance(source, memoryview) and source.itemsize > 1:
        raise AudioError(
            f"a view of numbers ('{source.format}') is not a file's content; give an array and its rate"
        )
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if not hasattr(source, "read"):
        raise AudioError(f"{type(source).__name__} cannot be predicted; {_FORMS}")
    try:
        data = source.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise AudioError(
            f"the open file cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not isinstance(data, bytes):
        raise AudioError(f"the open file gives {type(data).__name__}, not bytes; open it with 'rb'")
    if len(data) > MAX_BYTES:
        raise AudioError(f"too large: more than {MAX_BYTES:,} bytes")
    if not data:
        raise AudioError(
            "the open file gives no bytes; is it read already? file.seek(0) returns to its start"
        )
    return data


def _rate(rate: Any) -> int:
    """Samples per second as an int, from whatever is a whole number."""
    if isinstance(rate, (float, np.floating)) and float(rate).is_integer():
        return int(rate)
    if hasattr(rate, "__index__") and not isinstance(rate, (bool, np.bool_)):
        return operator.index(rate)
    raise AudioError(f"sample rate {shown(repr(rate))}: a whole number in Hz is needed")


def _mono(samples: Any, channel: Channel) -> NDArray[np.float32]:
    """Samples (n_samples,): of channels one or the mean; a warning says which axis they are."""
    floats = as_floats(samples)
    if floats.ndim != 2:
        return floats
    few = [axis for axis in (0, 1) if 0 < floats.shape[axis] <= MAX_CHANNELS]
    if len(few) != 1:
        raise AudioError(
            f"samples have shape {floats.shape}, which does not say which axis is the channels; give "
            f"(n_samples,), or (n_samples, n_channels) with at most {MAX_CHANNELS} channels"
        )
    channels = taken(np.moveaxis(floats, few[0], 1), channel).T
    mixed = np.asarray(sum(channels) / np.float32(len(channels)))  # as those of a file
    if floats.shape[few[0]] > 1:
        what = "averaged" if channel == "mix" else f"the {channel} one is read"
        order = "(n_channels, n_samples)" if few[0] == 0 else "(n_samples, n_channels)"
        warnings.warn(f"samples of shape {floats.shape} are taken as {order} and {what}", stacklevel=5)
        if np.abs(mixed).max(initial=0) < _SILENCED * np.abs(channels).max(initial=0):
            raise AudioError("the channels are in opposite phase and cancel each other; give a single one")
    return mixed


def audio_files(words: Iterable[str]) -> list[Path]:
    """Named files, audio files below named folders, and matches of patterns such as `clips/*.wav`; each once.

    Raises:
        AudioError: no such file or folder, or nothing found.
    """
    return list(dict.fromkeys(path for word in words for path in _files_of(word)))


def _files_of(word: str) -> list[Path]:
    path = Path(word).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        if_none = f"no audio files below {path}"
        found = [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES]
    elif has_magic(word):
        if_none = f"{word} matches no file"
        found = [Path(name) for name in glob(str(path), recursive=True)]  # noqa: PTH207 - from any root
    else:
        raise AudioError(f"there is no file or folder {path.absolute()}")
    files = sorted(file for file in found if file.is_file())
    if not files:
        raise AudioError(if_none)
    return files
