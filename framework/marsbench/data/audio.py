"""Decode audio files to mono waveforms and check them; the only decoder of training and prediction.

Channels are averaged; soxr resamples (quality VHQ). Files are untrusted: memory and computing time are
bounded whatever a header claims.
"""

import io
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from marsbench.data.compressed import HEAD, as_wav, container_of
from marsbench.data.compressed import SUFFIXES as COMPRESSED
from marsbench.data.corpus_options import Channel
from marsbench.data.limited_reader import LimitedReader
from marsbench.environment import without_lines
from marsbench.errors import AudioError

DECODER = f"libsndfile {soundfile.__libsndfile_version__}, soxr {soxr.__version__}"
"""Versions of the libraries that turn files into samples."""

SUFFIXES = COMPRESSED | {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"}
"""File name endings that dataset plugins treat as audio."""

MIN_SECONDS = 0.1
"""Shortest usable clip: one analysis frame of 2048 samples at 22,050 Hz, rounded up."""
MAX_SECONDS = 300.0
"""Longest usable clip; one label does not describe more."""
MAX_BYTES = 1 << 30
"""Largest file that is read."""
RATES = range(1_000, 768_001)
"""Sample rates that are accepted, in Hz."""
_MAX_CHANNELS = 64
_MAX_PEAK, _MIN_PEAK = 2.0**33, 2.0**-60
"""Limits of the largest sample, where full scale is 1: 32-bit integers stored as floats are accepted, values
whose squares overflow or underflow are not."""
_MAX_SAMPLES = 1 << 28
"""Samples per channel: 1 GiB once decoded and averaged, the same as `MAX_BYTES`."""
MAX_VALUES = 1 << 29
"""Samples over all channels, which bounds the decoding time: 1.5 hours of stereo at 48 kHz."""
_BAD_FILE = 7
"""libsndfile's code for "file does not exist", which it reports for data that only starts like an MP3."""
BLOCK = 1 << 16
"""Samples per channel that are decoded at a time."""
_WAVS = (b"RIFF", b"RIFX", b"RF64", b"riff")
_SIGNATURES = (*_WAVS, b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"dns.", b"caff")
"""First bytes of the accepted formats; ID3 is an MP3's. libsndfile reads more formats, such as those of old
samplers, but some of those readers print to standard output."""
_COMPLAINT = re.compile(r"\[.*mpg123.*\] |Note: |Warning: |\s*$")
"""Lines that libmpg123 prints; it says nothing else to standard error."""
_NAMES = "WAV, FLAC, OGG, MP3, AIFF, AU, CAF, M4A, AAC or WebM"
_SIZED_CONTAINERS: dict[bytes, tuple[Literal["little", "big"], bytes]] = {
    b"RIFF": ("little", b"data"),
    b"RIFX": ("big", b"data"),
    b"FORM": ("big", b"SSND"),
}
"""Byte order of sizes, and the chunk with the samples, of WAV and AIFF files by their first four bytes."""
_MOST_CHUNKS = 10_000
"""Chunks of a WAV or AIFF file that are looked at."""
_UNKNOWN_SIZE = 0x7FFF_0000
"""Sizes from here on mean that the writer did not know them, as when writing to a pipe: 7FFFF000 by sox,
80000000 by arecord, FFFFFFFF by ffmpeg. No clip is that large."""
_MAX_INTEGER_BYTES = 4
"""Wider integers do not say what their full scale is: they mostly hold 16-bit samples."""
_FAR_BEYOND = 4.0
"""Largest sample from which on a clip is not only a little too loud, where full scale is 1."""
_CANCELLED = 1e-3
"""Channels whose mean has less than this share of their largest sample cancel each other."""


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono samples, float32 (n_samples,), nominally in [-1, 1], at `sample_rate` Hz."""

    samples: NDArray[np.float32]
    sample_rate: int

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.sample_rate

    @property
    def peak(self) -> float:
        """Largest absolute sample, where full scale is 1; 0 without samples."""
        return max(float(self.samples.max()), -float(self.samples.min())) if len(self.samples) else 0.0

    @property
    def rms(self) -> float:
        """Root mean square of the samples, where full scale is 1."""
        return float(np.sqrt(np.mean(np.square(self.samples), dtype=np.float64)))


def load(path: Path, sample_rate: int) -> Waveform:
    """Decode a file and resample it to `sample_rate` Hz; raises AudioError."""
    return resample(decode(read_bytes(path)), sample_rate)


def read_bytes(path: Path) -> bytes:
    """Bytes of a regular file of at most `MAX_BYTES`; raises AudioError."""
    try:
        if path.is_dir():
            raise AudioError("a folder, not a file")
        if not path.is_file():
            raise AudioError("not a regular file" if path.exists() else "no such file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise AudioError(f"too large: {size:,} bytes, the limit is {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise AudioError(f"cannot be read: {error.strerror or error}") from error


def decode(data: bytes, *, max_seconds: float = MAX_SECONDS, channel: Channel = "mix") -> Waveform:
    """Decode the bytes of an audio file to mono at its own sample rate: one channel, or the mean of all.

    Raises:
        AudioError: empty, unknown format, truncated, too short, too long, silent, or NaN or infinite samples.
    """
    return decode_with_channels(data, max_seconds, channel)[0]


def resample(waveform: Waveform, sample_rate: int) -> Waveform:
    """The waveform at `sample_rate` Hz (soxr VHQ); the same object if it has that rate already."""
    if waveform.sample_rate == sample_rate:
        return waveform
    samples = soxr.resample(waveform.samples, waveform.sample_rate, sample_rate, quality="VHQ")
    return Waveform(np.asarray(samples, np.float32), sample_rate)


def checked(waveform: Waveform, *, max_seconds: float = MAX_SECONDS) -> Waveform:
    """Check samples that do not come from a file and convert them to float32.

    Integers of 8 to 32 bits are scaled so that full scale is 1, as those of a file are.

    Raises:
        AudioError: neither such integers nor floats, masked, more than one dimension, too short, too long,
            silent, or NaN or infinite samples.
    """
    samples = as_floats(waveform.samples)
    if samples.ndim != 1:
        raise AudioError(f"samples have shape {samples.shape}; mono samples of shape (n_samples,) are needed")
    check_extent(len(samples), waveform.sample_rate, max_seconds)
    mono = Waveform(samples, waveform.sample_rate)
    _check_samples(mono)
    return mono


def as_floats(samples: Any) -> NDArray[np.float32]:
    """Samples of any shape, float32, nominally in [-1, 1]."""
    array = np.asarray(samples)
    if np.ma.isMaskedArray(samples):
        raise AudioError("masked samples; give the array without its mask, such as samples.filled(0)")
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind not in "iu" or array.dtype.itemsize > _MAX_INTEGER_BYTES:
        raise AudioError(
            f"samples are {array.dtype}; floats in [-1, 1], or integers of 8, 16 or 32 bits, are needed"
        )
    scale = 2.0 ** (8 * array.dtype.itemsize - 1)
    return ((array - (scale if array.dtype.kind == "u" else 0.0)) / scale).astype(np.float32)


def is_far_beyond_full_scale(peak: float) -> bool:
    """Whether samples with this peak are probably integers that were stored as floats, unscaled."""
    return peak > _FAR_BEYOND


def decode_with_channels(
    data: bytes, max_seconds: float = MAX_SECONDS, channel: Channel = "mix"
) -> tuple[Waveform, int]:
    """The waveform that `decode` gives, and the file's number of channels."""
    if container := container_of(data[:HEAD]):
        data = as_wav(data, container, max_seconds)
    stream = AudioReader(io.BytesIO(data))
    stream.check_container(len(data))
    try:
        with without_complaints(data), SequentialFile(stream) as file:
            _check_header(file, max_seconds)
            samples, loudest = _mix_to_mono(file, stream, channel)
            # Libsndfile guesses the length of an MP3 without a Xing header from the first frame's bit rate.
            is_known = file.format != "MP3" or b"Xing" in data or b"Info" in data
            announced = file.frames if is_known else len(samples)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise cannot_be_decoded(error) from error
    finally:
        stream.check_progress()
    if len(samples) < announced:
        raise AudioError(f"truncated: {len(samples):,} of {announced:,} samples can be decoded")
    waveform = Waveform(samples, file.samplerate)
    check_mixed(waveform, loudest)
    return waveform, file.channels


def check_mixed(waveform: Waveform, loudest: float) -> None:
    """Check an average over channels, of which the largest sample is `loudest`; raises AudioError."""
    if 0 < loudest < _MAX_PEAK and waveform.peak < _CANCELLED * loudest:
        raise AudioError(
            "silent once its channels are averaged: they are in opposite phase and cancel each other; "
            "invert one, or read a single one, of a corpus by --channel left"
        )
    _check_samples(waveform)


def without_complaints(head: bytes) -> AbstractContextManager[None]:
    """Keep what libmpg123 prints on a damaged MP3 off the terminal: whatever matters is an AudioError.

    `head` is the file, or its beginning.
    """
    is_mp3 = head.startswith(b"ID3") or not head.startswith(_SIGNATURES)
    return without_lines(lambda line: _COMPLAINT.match(line) is not None) if is_mp3 else nullcontext()


def cannot_be_decoded(error: Exception) -> AudioError:
    """The error for what libsndfile says of a file."""
    return AudioError(f"cannot be decoded: {_reason(error)}")


class AudioReader(LimitedReader):
    """The bytes of a file for libsndfile's read callbacks."""

    _patch: tuple[int, bytes] = (0, b"")
    """Where other bytes are read than the file has, and which."""

    def readinto(self, buffer: Any) -> int:
        """Number of bytes read; 0 once the time limit has passed."""
        if self.is_over():
            return 0
        at, n_read = self.tell(), self.file.readinto(buffer) or 0
        for offset, value in enumerate(self._patch[1], self._patch[0] - at):
            if 0 <= offset < n_read:
                memoryview(buffer).cast("B")[offset] = value
        return n_read

    def check_container(self, size: int) -> None:
        """Look at the beginning of a file of `size` bytes, and go back to it.

        If the writer of a WAV or AIFF file left 0 for the size of its samples, the real one is read from then
        on.

        Raises:
            AudioError: an unknown format, or a WAV or AIFF file that is shorter than the chunk of samples in
                its header, which libsndfile does not refuse.
        """
        head = self.file.read(12)
        if not head:
            raise AudioError("empty: 0 bytes")
        # An MP3 without tags starts with eleven bits that are 1.
        if not head.startswith(_SIGNATURES) and head[:2] < b"\xff\xe0":
            raise AudioError(f"cannot be decoded: not recognised as {_NAMES}")
        if head[:4] in _SIZED_CONTAINERS:
            self._check_size(head, size)
        self.seek(0)
        self.expect_progress()

    def _check_size(self, head: bytes, size: int) -> None:
        order, wanted = _SIZED_CONTAINERS[head[:4]]
        announced, at = int.from_bytes(head[4:8], order) + 8, 12
        for _ in range(_MOST_CHUNKS):
            if at + 8 > size:
                break
            self.seek(at)
            name, length = self.file.read(4), int.from_bytes(self.file.read(4), order)
            if name == wanted:
                if length == 0 and not _starts_with_chunk(self.file.read(8), size - at - 8, order):
                    self._patch = (at + 4, (size - at - 8).to_bytes(4, order))
                    return
                announced = at + 8 + length
                break
            at += 8 + length + length % 2
        # Many writers omit the padding byte after a last chunk of odd length.
        if size + 1 < announced < _UNKNOWN_SIZE:
            raise AudioError(f"truncated: the header announces {announced:,} bytes, the file has {size:,}")


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc] # soundfile publishes no types
    """A sound file read sequentially: soundfile would seek after each read, which some files do not allow."""

    def seekable(self) -> bool:
        """Always False, so that soundfile does not seek."""
        return False


def taken(samples: NDArray[np.float32], channel: Channel) -> NDArray[np.float32]:
    """The channels to average of samples (n_samples, n_channels): all, the first, or the second if any."""
    if channel == "mix":
        return samples
    position = 0 if channel == "left" else min(1, samples.shape[1] - 1)
    return samples[:, position : position + 1]


def mean_of(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over channels of samples (n_samples, n_channels), (n_samples,)."""
    # Summing by channel is ten times faster than mean(axis=1) over rows of two.
    return np.asarray(sum(samples.T) / np.float32(samples.shape[1]))


def _mix_to_mono(
    file: SequentialFile, stream: AudioReader, channel: Channel
) -> tuple[NDArray[np.float32], float]:
    """All samples that can be decoded, averaged over channels, (n_samples,), and the largest of any channel.

    Decoded in blocks, so that memory does not grow with the number of channels.
    """
    mixed = np.empty(file.frames, np.float32)
    block = np.empty((BLOCK, file.channels), np.float32)
    n_samples, loudest = 0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # infinite samples are refused later
        while len(part := file.read(out=block[: file.frames - n_samples])):
            kept = taken(part, channel)
            mixed[n_samples : n_samples + len(part)] = mean_of(kept)
            loudest = max(loudest, float(kept.max()), -float(kept.min()))
            n_samples += len(part)
            stream.expect_progress()
    return mixed[:n_samples], loudest


def _reason(error: Exception) -> str:
    """Libsndfile's message without the representation of the stream object."""
    if getattr(error, "code", None) == _BAD_FILE:
        return "no mpeg audio in it"
    text = str(getattr(error, "error_string", "") or error)
    reason = text.rpartition(">: ")[2].strip().rstrip(".").lower()
    return reason.removeprefix("error : ") or type(error).__name__


def _starts_with_chunk(head: bytes, size: int, order: Literal["little", "big"]) -> bool:
    """Whether nothing or another whole chunk, which begins with `head`, is in the last `size` bytes.

    A chunk of size 0 before it is then empty.
    """
    is_named = head[:4].decode("latin-1").strip().isalnum() and head[:4].isascii()
    return not head or (is_named and 8 + int.from_bytes(head[4:8], order) <= size)


def _check_header(file: soundfile.SoundFile, max_seconds: float) -> None:
    """Check the header before memory is allocated for what it announces."""
    check_extent(file.frames, file.samplerate, max_seconds)
    check_channels(file.channels)
    if file.frames <= 0:
        raise AudioError("empty: 0 samples")
    if file.frames > _MAX_SAMPLES:
        raise AudioError(f"too large: {file.frames:,} samples, the limit is {_MAX_SAMPLES:,}")
    if (values := file.frames * file.channels) > MAX_VALUES:
        raise AudioError(f"too large: {values:,} samples over all channels, the limit is {MAX_VALUES:,}")


def check_channels(n_channels: int) -> None:
    """Raise AudioError if a file has more than 64 channels."""
    if n_channels > _MAX_CHANNELS:
        raise AudioError(f"too many channels: {n_channels}, the limit is {_MAX_CHANNELS}")


def check_extent(n_samples: int, rate: int, max_seconds: float) -> None:
    """Raise AudioError for a sample rate that is not supported, or more than `max_seconds`."""
    if rate not in RATES:
        limits = f"{RATES.start:,} to {RATES.stop - 1:,} Hz are supported"
        raise AudioError(f"unsupported sample rate: {rate:,} Hz; {limits}")
    if (seconds := n_samples / rate) > max_seconds:
        raise AudioError(f"too long: {seconds:.1f} s, the limit is {max_seconds:.0f} s")


def _check_samples(waveform: Waveform) -> None:
    if waveform.seconds < MIN_SECONDS:
        raise AudioError(
            f"too short: {waveform.seconds * 1000:.0f} ms, the minimum is {MIN_SECONDS * 1000:.0f} ms"
        )
    peak = waveform.peak
    if not isfinite(peak):
        raise AudioError("contains NaN or infinite samples")
    if peak > _MAX_PEAK:
        raise AudioError(f"too loud: the largest sample is {peak:.3g} times full scale")
    if peak == 0:
        raise AudioError("silent: every sample is zero")
    if peak < _MIN_PEAK:
        raise AudioError(f"silent: the largest sample is {peak:.3g} of full scale")
