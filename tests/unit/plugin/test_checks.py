"""Contract checks of extractors and datasets: each finds the plugin that breaks it, and no other."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from marsbench.data.corpus import Clip, Corpus
from marsbench.errors import CorpusError, PluginError
from marsbench.plugin.base import Dataset, Plugin
from marsbench.plugin.checks import check
from marsbench.plugin.features import FeatureExtractor, FeatureKind, Floats


def problems(plugin: type[Plugin], parameters: dict[str, Any] | None = None) -> dict[str, str]:
    return {entry.name: entry.problem for entry in check(plugin, parameters) if entry.problem}


@dataclass
class Level(FeatureExtractor):
    """Level and zero crossings of each frame."""

    kind: ClassVar[FeatureKind] = "frames"
    frame: int = 512
    n_frames: int = 100

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:  # noqa: ARG002 - frames count samples
        count = min(len(waveform) // self.frame, self.n_frames)
        frames = waveform[: count * self.frame].reshape(count, self.frame)
        crossings = (np.diff(np.sign(frames)) != 0).mean(axis=1)
        return np.column_stack([np.log(frames.std(axis=1) + 1e-6), crossings]).astype(np.float32)


@dataclass
class Spread(Level):
    """Level of the whole clip."""

    kind: ClassVar[FeatureKind] = "vector"

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        return np.asarray(super().extract(waveform, sample_rate).mean(axis=0))


class NoisyLevel(Level):
    """Draws from the global generator."""

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        values = super().extract(waveform, sample_rate)
        return values + np.random.rand(*values.shape).astype(np.float32)  # noqa: NPY002 - the fault


class RememberingLevel(Level):
    """Depends on the call before."""

    calls_ = 0

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        self.calls_ += 1
        return super().extract(waveform, sample_rate) + np.float32(self.calls_)


class GreedyLevel(Level):
    """Normalises its input in place."""

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        waveform /= 2
        return super().extract(waveform, sample_rate)


class DividingLevel(Level):
    """Divides by the level, which may be zero."""

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        values = super().extract(waveform, sample_rate)
        return values / (np.float32(np.median(abs(waveform)) > 0) or np.float32(np.nan))


class ImpatientLevel(Level):
    """Needs half a second."""

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        if len(waveform) < sample_rate // 2:
            raise ValueError("too short")
        return super().extract(waveform, sample_rate)


class EndlessLevel(Level):
    """Ignores its own limit."""

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        return Level(self.frame, 10**6).extract(waveform, sample_rate)


class WideningLevel(Spread):
    """As many dimensions as seconds."""

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        return np.ones(1 + len(waveform) // sample_rate, np.float32)


class DoubleLevel(Level):
    """Wrong dtype."""

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        return cast("Floats", super().extract(waveform, sample_rate).astype(np.float64))


class KindlessLevel(Level):
    """Misspelt kind."""

    kind = cast("FeatureKind", "frame")


class SilentLevel(Level):
    __doc__ = None


@dataclass
class GeneratedDoc(Level):
    hop: int = 1


class ListedLevel(Level):
    """Requires text where a tuple belongs."""

    requires = cast("tuple[str, ...]", "librosa")


@dataclass
class TupleLevel(Level):
    """A tuple comes back from JSON as a list."""

    bands: tuple[int, ...] = (1, 2)


class ForgetfulLevel(Level):
    """Renames its argument."""

    def __init__(self, size: int = 512) -> None:
        super().__init__(size)


@dataclass
class UnpicklableLevel(Level):
    """Holds a lambda."""

    def __post_init__(self) -> None:
        self.window_ = lambda n: n


class NeedyLevel(Level):
    """Cannot be constructed without an argument."""

    def __init__(self, width: int) -> None:
        super().__init__(width)


@pytest.mark.parametrize("plugin", [Level, Spread])
def test_a_good_extractor_has_no_problem(plugin: type[Plugin]) -> None:
    assert problems(plugin) == {}


@pytest.mark.parametrize(
    ("plugin", "name", "words"),
    [
        (NoisyLevel, "deterministic", "different values"),
        (RememberingLevel, "deterministic", "different values"),
        (GreedyLevel, "input not modified", "changed the waveform"),
        (GreedyLevel, "read-only input", "read-only"),
        (DividingLevel, "near silence", "NaN"),
        (ImpatientLevel, "the shortest clip", "ValueError: too short"),
        (EndlessLevel, "a long clip", "frames; the maximum is n_frames=100"),
        (WideningLevel, "a long clip", "9 dimensions for this clip, but 2"),
        (WideningLevel, "the shortest clip", "1 dimensions for this clip, but 2"),
        (DoubleLevel, "a voice-like tone", "float64"),
        (KindlessLevel, "kind", "'frame'; 'frames' or 'vector'"),
        (SilentLevel, "class docstring", "bench plugins list"),
        (GeneratedDoc, "class docstring", "bench plugins list"),
        (ListedLevel, "requires names distributions", "'librosa'; a tuple"),
        (TupleLevel, "parameters survive JSON", r"bands=\(1, 2\)"),
        (ForgetfulLevel, "parameters survive JSON", "is not stored: .*size"),
        (UnpicklableLevel, "can be pickled", "lambda"),
        (NeedyLevel, "constructs", "missing 1 required positional argument: 'width'"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_faulty_extractor_is_found(plugin: type[Plugin], name: str, words: str) -> None:
    assert re.search(words, problems(plugin).get(name, "no problem"))


class OneBuffer(Level):
    """Returns the same array each time."""

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        if not hasattr(self, "buffer"):
            self.buffer = super().extract(waveform, sample_rate)
        self.buffer[...] = waveform.mean()
        return self.buffer


def test_an_extractor_that_reuses_its_array_is_found() -> None:
    assert "return a new array each time" in problems(OneBuffer)["output not reused"]


def test_nothing_is_tried_once_a_gate_is_shut() -> None:
    assert [entry.name for entry in check(DoubleLevel)] == ["constructs", "kind", "a voice-like tone"]


def test_parameters_that_are_given_are_used() -> None:
    assert problems(NeedyLevel, {"width": 512}).keys() == {"parameters survive JSON", "can be pickled"}


class Tones(Dataset):
    """Two clips."""

    def load(self) -> Corpus:
        clips = tuple(Clip(f"{label}.wav", Path(f"{label}.wav"), label) for label in ("low", "high"))
        return Corpus("tones", ("low", "high"), clips)


class Absent(Dataset):
    """Files that are not on this machine."""

    def load(self) -> Corpus:
        raise CorpusError("no folder 'tones'; fetch it first")


class Wordless(Dataset):
    """Says nothing."""

    def load(self) -> Corpus:
        raise CorpusError


class Crashing(Dataset):
    """Lets Python's own error through."""

    def load(self) -> Corpus:
        raise FileNotFoundError("tones.csv")


class Listing(Dataset):
    """Returns a list."""

    def load(self) -> Corpus:
        return cast("Corpus", [])


@pytest.mark.parametrize("plugin", [Tones, Absent])
def test_a_good_dataset_has_no_problem(plugin: type[Plugin]) -> None:
    assert problems(plugin) == {}


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        (Wordless, "load raised a CorpusError without a message"),
        (Crashing, "FileNotFoundError: tones.csv"),
        (Listing, "load returned list; a Corpus is needed"),
    ],
)
def test_a_faulty_dataset_is_found(plugin: type[Plugin], problem: str) -> None:
    assert problems(plugin) == {"load": problem}


def test_what_is_of_no_kind_cannot_be_checked() -> None:
    with pytest.raises(PluginError, match="Plugin is not a Dataset, FeatureExtractor or Model"):
        check(Plugin)
