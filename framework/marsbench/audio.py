"""The one decoder: a path or bytes -> a mono waveform, or the reason why not.

Training and prediction both come through here, so both hear the same samples. WAV (8 to 32 bit, float),
FLAC, OGG, MP3 and whatever else libsndfile reads; several channels are averaged; resampling is soxr's VHQ.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from marsbench.errors import AudioError
from marsbench.sound_print import sound_print

DECODER = f"libsndfile {soundfile.__libsndfile_version__}, soxr {soxr.__version__}"
"""What turns files into samples, by version."""

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"})
"""File endings that a dataset takes for audio."""

MIN_SECONDS = 0.1
"""Shortest usable clip: one analysis frame of 2048 samples at 22,050 Hz, rounded up."""
MAX_SECONDS = 300.0
"""Longest usable clip: one label cannot describe more."""
MAX_BYTES = 1 << 30
_RATES = range(1_000, 768_001)
_MAX_CHANNELS = 64
_LOUDEST = 2.0**33
"""Times full scale: 32-bit integers stored as floats are fine, what overflows when squared is not."""
_MAX_VALUES = 1 << 28
"""Most samples over all channels: 1 GiB once decoded, as much as a file may have bytes."""
_SIZED_CONTAINERS: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big", b"FORM": "big"}
"""Those of WAV and AIFF, which state their size behind these four bytes, by byte order."""
_WRITTEN_BY_A_PIPE = 0xFFFF_FFFF
"""Container sizes from here on mean that the writer could not know."""


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono samples, float32 (n_samples,), nominally in [-1, 1], at `sample_rate` Hz."""

    samples: NDArray[np.float32]
    sample_rate: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What is known of one audio file; `problem` is None if it can be used."""

    sha256: str = ""
    """Of the file's bytes; empty if they could not be read."""
    content: str = ""
    """sha256 of the decoded mono waveform and its rate: equal for copies in any lossless container."""
    sample_rate: int = 0
    channels: int = 0
    seconds: float = 0.0
    problem: str | None = None
    sound_print: str = ""
    """What near copies have nearly in common, see `marsbench.sound_print`; empty if there is nothing."""


def load(path: Path, sample_rate: int) -> Waveform:
    """Decode a file and resample it to `sample_rate`; raises AudioError."""
    return resample(decode(read_bytes(path)), sample_rate)


def read_bytes(path: Path) -> bytes:
    """Bytes of a regular file of reasonable size; raises AudioError."""
    try:
        if not path.is_file():
            raise AudioError(_why_no_file(path))
        if (size := path.stat().st_size) > MAX_BYTES:
            raise AudioError(f"too large: {size:,} bytes, the limit is {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise AudioError(f"cannot be read: {error.strerror or error}") from error


def decode(data: bytes, *, max_seconds: float = MAX_SECONDS) -> Waveform:
    """Decode a whole audio file to mono at its own rate.

    Raises:
        AudioError: empty, no known format, truncated, too short, too long, silent, NaN or infinite.
    """
    return _decode_checked(data, max_seconds)[0]


def resample(waveform: Waveform, sample_rate: int) -> Waveform:
    """Same sound at `sample_rate` Hz (soxr VHQ); the same object if it has that rate already."""
    if waveform.sample_rate == sample_rate:
        return waveform
    samples = soxr.resample(waveform.samples, waveform.sample_rate, sample_rate, quality="VHQ")
    return Waveform(np.asarray(samples, np.float32), sample_rate)


def checked(waveform: Waveform, *, max_seconds: float = MAX_SECONDS) -> Waveform:
    """Mono samples that come from no file, as float32.

    Raises:
        AudioError: not one dimension, too short, too long, silent, NaN or infinite.
    """
    samples = np.asarray(waveform.samples, np.float32)
    if samples.ndim != 1:
        raise AudioError(f"samples of shape {samples.shape}; one channel is needed, (n_samples,)")
    if waveform.sample_rate not in _RATES:
        raise AudioError(f"sample rate of {waveform.sample_rate:,} Hz")
    mono = Waveform(samples, waveform.sample_rate)
    if mono.seconds > max_seconds:
        raise AudioError(f"too long: {mono.seconds:.1f} s, the limit is {max_seconds:.0f} s")
    _check_samples(mono)
    return mono


def examine(path: Path) -> AudioFacts:
    """Read, hash, decode and check one file. Never raises for what the file holds."""
    try:
        data = read_bytes(path)
    except AudioError as error:
        return AudioFacts(problem=str(error))
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        waveform, channels = _decode_checked(data, MAX_SECONDS)
    except AudioError as error:
        return AudioFacts(sha256=sha256, problem=str(error))
    rate = waveform.sample_rate.to_bytes(4, "little")
    return AudioFacts(
        sha256=sha256,
        content=hashlib.sha256(rate + waveform.samples.tobytes()).hexdigest(),
        sample_rate=waveform.sample_rate,
        channels=channels,
        seconds=waveform.seconds,
        sound_print=sound_print(waveform.samples, waveform.sample_rate),
    )


def _why_no_file(path: Path) -> str:
    if path.is_dir():
        return "a folder, not a file"
    return "not a regular file" if path.exists() else "no such file"


def _decode_checked(data: bytes, max_seconds: float) -> tuple[Waveform, int]:
    """The usable mono waveform and how many channels the file has."""
    channels, sample_rate = _decode_channels(data, max_seconds)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
        # Channel by channel: ten times quicker than mean(axis=1) over rows of two.
        mixed = np.asarray(sum(channels.T), np.float32)
        mixed /= np.float32(channels.shape[1])
        waveform = Waveform(mixed, sample_rate)
    _check_samples(waveform)
    return waveform, channels.shape[1]


def _decode_channels(data: bytes, max_seconds: float) -> tuple[NDArray[np.float32], int]:
    """Samples (n_samples, n_channels) and their rate."""
    if not data:
        raise AudioError("empty: 0 bytes")
    _check_container_is_whole(data)
    try:
        with soundfile.SoundFile(_Bytes(data)) as file:
            _check_header(file, max_seconds)
            samples = file.read(dtype="float32", always_2d=True)
            announced = file.frames if _length_is_known(file, data) else len(samples)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(f"cannot be decoded: {_reason(error)}") from error
    if len(samples) < announced:
        raise AudioError(f"truncated: {len(samples):,} of {announced:,} samples can be decoded")
    return samples, file.samplerate


def _reason(error: Exception) -> str:
    """The words of libsndfile without Python's rendering of the stream object."""
    text = str(getattr(error, "error_string", "") or error)
    return text.rpartition(">: ")[2].strip().rstrip(".").lower() or type(error).__name__


class _Bytes(io.BytesIO):
    """Stays where it is when libsndfile, led by a damaged header, seeks before the start.

    BytesIO would raise, inside a callback where an exception can only be printed.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Position reached, which is the old one if there is no such place."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def _length_is_known(file: soundfile.SoundFile, data: bytes) -> bool:
    """False for an MP3 without a Xing header: libsndfile then guesses from the first frame's bit rate."""
    return file.format != "MP3" or b"Xing" in data or b"Info" in data


def _check_container_is_whole(data: bytes) -> None:
    """Refuse a WAV or AIFF that announces more than there is: libsndfile would cut it in silence."""
    byte_order = _SIZED_CONTAINERS.get(data[:4])
    if byte_order is None:
        return
    announced = int.from_bytes(data[4:8], byte_order) + 8
    # The pad byte of an odd last chunk is often left out.
    if len(data) + 1 < announced < _WRITTEN_BY_A_PIPE:
        raise AudioError(f"truncated: the header announces {announced:,} bytes, the file has {len(data):,}")


def _check_header(file: soundfile.SoundFile, max_seconds: float) -> None:
    """Refuse absurd claims before any memory is taken for them."""
    if file.samplerate not in _RATES:
        raise AudioError(f"sample rate of {file.samplerate:,} Hz")
    if file.channels > _MAX_CHANNELS:
        raise AudioError(f"{file.channels} channels")
    if file.frames == 0:
        raise AudioError("empty: 0 samples")
    if (seconds := file.frames / file.samplerate) > max_seconds:
        raise AudioError(f"too long: {seconds:.1f} s, the limit is {max_seconds:.0f} s")
    if (values := file.frames * file.channels) > _MAX_VALUES:
        raise AudioError(f"too large: {values:,} samples over all channels, the limit is {_MAX_VALUES:,}")


def _check_samples(waveform: Waveform) -> None:
    if waveform.seconds < MIN_SECONDS:
        raise AudioError(f"too short: {waveform.seconds * 1000:.0f} ms, at least {MIN_SECONDS * 1000:.0f} ms")
    if not np.isfinite(waveform.samples).all():
        raise AudioError("holds NaN or infinite samples")
    if (peak := float(np.abs(waveform.samples).max())) > _LOUDEST:
        raise AudioError(f"samples reach {peak:.3g} times full scale")
    if not waveform.samples.any():
        raise AudioError("silent: every sample is zero")
