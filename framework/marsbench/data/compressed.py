"""M4A, MP4, AAC and WebM, which phones and browsers record, through PyAV (extra `av`) as WAV in memory.

Files are untrusted: the container is chosen by the first bytes, so that FFmpeg does not guess among its
formats (some of which read other files), nothing but the given bytes is read, and size, duration and
computing time are bounded.
"""

import hashlib
import io
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from marsbench.data.limited_reader import LimitedReader
from marsbench.environment import install_hint
from marsbench.errors import AudioError, first_line

SUFFIXES = frozenset({".m4a", ".mp4", ".aac", ".webm"})
"""File name endings of these formats."""
HEAD = 12
"""Bytes that tell a format."""
_MOST_BYTES = 1 << 29
"""Largest decoded WAV; with its mono samples, about as much memory as the other formats take at most."""
_CODECS = "aac,alac,flac,mp3,mp3float,opus,libopus,vorbis,ac3,pcm_s16le,pcm_s16be,pcm_s24le,pcm_f32le"
_ONLY = {"codec_whitelist": _CODECS, "protocol_whitelist": ""}
"""FFmpeg has decoders for hundreds of codecs; damaged files must not reach all of them."""
_MISSING = 0.25
"""Seconds that may be missing of what a header announces: encoders pad the first and the last frame."""
_MOST_CHANNELS, _HIGHEST_RATE = 64, 768_000


def container_of(head: bytes) -> str | None:
    """FFmpeg's name of the container that a file begins with: mp4, matroska or aac; None for any other."""
    if head[4:8] == b"ftyp":
        return "mp4"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    # The layer of MPEG audio is 0 in AAC alone.
    return "aac" if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0 else None


_NO_PYAV = "no av"


def pyav() -> str:
    """PyAV with its version; `no av` if it is not installed."""
    try:
        return f"av {version('av')}"
    except PackageNotFoundError:
        return _NO_PYAV


def has_pyav() -> bool:
    """Whether PyAV is installed."""
    return pyav() != _NO_PYAV


def decoder_of(head: bytes) -> str:
    """What decodes a file that begins so, as `pyav` says; empty for formats that libsndfile decodes."""
    return pyav() if container_of(head) else ""


def file_key(data: bytes) -> str | None:
    """sha256 of a file, by which its audio is known; None if PyAV decodes it.

    Another version of PyAV may make other samples: such audio is known by the samples.
    """
    return None if decoder_of(data[:HEAD]) else hashlib.sha256(data).hexdigest()


def as_wav(data: bytes, container: str, max_seconds: float) -> bytes:
    """The first audio of a file as WAV, 32-bit float, at its own rate, with its own channels.

    Args:
        data: the file.
        container: as `container_of` names it.
        max_seconds: decoding stops soon after as many seconds; what is longer is refused by its length.

    Raises:
        AudioError: PyAV is missing, or the file is damaged, truncated, without audio or too large.
    """
    try:
        import av
    except ImportError as error:
        raise AudioError(
            f"M4A, MP4, AAC and WebM need PyAV: {install_hint('av')}; or convert the file: "
            "ffmpeg -i FILE FILE.wav"
        ) from error
    av.logging.set_level(av.logging.PANIC)
    stream = _Reader(io.BytesIO(data))
    try:
        with av.open(stream, format=container, container_options=_ONLY) as file:
            found = _written(file, stream, max_seconds)
    except (av.FFmpegError, soundfile.SoundFileError, ValueError, EOFError) as error:
        stream.check_progress()
        # Not `from error`: a damaged header may ask for too much memory, which is no fault of the machine.
        raise AudioError(f"cannot be decoded: {_reason(error)}") from None
    stream.check_progress()
    return found


def _reason(error: Exception) -> str:
    """FFmpeg's message in one line; damaged headers ask for anything."""
    if isinstance(error, UnicodeError):
        return "its header is damaged"
    text = first_line(getattr(error, "strerror", None) or error).lower()
    if "not permitted" in text:
        return "its codec is not one of those that are read"
    return "its header asks for too much memory" if "allocate memory" in text else text


class _Reader(LimitedReader):
    """A file's bytes for FFmpeg's callbacks."""

    def check_progress(self) -> None:
        """Raise AudioError if the time limit has passed, whether or not anything was read since."""
        self.is_over()
        super().check_progress()

    def read(self, size: int = -1) -> bytes:
        """Bytes; none once the time limit has passed."""
        return b"" if self.is_over() else self.file.read(size)


def _written(file: Any, stream: _Reader, max_seconds: float) -> bytes:
    if not file.streams.audio:
        raise AudioError("no audio in it")
    audio = file.streams.audio[0]
    if audio.codec_context is None:
        raise AudioError("cannot be decoded: its codec is not known")
    rate, n_channels = audio.rate or 0, audio.channels or 0
    if not 0 < n_channels <= _MOST_CHANNELS:
        raise AudioError(f"{n_channels} channels; 1 to {_MOST_CHANNELS} are supported")
    if not 0 < rate <= _HIGHEST_RATE:
        raise AudioError(f"unsupported sample rate: {rate} Hz")
    wav, n_samples = io.BytesIO(), 0
    with soundfile.SoundFile(wav, "w", rate, n_channels, format="WAV", subtype="FLOAT") as out:
        for block in _blocks(file, audio, stream, (rate, n_channels)):
            out.write(block)
            n_samples += len(block)
            if n_samples * n_channels * block.itemsize > _MOST_BYTES:
                raise AudioError(f"too large: more than {_MOST_BYTES:,} bytes once decoded")
            if n_samples > (max_seconds + 1) * rate:
                raise AudioError(f"too long: the limit is {max_seconds:.0f} s")
    announced = float(audio.duration * audio.time_base) if audio.duration else 0.0
    if n_samples / rate < announced - _MISSING:
        raise AudioError(f"truncated: {n_samples / rate:.2f} of {announced:.2f} s can be decoded")
    return wav.getvalue()


def _blocks(
    file: Any, audio: Any, stream: _Reader, expected: tuple[int, int]
) -> Iterator[NDArray[np.float32]]:
    """Decoded samples, nominally in [-1, 1], (n_samples, n_channels), a frame at a time."""
    for frame in file.decode(audio):
        if (frame.sample_rate, frame.layout.nb_channels) != expected:
            raise AudioError("its sample rate or its number of channels changes")
        samples = np.asarray(frame.to_ndarray())
        rows = samples.T if frame.format.is_planar else samples.reshape(-1, expected[1])
        if rows.dtype.kind in "iu":
            half = 2.0 ** (8 * rows.dtype.itemsize - 1)
            rows = (rows - (half if rows.dtype.kind == "u" else 0.0)) / half
        yield np.ascontiguousarray(rows, np.float32)
        stream.check_progress()
        stream.expect_progress()
