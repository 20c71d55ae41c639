"""Extraction of the features of a few clips, or of versions of them, in any process."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from marsbench.data.audio import Waveform, decode, read_bytes, resample
from marsbench.data.audio_validation import Sources, examine_file
from marsbench.data.compressed import file_key
from marsbench.data.corpus import AudioFacts, ClipSource
from marsbench.data.segments import LastFile, content_of
from marsbench.errors import AudioError, BenchError, ConfigError, PluginError, StorageError
from marsbench.features.clip_versions import version_of
from marsbench.plugin.features import FeatureExtractor, Floats
from marsbench.plugin.registry import Recipe, make

_RERUN = "run the same command again once it is whole"


class ExtractedClip(NamedTuple):
    """Features of one clip."""

    array: Floats
    """(n_frames, n_dims) or (n_dims,)."""
    seconds: float
    """Time to read, decode and extract."""


Extracted = dict[str, ExtractedClip]
"""Extracted clips by `CheckedCorpus.audio_keys`."""


@dataclass(frozen=True)
class Extraction:
    """A picklable task that extracts features of a few clips in any process."""

    recipe: Recipe
    folders: tuple[Path, ...]
    clips: tuple[tuple[str, ClipSource], ...]
    """Key and place of the audio of each clip; segments of one file in order."""
    version: str = ""
    """Name of the version of each clip; empty for the clips themselves."""

    def __call__(self, _on_epoch: object = None) -> Extracted:
        """Features by key; the progress callback is not used.

        Raises:
            PluginError: the extractor failed; names the clip.
            StorageError: an audio file has vanished or changed since the corpus was checked.
        """
        extractor = cast("FeatureExtractor", make("features", self.recipe, self.folders))
        with LastFile() as opened:
            return {key: self._extract(extractor, key, source, opened) for key, source in self.clips}

    def _extract(
        self, extractor: FeatureExtractor, key: str, source: ClipSource, opened: LastFile
    ) -> ExtractedClip:
        start = time.perf_counter()
        try:
            waveform = _waveform(key, source, opened)
        except AudioError as error:
            raise StorageError(f"audio file {source.path} can be read no more: {error}; {_RERUN}") from error
        if waveform is None:
            raise StorageError(f"audio file {source.path} changed during the run; {_RERUN}")
        try:
            array = extracted(extractor, version_of(waveform, self.version) if self.version else waveform)
        except BenchError as error:
            raise PluginError(f"{error} (clip {source.path})") from error
        return ExtractedClip(array, time.perf_counter() - start)


class Examined(NamedTuple):
    """What an `Examination` finds."""

    facts: list[list[AudioFacts]]
    """Facts of the clips of each file."""
    features: Extracted
    cpu_seconds: list[float]
    """CPU time to extract each of these features, without reading."""


@dataclass(frozen=True)
class Examination:
    """A picklable task that examines a few files and, of their usable clips, extracts features at once."""

    recipe: Recipe
    folders: tuple[Path, ...]
    files: tuple[Sources, ...]

    def __call__(self, _on_epoch: object = None) -> Examined:
        """Facts and features; the progress callback is not used.

        Features of some clips are missing where the extractor fails: a later `Extraction` tells why.

        Raises:
            StorageError: this machine cannot read a file at the moment.
        """
        found = Examined([], {}, [])
        with suppress(ConfigError, PluginError):
            extractor = cast("FeatureExtractor", make("features", self.recipe, self.folders))

            def heard(source: ClipSource, facts: AudioFacts, waveform: Waveform, seconds: float) -> None:
                start, cpu_start = time.perf_counter(), time.process_time()
                array = extracted(extractor, waveform)
                taken = seconds + time.perf_counter() - start
                found.features[facts.audio_key(source)] = ExtractedClip(array, taken)
                found.cpu_seconds.append(time.process_time() - cpu_start)

            found.facts.extend(examine_file(file, heard) for file in self.files)
        found.facts.extend(examine_file(file) for file in self.files[len(found.facts) :])
        return found


def _waveform(key: str, source: ClipSource, opened: LastFile) -> Waveform | None:
    """The waveform of a clip; None if it is not the one that was checked."""
    if not source.is_whole:
        waveform = opened.waveform(source)
        return waveform if content_of(waveform) == key else None
    data = read_bytes(source.path)
    if known := file_key(data):
        return decode(data) if known == key else None
    waveform = decode(data)
    return waveform if content_of(waveform) == key else None


def extracted(extractor: FeatureExtractor, waveform: Waveform) -> Floats:
    """Features of a waveform of any sample rate; raises PluginError for any exception of the extractor."""
    resampled = resample(waveform, extractor.sample_rate)
    try:
        return extractor.checked_extract(resampled.samples, resampled.sample_rate)
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise PluginError(f"{extractor.name}.extract failed: {what}") from error


RunAll = Callable[[Iterable[Extraction]], Iterable[Extracted]]
"""Executes extraction tasks in any process and yields their results in any order."""


def run_here(extractions: Iterable[Extraction]) -> Iterator[Extracted]:
    """Execute extraction tasks in this process, one after the other."""
    for extraction in extractions:
        yield extraction()
