"""The search space of a pipeline: what its feature extractor and its model let a tuner vary."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import floor, log
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning

from marsbench.hashing import digest
from marsbench.plugin.features import FeatureExtractor
from marsbench.plugin.model import Model, OnEpoch
from marsbench.plugin.registry import Recipe, discover, make
from marsbench.plugin.search_space import Declare, Defaults, Dimension, Scalar, explore

Configuration = dict[str, Scalar]
"""Values by NAME.PARAMETER; parameters that are not in it are at their defaults."""


@dataclass(frozen=True)
class SearchSpace:
    """Dimensions named NAME.PARAMETER, each behind those that it depends on."""

    dimensions: tuple[Dimension, ...]

    @property
    def key(self) -> str:
        """Digest of every dimension."""
        return digest([asdict(dimension) for dimension in self.dimensions])

    def active(self, values: Mapping[str, Scalar]) -> list[Dimension]:
        """Dimensions whose conditions hold; of those of one name, the first."""
        active = [d for d in self.dimensions if all(values.get(name) in to for name, to in d.when)]
        return list({dimension.name: dimension for dimension in reversed(active)}.values())[::-1]

    starting_points: tuple[Configuration, ...] = ()
    """What the model's author would try first."""

    @property
    def defaults(self) -> Configuration:
        """The untuned configuration."""
        return self.completed({})

    def completed(self, given: Mapping[str, Scalar]) -> Configuration:
        """Values of every active dimension: those given, or else the default."""
        values: Configuration = {}
        for dimension in self.dimensions:
            if dimension in self.active(values):
                values.setdefault(dimension.name, given.get(dimension.name, dimension.default))
        return values


@dataclass(frozen=True)
class Exploration:
    """Work that finds a pipeline's search space; a worker does it, since networks take TensorFlow."""

    features: Recipe
    model: Recipe
    folders: tuple[Path, ...]
    input_shape: tuple[int, ...]
    n_classes: int
    by_hand: dict[str, Scalar]
    """Hyperparameters of the model that are set by hand."""
    pinned: frozenset[str]
    """Everything that is set by hand, as NAME.PARAMETER: none of it is tuned."""

    def __call__(self, _on_epoch: OnEpoch) -> SearchSpace:
        """The space, without what is set by hand.

        Raises:
            Exception: whatever the plugins raise at their defaults.
        """
        extractor = cast("FeatureExtractor", make("features", self.features, self.folders))
        model = cast("Model", make("models", self.model, self.folders))
        of_features = self._free(extractor.name, extractor.build)
        of_model = self._free(
            model.name, lambda hp: model.declare(hp, self.input_shape, self.n_classes), self.by_hand
        )
        points = (
            {f"{model.name}.{name}": value for name, value in point.items()}
            for point in model.starting_points
        )
        return SearchSpace((*of_features, *of_model), tuple(points))

    def _free(
        self, plugin: str, declare: Declare, by_hand: Mapping[str, Scalar] | None = None
    ) -> Iterator[Dimension]:
        """Dimensions of a plugin, without those that are set by hand or that such a setting switches off."""
        answers = Defaults(by_hand)
        declare(answers)
        for dimension in explore(declare, by_hand):
            if f"{plugin}.{dimension.name}" in self.pinned:
                continue
            fixed = [(name, to) for name, to in dimension.when if f"{plugin}.{name}" in self.pinned]
            if all(answers.values.get(name) in allowed for name, allowed in fixed):
                free = [condition for condition in dimension.when if condition not in fixed]
                when = tuple((f"{plugin}.{parent}", allowed) for parent, allowed in free)
                yield replace(dimension, name=f"{plugin}.{dimension.name}", when=when)


def of_plugin(configuration: Configuration, plugin: str) -> Configuration:
    """The part of a configuration that is one plugin's, by PARAMETER."""
    prefix = f"{plugin}."
    return {
        name.removeprefix(prefix): value for name, value in configuration.items() if name.startswith(prefix)
    }


def tuned_features(recipe: Recipe, folders: tuple[Path, ...], configuration: Configuration) -> Recipe:
    """Recipe of the extractor with a configuration's values; raises what the plugin's `build` raises."""
    proposed = of_plugin(configuration, recipe.name)
    if not proposed:
        return recipe
    extractor = cast("FeatureExtractor", make("features", recipe, folders))
    built = extractor.build(Defaults(proposed=proposed))
    return discover(folders).get("features", recipe.name).recipe_of(built)


@dataclass(frozen=True)
class OptunaParameter:
    """How a dimension's values are Optuna's, which has no steps on a log scale and no reversed one."""

    name: str
    distribution: CategoricalDistribution | FloatDistribution | IntDistribution
    dimension: Dimension

    def suggested(self, trial: optuna.Trial) -> Any:
        """The parameter's value that a trial proposes."""
        space = self.distribution
        if isinstance(space, CategoricalDistribution):
            return trial.suggest_categorical(self.name, space.choices)
        if isinstance(space, IntDistribution):
            return trial.suggest_int(self.name, space.low, space.high, step=space.step, log=space.log)
        return trial.suggest_float(self.name, space.low, space.high, step=space.step, log=space.log)

    def decode(self, value: Any) -> Scalar:
        """The dimension's value of a parameter's."""
        if self.name == self.dimension.name:
            return cast("Scalar", value)
        low, high, step = self._range
        decoded = low * step ** float(value) if self.name.endswith(_STEPS) else low + high - float(value)
        return round(decoded) if self.dimension.is_whole else decoded

    def encode(self, value: Scalar) -> Any:
        """The parameter's value of a dimension's."""
        low, high, step = self._range
        if self.name.endswith(_STEPS):
            return round(log(float(value) / low, step))
        return low + high - cast("float", value) if self.name.endswith(_MIRRORED) else value

    @property
    def _range(self) -> tuple[float, float, float]:
        ends = self.dimension.low, self.dimension.high, self.dimension.step
        return cast("tuple[float, float, float]", ends)


_STEPS = ", steps"
_MIRRORED = ", mirrored"


def optuna_parameter(dimension: Dimension) -> OptunaParameter:
    """Optuna's parameter for a dimension, of the same name wherever its values are the same."""
    name, low, high = dimension.name, dimension.low, dimension.high
    if dimension.choices is not None:
        return OptunaParameter(name, CategoricalDistribution(dimension.choices), dimension)
    if low is None or high is None:
        raise ValueError(f"{name} has neither choices nor a range")
    is_log = dimension.sampling != "linear"
    if is_log and dimension.step:
        most = floor(log(high / low, dimension.step) + 1e-9)
        return OptunaParameter(f"{name}{_STEPS}", IntDistribution(0, most), dimension)
    shown = f"{name}{_MIRRORED}" if dimension.sampling == "reverse_log" else name
    if dimension.is_whole:
        step = 1 if is_log else int(dimension.step or 1)
        return OptunaParameter(shown, IntDistribution(int(low), int(high), log=is_log, step=step), dimension)
    return OptunaParameter(shown, FloatDistribution(low, high, log=is_log, step=dimension.step), dimension)


def seeded_sampler(seed: int, startup_trials: int) -> optuna.samplers.BaseSampler:
    """TPE over all parameters together, after so many trials at random."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of `multivariate` and `group`
        return optuna.samplers.TPESampler(
            n_startup_trials=startup_trials, multivariate=True, group=True, seed=seed
        )
