"""Decode clips: whole files, and segments of files without decoding or keeping the rest of the file.

Where a decoder can start at any sample exactly (WAV, AIFF, AU, CAF, FLAC), it does. Files of other formats
are decoded from their beginning up to the segment's end; several segments of one file, in order, in one pass.
"""

import hashlib
import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from marsbench.data.audio import (
    BLOCK,
    MAX_SECONDS,
    MAX_VALUES,
    AudioReader,
    SequentialFile,
    Waveform,
    cannot_be_decoded,
    check_channels,
    check_extent,
    check_mixed,
    decode,
    mean_of,
    read_bytes,
    taken,
    without_complaints,
)
from marsbench.data.compressed import HEAD, as_wav, container_of, decoder_of
from marsbench.data.corpus import ClipSource
from marsbench.data.corpus_options import Channel
from marsbench.errors import AudioError

_TOLERANCE = 0.01
"""Seconds by which a segment may end after its file: tables have rounded times."""
_MOST_SECONDS = 7200.0
"""Longest M4A or the like: it is decoded as a whole."""
_SECONDS_KEPT = 3600.0
"""Seconds of segments that are compared at a time."""
_EXACT_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC"})
_EXACT_CODINGS = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Beginnings of the names of codings in which every sample stands for itself, or FLAC's."""


def read_clip(source: ClipSource) -> Waveform:
    """The waveform of a clip; raises AudioError."""
    if source.start is None:
        return decode(read_bytes(source.path), channel=source.channel)
    with SegmentedFile(source.path, source.channel) as file:
        return file.read(source.start, source.end)


def content_of(waveform: Waveform) -> str:
    """sha256 of the samples and their rate."""
    rate = waveform.sample_rate.to_bytes(4, "little")
    return hashlib.sha256(rate + waveform.samples.tobytes()).hexdigest()


class SegmentedFile:
    """An audio file, open to read segments of it; to read them in order of their starts is fastest.

    Raises:
        AudioError: not a file, or one that cannot be decoded.
    """

    def __init__(self, path: Path, channel: Channel = "mix") -> None:
        self.path, self.channel = path, channel
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self._file.channels)

    @property
    def decoder(self) -> str:
        """As `compressed.decoder_of` says."""
        return decoder_of(self._head)

    def sha256(self) -> str:
        """sha256 of the whole file's bytes."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, start: float, end: float | None) -> Waveform:
        """The samples from second `start` up to second `end`, or to the file's end.

        Raises:
            AudioError: as for a file; also a segment beyond the file's end.
        """
        rate, n_samples = self._file.samplerate, self._file.frames
        first = round(start * rate)
        last = n_samples if end is None else round(end * rate)
        if self._is_exact:
            self._check_inside(first, last, n_samples)
            last = min(last, n_samples)
        check_extent(last - first, rate, MAX_SECONDS)
        try:
            with without_complaints(self._head):
                mixed, loudest = self._samples(first, last)
        except (soundfile.SoundFileError, RuntimeError) as error:
            self._kept_from = sys.maxsize  # where the decoder is now is not known
            raise cannot_be_decoded(error) from error
        finally:
            self._stream.check_progress()
        self._check_inside(first, last, self._kept_from + self._kept.shape[1])
        waveform = Waveform(mixed, rate)
        check_mixed(waveform, float(loudest.max(initial=0)))
        return waveform

    def _open(self) -> None:
        try:
            if not self.path.is_file():
                raise AudioError("not a regular file" if self.path.exists() else "no such file")
            file: io.FileIO | io.BytesIO = io.FileIO(self.path)
            self._head = file.read(HEAD)
        except OSError as error:
            raise AudioError(f"cannot be read: {error.strerror or error}") from error
        if container := container_of(self._head):
            file.close()
            file = io.BytesIO(as_wav(read_bytes(self.path), container, _MOST_SECONDS))
        self._stream = AudioReader(file)
        try:
            size = self._stream.seek(0, io.SEEK_END)
            self._stream.seek(0)
            self._stream.check_container(size)
            with without_complaints(self._head):
                self._file = SequentialFile(self._stream)
        except (soundfile.SoundFileError, RuntimeError) as error:
            self._stream.file.close()
            raise cannot_be_decoded(error) from error
        except AudioError:
            self._stream.file.close()
            raise
        self._is_exact = self._file.format in _EXACT_FORMATS and self._file.subtype.startswith(_EXACT_CODINGS)
        self._kept = np.empty((2, 0), np.float32)
        """Samples that were decoded last, and the largest of any channel beside each."""
        self._kept_from = 0
        """Position of the first of them."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._stream.file.close()

    def _check_inside(self, first: int, last: int, n_samples: int) -> None:
        rate = self._file.samplerate
        what = "start" if first >= n_samples else "end"
        if first >= n_samples or last > n_samples + _TOLERANCE * rate:
            at = (first if what == "start" else last) / rate
            raise AudioError(
                f"the segment {what}s at {at:.3f} s, beyond the file's end at {n_samples / rate:.3f} s"
            )

    def _samples(self, first: int, last: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Samples from `first` up to `last`, and the largest of any channel beside each; fewer at the end."""
        check_channels(self.channels)
        if first < self._kept_from and not self._is_exact:
            self.close()
            self._open()
        self._stream.expect_progress()
        self._forget_before(first)
        missing = last - self._kept_from - self._kept.shape[1]
        if missing > 0:
            self._kept = np.concatenate([self._kept, self._decoded(missing)], axis=1)
        mixed, loudest = self._kept[:, : last - first]
        return mixed.copy(), loudest

    def _forget_before(self, first: int) -> None:
        """Keep no sample before `first`, and be where the next one to decode is."""
        decoded_to = self._kept_from + self._kept.shape[1]
        if self._kept_from <= first < decoded_to:
            self._kept = self._kept[:, first - self._kept_from :]
            self._kept_from = first
            return
        self._kept, self._kept_from = self._kept[:, :0], first
        if self._is_exact:
            if self._file.seek(first) != first:
                raise AudioError(f"cannot be decoded: no way to sample {first:,}")
            return
        if first * self.channels > MAX_VALUES:
            raise AudioError("too far into a file that is decoded from its beginning; convert it to FLAC")
        while decoded_to < first and (skipped := self._decoded(min(BLOCK, first - decoded_to)).shape[1]):
            decoded_to += skipped
        self._kept_from = decoded_to

    def _decoded(self, most: int) -> NDArray[np.float32]:
        """Up to `most` next samples, (2, n_samples): the mean over channels, and the largest of any."""
        found = np.empty((2, most), np.float32)
        block = np.empty((min(BLOCK, most), self.channels), np.float32)
        n_samples = 0
        with np.errstate(over="ignore", invalid="ignore"):  # infinite samples are refused later
            while len(part := self._file.read(out=block[: most - n_samples])):
                here, kept = slice(n_samples, n_samples + len(part)), taken(part, self.channel)
                found[0, here] = mean_of(kept)
                np.abs(kept.T).max(axis=0, out=found[1, here])
                n_samples += len(part)
                self._stream.expect_progress()
        return found[:, :n_samples]


class LastFile:
    """Reads segments and keeps the file of the last one open."""

    _file: SegmentedFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, source: ClipSource) -> Waveform:
        """The waveform of a segment; raises AudioError."""
        if self._file is None or (self._file.path, self._file.channel) != (source.path, source.channel):
            self.__exit__()
            self._file = SegmentedFile(source.path, source.channel)
        return self._file.read(source.start or 0.0, source.end)

    def recording(self, source: ClipSource) -> Path | Waveform:
        """A clip as bundles take it: a whole file's path, the samples of a part of it; raises AudioError."""
        return source.path if source.is_whole else self.waveform(source)

    def waveform(self, source: ClipSource) -> Waveform:
        """The waveform of a whole file or a segment; raises AudioError."""
        return read_clip(source) if source.start is None else self.read(source)


def in_order(sources: Iterable[ClipSource]) -> list[ClipSource]:
    """Those that are segments, each once, in the order in which `LastFile` reads them fastest."""
    segments = {source for source in sources if source.start is not None}
    return sorted(segments, key=lambda source: (str(source.path), source.start or 0.0))


def batches_of(
    pairs: Iterable[tuple[str, str]], sources: Mapping[str, ClipSource], n_files: int
) -> Iterator[list[tuple[str, str]]]:
    """Parts of `pairs` whose clips are compared at a time: `n_files` of whole files, of segments an hour."""
    batch: list[tuple[str, str]] = []
    seconds = 0.0
    for pair in pairs:
        batch.append(pair)
        seconds += sum(_seconds_kept(sources[name], n_files) for name in pair)
        if seconds >= _SECONDS_KEPT:
            yield batch
            batch, seconds = [], 0.0
    if batch:
        yield batch


def _seconds_kept(source: ClipSource, n_files: int) -> float:
    if source.start is None:
        return _SECONDS_KEPT / (2 * n_files)
    return MAX_SECONDS if source.end is None else source.end - source.start
