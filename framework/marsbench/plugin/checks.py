"""Check that a plugin fulfils its contract: shapes, determinism, pickling, saving, unusual input.

`check` does not raise when a plugin violates the contract; it returns a list of results.
"""

import pickle
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.data.audio import MIN_SECONDS
from marsbench.data.corpus import Corpus
from marsbench.errors import CorpusError, PluginError, with_type
from marsbench.hashing import is_jsonable
from marsbench.plugin.base import Dataset, Plugin
from marsbench.plugin.features import FeatureExtractor, Features, Floats
from marsbench.plugin.model import Examples, FitContext, Model, Probabilities
from marsbench.plugin.search_space import Defaults, Dimension

Test = Callable[[], str | None]
"""Returns the problem, or None; an exception is a problem too."""

_SEED = 7
N_CLASSES = 3
_N_CLIPS = 24
_N_FRAMES = 12
N_DIMS = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement of the contract, and the problem with it or None."""

    name: str
    problem: str | None = None


def check(
    plugin: type[Plugin],
    parameters: Mapping[str, Any] | None = None,
    by_hand: Mapping[str, Any] | None = None,
    n_dims: int = N_DIMS,
) -> list[Check]:
    """Check a dataset, feature extractor or model plugin, constructed with `parameters`.

    A model is fitted with the hyperparameters `by_hand` to features of `n_dims` dimensions; one with a
    parameter `epochs` is fitted for one epoch unless `parameters` says otherwise. If the constructor,
    `extract` or `fit` does not work at all, the list ends with that check.

    Raises:
        PluginError: `plugin` is not a dataset, feature extractor or model.
    """
    given = dict(parameters or {})
    benches: dict[type[Plugin], Callable[[Any, dict[str, Any]], _Bench]] = {
        FeatureExtractor: _FeatureBench,
        Model: partial(_ModelBench, by_hand=by_hand or {}, n_dims=n_dims),
        Dataset: _DatasetBench,
    }
    for kind, bench in benches.items():
        if issubclass(plugin, kind):
            return bench(plugin, given).checks()
    raise PluginError(f"{plugin.__name__} is not a Dataset, FeatureExtractor or Model")


def _run(name: str, test: Test) -> Check:
    try:
        return Check(name, test())
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything; that is the result
        return Check(name, with_type(error))


def _unless(is_fulfilled: bool, problem: str) -> str | None:
    return None if is_fulfilled else problem


class _Bench:
    """Checks for every kind of plugin."""

    def __init__(self, plugin: Any, parameters: dict[str, Any]) -> None:
        self.plugin = plugin
        self.parameters = parameters

    def checks(self) -> list[Check]:
        """Run the gates up to the first that fails, and the other checks only if none did."""
        done = []
        for name, test in self.gates():
            done.append(_run(name, test))
            if done[-1].problem:
                return done
        return done + [_run(name, test) for name, test in self.others()]

    def gates(self) -> list[tuple[str, Test]]:
        return [("constructs", self.constructs)]

    def others(self) -> list[tuple[str, Test]]:
        return [
            ("class docstring", self.documented),
            ("requires names distributions", self.requirements),
            ("parameters survive JSON", self.jsonable),
            ("can be pickled", self.picklable),
        ]

    def fresh(self) -> Any:
        return self.plugin.create(self.parameters)

    def constructs(self) -> None:
        self.fresh()

    def documented(self) -> str | None:
        text = self.plugin.__dict__.get("__doc__") or ""
        # A dataclass without a docstring gets its signature as docstring.
        is_there = bool(text.strip()) and not text.startswith(f"{self.plugin.__name__}(")
        return _unless(is_there, "no docstring; its first line is what `bench plugins list` shows")

    def requirements(self) -> str | None:
        names = self.plugin.requires
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            return f"requires is {names!r}; a tuple of names is needed"
        for name in names:
            try:
                version(name)
            except PackageNotFoundError:
                return f"{name} is not installed: pip install {name}"
        return None

    def jsonable(self) -> str | None:
        parameters = self.fresh().parameters
        changed = [name for name, value in parameters.items() if not is_jsonable({name: value})]
        if changed:
            return f"{changed[0]}={parameters[changed[0]]!r} does not survive JSON: use numbers, text, lists"
        return None

    def picklable(self) -> str | None:
        plugin = self.fresh()
        copy = pickle.loads(pickle.dumps(plugin))  # noqa: S301 - pickled in the same line
        return _unless(copy.parameters == plugin.parameters, "a pickled copy has different parameters")


class _DatasetBench(_Bench):
    def others(self) -> list[tuple[str, Test]]:
        return [*super().others(), ("load", self.loads)]

    def loads(self) -> str | None:
        """A CorpusError with a message is accepted: the files may not be on this machine."""
        try:
            corpus = self.fresh().load()
        except CorpusError as error:
            return _unless(bool(str(error).strip()), "load raised a CorpusError without a message")
        return _unless(
            isinstance(corpus, Corpus), f"load returned {type(corpus).__name__}; a Corpus is needed"
        )


class _FeatureBench(_Bench):
    def gates(self) -> list[tuple[str, Test]]:
        return [*super().gates(), ("kind", self.kind), ("a voice-like tone", self.tone)]

    def others(self) -> list[tuple[str, Test]]:
        return [
            ("near silence", lambda: self.same_width(_click(self.rate))),
            ("the shortest clip", lambda: self.same_width(made_voice(self.rate, MIN_SECONDS))),
            ("a long clip", lambda: self.same_width(made_voice(self.rate, 8.0))),
            ("deterministic", self.deterministic),
            ("output not reused", self.output_kept),
            ("input not modified", self.input_kept),
            ("read-only input", self.read_only),
            *super().others(),
        ]

    @property
    def rate(self) -> int:
        return int(self.fresh().sample_rate)

    def extract(self, waveform: Floats) -> Floats:
        values: Floats = self.fresh().checked_extract(waveform, self.rate)
        return values

    def kind(self) -> str | None:
        return _kind_problem("kind", getattr(self.plugin, "kind", None))

    def tone(self) -> None:
        self.extract(made_voice(self.rate))

    def same_width(self, waveform: Floats) -> str | None:
        width, usual = self.extract(waveform).shape[-1], self.extract(made_voice(self.rate)).shape[-1]
        return _unless(width == usual, f"{width} dimensions for this clip, but {usual} for another")

    def deterministic(self) -> str | None:
        extractor, wave = self.fresh(), made_voice(self.rate)
        first = extractor.checked_extract(wave, self.rate)
        again = extractor.checked_extract(wave, self.rate)
        same = np.array_equal(first, again) and np.array_equal(first, self.extract(wave))
        return _unless(same, "two calls with the same waveform returned different values")

    def output_kept(self) -> str | None:
        """Look at a clip's features again after another clip was extracted."""
        extractor = self.fresh()
        first = extractor.extract(made_voice(self.rate), self.rate)
        before = np.array(first)
        extractor.extract(made_voice(self.rate, 2.0)[: self.rate][::-1].copy(), self.rate)
        problem = (
            "the features of a clip changed when another one was extracted: return a new array each time"
        )
        return _unless(np.array_equal(first, before), problem)

    def input_kept(self) -> str | None:
        wave = made_voice(self.rate)
        self.extract(wave)
        same = np.array_equal(wave, made_voice(self.rate))
        return _unless(same, "extract changed the waveform it was given")

    def read_only(self) -> str | None:
        wave = made_voice(self.rate)
        wave.flags.writeable = False
        same = np.array_equal(self.extract(wave), self.extract(wave.copy()))
        return _unless(same, "a read-only waveform gave different values")


class _ModelBench(_Bench):
    def __init__(
        self, plugin: Any, parameters: dict[str, Any], by_hand: Mapping[str, Any], n_dims: int
    ) -> None:
        super().__init__(plugin, short_training(plugin) | parameters)
        self.by_hand, self.n_dims = by_hand, n_dims

    def gates(self) -> list[tuple[str, Test]]:
        return [*super().gates(), ("accepts", self.accepts), ("fit", self.fits)]

    def others(self) -> list[tuple[str, Test]]:
        return [
            ("probabilities", lambda: _probability_problem(self.probabilities)),
            ("input not modified", self.input_kept),
            ("read-only input", self.read_only),
            ("equal seeds give equal models", self.deterministic),
            ("a class without training clips", self.missing_class),
            ("hyperparameters", self.hyperparameters),
            ("save and load", self.saves),
            *super().others(),
        ]

    @cached_property
    def examples(self) -> Examples:
        return self.make_examples()

    def make_examples(self) -> Examples:
        return made_examples(self.plugin.accepts == "frames", n_dims=self.n_dims)

    @cached_property
    def trained(self) -> tuple[Model, Defaults]:
        return self.fit(self.examples)

    @cached_property
    def probabilities(self) -> Probabilities:
        return self.trained[0].predict_proba(self.examples.features)

    def fit(self, examples: Examples) -> tuple[Model, Defaults]:
        hp = Defaults(self.by_hand)
        model = self.fresh()
        validation = examples if model.wants_validation else None
        return model.fit(examples, hp, FitContext(N_CLASSES, _SEED, validation)), hp

    def accepts(self) -> str | None:
        return _kind_problem("accepts", getattr(self.plugin, "accepts", None))

    def fits(self) -> str | None:
        model = self.trained[0]
        return _unless(
            isinstance(model, Model), f"fit returned {type(model).__name__}; it should return self"
        )

    def input_kept(self) -> str | None:
        """Compare the arrays with fresh ones after a fit and a prediction."""
        self.probabilities  # noqa: B018 - the prediction is computed on first access
        before, after = self.make_examples(), self.examples
        kept = (
            np.array_equal(before.features.values, after.features.values)
            and np.array_equal(before.features.lengths, after.features.lengths)
            and np.array_equal(before.targets, after.targets)
        )
        return _unless(kept, "fit or predict_proba changed the features, lengths or targets it was given")

    def read_only(self) -> str | None:
        features = Features(self.examples.features.values.copy(), self.examples.features.lengths.copy())
        features.values.flags.writeable = features.lengths.flags.writeable = False
        same = np.array_equal(self.trained[0].predict_proba(features), self.probabilities)
        return _unless(same, "predicting the same clips again gave different probabilities")

    def deterministic(self) -> str | None:
        again = self.fit(self.examples)[0].predict_proba(self.examples.features)
        same = np.array_equal(again, self.probabilities)
        return _unless(same, "two fits with the same seed gave different models")

    def missing_class(self) -> str | None:
        rows = np.flatnonzero(self.examples.targets != 1)
        part = Examples(self.examples.features[rows], self.examples.targets[rows])
        return _probability_problem(self.fit(part)[0].predict_proba(self.examples.features))

    def hyperparameters(self) -> str | None:
        self.trained[1].refuse_unused(self.fresh().name)
        first: dict[str, Dimension] = {}
        for dimension in self.trained[1].space:
            # The same name may be declared in two branches that are never active together.
            known = first.setdefault(dimension.name, dimension)
            if replace(known, when=()) != replace(dimension, when=()):
                return f"{dimension.name} is declared twice, as {known.describe()} and {dimension.describe()}"
            if not _allows(dimension):
                return f"the default {dimension.name}={dimension.default!r} is not in {dimension.describe()}"
        return None

    def saves(self) -> str | None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self.trained[0].save(folder)
            files = [path for path in folder.rglob("*") if path.is_file()]
            if pickled := [path.name for path in files if _is_pickle(path)]:
                return f"save wrote the pickle {pickled[0]}, which may execute code when read"
            loaded = self.fresh().load(folder)
            same = np.array_equal(loaded.predict_proba(self.examples.features), self.probabilities)
        return _unless(same, "the loaded model gives different probabilities than the saved one")


def short_training(plugin: type[Plugin]) -> dict[str, Any]:
    """Parameters with which a model that has epochs is trained for one."""
    return {"epochs": 1} if "epochs" in plugin.parameter_defaults() else {}


def _kind_problem(word: str, value: object) -> str | None:
    return _unless(value in ("frames", "vector"), f"{word} is {value!r}; 'frames' or 'vector' is needed")


def _probability_problem(probabilities: Any) -> str | None:
    if not isinstance(probabilities, np.ndarray) or probabilities.dtype != np.float64:
        found = getattr(probabilities, "dtype", type(probabilities).__name__)
        return f"predict_proba returned {found}; a float64 array is needed"
    if probabilities.shape != (_N_CLIPS, N_CLASSES):
        wanted = f"{_N_CLIPS} clips and {N_CLASSES} classes"
        return f"predict_proba returned shape {probabilities.shape} for {wanted}"
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        return "predict_proba returned NaN, infinite or negative values"
    worst = float(abs(probabilities.sum(axis=1) - 1).max())
    return _unless(worst < 1e-6, f"rows of predict_proba do not sum to 1: the error is {worst:.2g}")


def _allows(dimension: Dimension) -> bool:
    """Whether the default is among the values that a tuner may choose."""
    if dimension.choices is not None:
        return dimension.default in dimension.choices
    low, high = dimension.low, dimension.high
    return low is None or high is None or low <= float(dimension.default) <= high


def _is_pickle(path: Path) -> bool:
    """Whether a file starts like a pickle of protocol 2 or later."""
    with path.open("rb") as file:
        start = file.read(2)
    return len(start) == 2 and start[0] == 0x80 and 2 <= start[1] <= pickle.HIGHEST_PROTOCOL


def made_examples(frames: bool, seed: int = _SEED, n_dims: int = N_DIMS) -> Examples:
    """Random features of `N_CLASSES` with different means; `frames` have different lengths."""
    random = np.random.default_rng(seed)
    targets = np.arange(_N_CLIPS, dtype=np.int64) % N_CLASSES
    lengths = random.integers(_N_FRAMES // 2, _N_FRAMES + 1, _N_CLIPS)
    values = random.normal(size=(_N_CLIPS, _N_FRAMES, n_dims)) + targets[:, None, None]
    features = Features(values.astype(np.float32), lengths)
    features.values[~features.is_real] = 0
    return Examples(features if frames else features.pooled(), targets)


def made_voice(sample_rate: int, seconds: float = 1.0) -> Floats:
    """A voice-like tone: harmonics of a modulated pitch of 150 Hz with varying level and some noise."""
    time: NDArray[np.float64] = np.arange(ceil(seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * (150 * time + 2 * np.sin(2 * np.pi * 3 * time))
    harmonics = np.sum([np.sin(n * phase) / n for n in range(1, 9)], axis=0)
    noise = np.random.default_rng(_SEED).normal(scale=0.01, size=len(time))
    loudness = 0.2 * (1 + 0.5 * np.sin(2 * np.pi * 4 * time))
    return np.asarray(loudness * harmonics + noise, np.float32)


def _click(sample_rate: int) -> Floats:
    """One second of zeros with a single sample of 1/32768, the quietest clip in a 16-bit file."""
    samples = np.zeros(sample_rate, np.float32)
    samples[sample_rate // 2] = 1 / 32768
    return samples
