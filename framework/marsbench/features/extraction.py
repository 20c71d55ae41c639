"""From audio files to features, a few clips at a time: a pure function that can run in any process."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from marsbench.data.audio import Waveform, decode, read_bytes, resample
from marsbench.errors import BenchError, PluginError
from marsbench.plugin.features import FeatureExtractor, Floats
from marsbench.plugin.registry import Recipe, make


class ExtractedClip(NamedTuple):
    """One clip's features, and how long they took from the file on."""

    array: Floats
    seconds: float


Extracted = dict[str, ExtractedClip]
"""By the sha256 of the clip's audio bytes."""


@dataclass(frozen=True)
class Extraction:
    """Features of a few clips as a picklable function; the extractor is rebuilt from its recipe."""

    recipe: Recipe
    folders: tuple[Path, ...]
    clips: tuple[tuple[str, Path], ...]
    """sha256 of the audio bytes and path of each clip."""

    def __call__(self, _on_epoch: object = None) -> Extracted:
        """Features by sha256; raises PluginError, naming the clip. It has no epochs to tell of."""
        extractor = cast("FeatureExtractor", make("features", self.recipe, self.folders))
        return {sha256: self._timed(extractor, sha256, path) for sha256, path in self.clips}

    def _timed(self, extractor: FeatureExtractor, sha256: str, path: Path) -> ExtractedClip:
        start = time.perf_counter()
        array = self._extract(extractor, sha256, path)
        return ExtractedClip(array, time.perf_counter() - start)

    def _extract(self, extractor: FeatureExtractor, sha256: str, path: Path) -> Floats:
        try:
            return extracted(extractor, decode(_bytes_of(sha256, path)))
        except BenchError as error:
            raise PluginError(f"{error} (clip {path})") from error


def extracted(extractor: FeatureExtractor, waveform: Waveform) -> Floats:
    """Features of a recording; raises PluginError, whatever the extractor raises."""
    heard = resample(waveform, extractor.sample_rate)
    try:
        return extractor.checked_extract(heard.samples, heard.sample_rate)
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise PluginError(f"{extractor.name}.extract failed: {what}") from error


def _bytes_of(sha256: str, path: Path) -> bytes:
    """The file's bytes, refused if they are no longer those that were checked."""
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PluginError("the file changed while the run was under way; start it again")
    return data


RunAll = Callable[[Iterable[Extraction]], Iterable[Extracted]]
"""Calls extractions, wherever it likes, and gives what they return in any order."""


def run_here(extractions: Iterable[Extraction]) -> Iterator[Extracted]:
    """Call them in this process, one after the other."""
    for extraction in extractions:
        yield extraction()
