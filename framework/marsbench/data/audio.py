"""The one decoder: a path or bytes -> a mono waveform, or the reason why not.

Training and prediction both come through here, so both hear the same samples. Several channels are averaged;
resampling is soxr's VHQ. The bytes may be anybody's: time and memory are bounded whatever they claim.
"""

import hashlib
import io
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from time import thread_time
from typing import Any, Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from marsbench.data.audio_fingerprint import sound_print
from marsbench.errors import AudioError

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
_LOUDEST, _FAINTEST = 2.0**33, 2.0**-60
"""Times full scale: 32-bit integers stored as floats are fine, squares that overflow or vanish are not."""
_MAX_SAMPLES = 1 << 28
"""In each channel: 1 GiB once decoded and averaged, as much as a file may have bytes."""
_MAX_VALUES = 1 << 29
"""Over all channels, each of which takes its time: an hour of stereo at 48 kHz and half as much again."""
_PATIENCE = 3.0
"""Seconds of computing for opening a file and for each block; whole ones need thousandths."""
_BAD_FILE = 7
"""libsndfile's "file does not exist", which it says of bytes that only begin as an MP3 does."""
_BLOCK = 1 << 16
"""Samples that are decoded at a time, in each channel."""
_WAVS = (b"RIFF", b"RIFX", b"RF64", b"riff")
_BEGINNINGS = (*_WAVS, b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"dns.", b"caff")
"""Of the files that are decoded; ID3 is an MP3's. libsndfile would read more, such as what samplers of the
nineties wrote, but some of those readers print to standard output."""
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
    """What near copies have nearly in common, see `audio_fingerprint`; empty if there is nothing."""


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
    _check_container(data)
    stream = _Bytes(data)
    try:
        with _Stream(stream) as file:
            _check_header(file, max_seconds)
            samples = _mixed(file, stream)
            announced = file.frames if _length_is_known(file, data) else len(samples)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(f"cannot be decoded: {_reason(error)}") from error
    finally:
        stream.check_progress()
    if len(samples) < announced:
        raise AudioError(f"truncated: {len(samples):,} of {announced:,} samples can be decoded")
    waveform = Waveform(samples, file.samplerate)
    _check_samples(waveform)
    return waveform, file.channels


class _Bytes(io.BytesIO):
    """A file's bytes for libsndfile, which calls back for them: an exception there could only be printed."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._has_ended = False
        self.expect_progress()

    def expect_progress(self) -> None:
        """From now on libsndfile has some time; then the bytes end, for its loops end with them."""
        self._deadline = thread_time() + _PATIENCE

    def check_progress(self) -> None:
        """Raise AudioError if the time was too short."""
        if self._has_ended:
            raise AudioError(f"cannot be decoded: nothing comes out of it for {_PATIENCE:.0f} s")

    def readinto(self, buffer: Any) -> int:
        """Number of bytes read."""
        self._has_ended |= thread_time() > self._deadline
        return 0 if self._has_ended else super().readinto(buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Position reached, which is the old one if a damaged header leads to before the start."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class _Stream(soundfile.SoundFile):  # type: ignore[misc] # soundfile publishes no types
    """Read from front to back: soundfile would seek after each read, and some files cannot."""

    def seekable(self) -> bool:
        """Never, so that soundfile does not."""
        return False


def _mixed(file: _Stream, stream: _Bytes) -> NDArray[np.float32]:
    """All that can be decoded, its channels averaged, (n_samples,).

    In blocks, so that a file of many channels needs no more memory than others.
    """
    mixed = np.empty(file.frames, np.float32)
    block = np.empty((_BLOCK, file.channels), np.float32)
    n_samples = 0
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused later
        while len(part := file.read(out=block[: file.frames - n_samples])):
            # Channel by channel: ten times quicker than mean(axis=1) over rows of two.
            mixed[n_samples : n_samples + len(part)] = sum(part.T) / np.float32(file.channels)
            n_samples += len(part)
            stream.expect_progress()
    return mixed[:n_samples]


def _reason(error: Exception) -> str:
    """The words of libsndfile without Python's rendering of the stream object."""
    if getattr(error, "code", None) == _BAD_FILE:
        return "no mpeg audio in it"
    text = str(getattr(error, "error_string", "") or error)
    reason = text.rpartition(">: ")[2].strip().rstrip(".").lower()
    return reason.removeprefix("error : ") or type(error).__name__


def _length_is_known(file: soundfile.SoundFile, data: bytes) -> bool:
    """False for an MP3 without a Xing header: libsndfile then guesses from the first frame's bit rate."""
    return file.format != "MP3" or b"Xing" in data or b"Info" in data


def _check_container(data: bytes) -> None:
    """Refuse what is no known format, and a WAV or AIFF that announces more than there is.

    libsndfile would cut the latter in silence.
    """
    if not data:
        raise AudioError("empty: 0 bytes")
    # An MP3 without tags begins with eleven bits that are 1.
    if not data.startswith(_BEGINNINGS) and data[:2] < b"\xff\xe0":
        raise AudioError("cannot be decoded: not recognised as WAV, FLAC, OGG, MP3, AIFF, AU or CAF")
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
    if file.frames <= 0:
        raise AudioError("empty: 0 samples")
    if (seconds := file.frames / file.samplerate) > max_seconds:
        raise AudioError(f"too long: {seconds:.1f} s, the limit is {max_seconds:.0f} s")
    if file.frames > _MAX_SAMPLES:
        raise AudioError(f"too large: {file.frames:,} samples, the limit is {_MAX_SAMPLES:,}")
    if (values := file.frames * file.channels) > _MAX_VALUES:
        raise AudioError(f"too large: {values:,} samples over all channels, the limit is {_MAX_VALUES:,}")


def _check_samples(waveform: Waveform) -> None:
    if waveform.seconds < MIN_SECONDS:
        raise AudioError(f"too short: {waveform.seconds * 1000:.0f} ms, at least {MIN_SECONDS * 1000:.0f} ms")
    peak = max(float(waveform.samples.max()), -float(waveform.samples.min()))
    if not isfinite(peak):
        raise AudioError("holds NaN or infinite samples")
    if peak > _LOUDEST:
        raise AudioError(f"samples reach {peak:.3g} times full scale")
    if peak == 0:
        raise AudioError("silent: every sample is zero")
    if peak < _FAINTEST:
        raise AudioError(f"silent: no sample reaches more than {peak:.3g} of full scale")
