"""Extractors paired with models, and what was set by hand for each plugin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from marsbench.config import Normalise, Versions
from marsbench.errors import BenchError, ConfigError, PluginError, suggestion
from marsbench.features.clip_versions import names_of
from marsbench.plugin.checks import N_DIMS, made_voice
from marsbench.plugin.features import FeatureExtractor, FeatureKind
from marsbench.plugin.kernel_approximation import MOST_CLIPS
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Entry, Kind, Recipe, Registry, discover, drop_in_folders
from marsbench.plugin.search_space import Defaults, explore
from marsbench.progress import Progress, Silent

Settings = dict[str, Any]
_MATRICES = {"kernel_ridge": 4.2}
"""Models that keep matrices of training clips by training clips, of 8 bytes each: how many, as measured."""


@dataclass(frozen=True)
class Pipeline:
    """One feature extractor and one model with their parameters."""

    features: Recipe
    model: Recipe
    hyperparameters: Settings
    """Hyperparameters of the model that were set by hand, by name."""
    settings: Settings
    """Everything that was set by hand for this pipeline, by NAME.PARAMETER."""
    wants_validation: bool
    """Whether a fit of the model needs validation clips."""
    rungs: tuple[int, ...]
    """Epochs after which a fit of the model can be paused; empty for a model without epochs."""
    is_tunable: bool
    """Whether a tuner may find something to vary; True for networks, as only TensorFlow could tell."""
    normalise: Normalise | None = None
    """What features are standardised by, see `evaluation.normalisation`."""
    versions: Versions | None = None
    """Changed versions of training clips that it is trained on, too."""

    @property
    def name(self) -> str:
        """Both names, as tables show them."""
        return f"{self.features.name} + {self.model.name}{self.options}"

    @property
    def options(self) -> str:
        """What is done beside both, as in the name; empty for nothing."""
        by = f", --normalise {self.normalise}" if self.normalise else ""
        return by + (f", {self.versions.phrase}" if self.versions else "")


def make_pipeline(
    registry: Registry,
    features: str,
    model: str,
    settings: Settings,
    normalise: Normalise | None = None,
    versions: Versions | None = None,
) -> Pipeline:
    """One feature extractor with one model; raises BenchError as `make_plans` does."""
    entries = [registry.get("features", features)], [registry.get("models", model)]
    by_plugin = settings_by_plugin(settings, [*entries[0], *entries[1]])
    return replace(pairs_of(*entries, by_plugin, Silent())[0], normalise=normalise, versions=versions)


def usable(kind: Kind, settings: Mapping[str, Any], folders: Sequence[Path], progress: Progress) -> list[str]:
    """Names of the plugins of a kind that can be used here; `progress` is told why others cannot."""
    names: list[str] = []
    for entry in discover(drop_in_folders(folders)).entries(kind):
        prefix = f"{entry.name}."
        own = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
        try:
            entry.recipe(_divide(entry, own)[0])
        except BenchError as error:
            reason = str(error).removeprefix(f"{entry.name} ")
            progress.say(f"{entry.name} is left out: {reason}")
        else:
            names.append(entry.name)
    return names


_OF_ENCODER = "encoder", "sha256", "normalise", "level"
"""Parameters that say which pretrained encoder computes, and what it is given; not which layers are taken."""


def share_encoder(
    settings: Settings, names: Sequence[str] | None, folders: Sequence[Path], progress: Progress
) -> Settings:
    """Settings in which the encoder that is set for one extractor serves all that take one and have none.

    `names` are the extractors in use, None for all; `progress` is told which get it.
    """
    entries = discover(drop_in_folders(folders)).entries("features")
    in_use = [entry for entry in entries if names is None or entry.name in names]
    takers = [entry.name for entry in in_use if _takes_encoder(entry)]
    first = next((name for name in takers if f"{name}.encoder" in settings), None)
    others = [name for name in takers if f"{name}.encoder" not in settings]
    if first is None or not others:
        return settings
    progress.say(f"{first}.encoder={settings[f'{first}.encoder']} serves {', '.join(others)} too")
    shared = {word: settings[f"{first}.{word}"] for word in _OF_ENCODER if f"{first}.{word}" in settings}
    return {f"{name}.{word}": value for name in others for word, value in shared.items()} | settings


def _takes_encoder(entry: Entry) -> bool:
    try:
        return "encoder" in entry.plugin.parameter_defaults()
    except BenchError:
        return False  # `usable` tells why it is left out


def settings_by_plugin(settings: Mapping[str, Any], entries: list[Entry]) -> dict[str, Settings]:
    """Parameters by name of the plugin; raises ConfigError for a setting of a plugin that is not in use."""
    names = [entry.name for entry in entries]
    by_plugin: dict[str, Settings] = {name: {} for name in names}
    for key, value in settings.items():
        name, _, parameter = key.partition(".")
        if name not in by_plugin:
            raise ConfigError(f"set {key}: plugin '{name}' is not in use here. {suggestion(name, names)}")
        by_plugin[name][parameter] = value
    return by_plugin


def _divide(entry: Entry, settings: Settings) -> tuple[Settings, Settings]:
    """Settings for the model's constructor, and those for the hyperparameters that its `build` asks for."""
    arguments = entry.plugin.parameter_defaults()
    constructor = {name: value for name, value in settings.items() if name in arguments}
    return constructor, {name: value for name, value in settings.items() if name not in arguments}


def settings_for_check(
    registry: Registry, entry: Entry, settings: Settings, features: str | None = None
) -> tuple[Settings, Settings, int]:
    """Parameters, hyperparameters and dimensions of features with which a plugin is checked, see `check`.

    The dimensions are those of the extractor `features`, by a second of a voice-like tone.

    Raises:
        ConfigError: a setting that does not fit, or features that the model does not take.
    """
    extractors = [registry.get("features", features)] if features else []
    if extractors and entry.kind != "models":
        raise ConfigError(f"--features names what a model is given; {entry.name} is no model")
    by_plugin = settings_by_plugin(settings, [entry, *extractors])
    parameters, by_hand = _divide(entry, by_plugin[entry.name])
    plugin = entry.plugin.create(parameters if entry.kind == "models" else parameters | by_hand)
    if not extractors or not isinstance(plugin, Model):
        return parameters, by_hand, N_DIMS
    extractor = cast("FeatureExtractor", extractors[0].plugin.create(by_plugin[extractors[0].name]))
    if reason := _why_not(extractor, plugin):
        raise ConfigError(reason)
    rate = extractor.sample_rate
    return parameters, by_hand, extractor.checked_extract(made_voice(rate), rate).shape[-1]


def pairs_of(
    features: list[Entry], models: list[Entry], by_plugin: dict[str, Settings], progress: Progress
) -> list[Pipeline]:
    """Every pair that fits; `progress` is told why others do not. Raises ConfigError if no pair fits."""
    pipelines: list[Pipeline] = []
    reasons: list[str] = []
    for feature_entry in features:
        extractor = cast("FeatureExtractor", feature_entry.plugin.create(by_plugin[feature_entry.name]))
        for model_entry in models:
            parameters, hyperparameters = _divide(model_entry, by_plugin[model_entry.name])
            model = cast("Model", model_entry.plugin.create(parameters))
            if reason := _why_not(extractor, model):
                reasons.append(f"{extractor.name} + {model.name} skipped: {reason}")
                continue
            _refuse_unknown(extractor, model, hyperparameters)
            settings = {
                f"{name}.{parameter}": value
                for name in (extractor.name, model.name)
                for parameter, value in by_plugin[name].items()
            }
            recipes = feature_entry.recipe_of(extractor), model_entry.recipe_of(model)
            tunable = _is_tunable(extractor, model, hyperparameters)
            pipelines.append(
                Pipeline(*recipes, hyperparameters, settings, model.wants_validation, model.rungs, tunable)
            )
    if not pipelines:
        raise ConfigError("; ".join(reasons))
    for reason in reasons:
        progress.say(reason)
    return pipelines


def within_memory(
    pipelines: Sequence[Pipeline], n_clips: int, most_bytes: float, progress: Progress
) -> tuple[Pipeline, ...]:
    """The pipelines whose models have room for so many training clips; `progress` is told of the others.

    Raises:
        ConfigError: none has.
    """
    told: dict[str, str] = {}
    kept = []
    for pipeline in pipelines:
        n = n_clips * (1 + len(names_of(pipeline.versions)))
        needed = 8 * _MATRICES.get(pipeline.model.name, 0.0) * n**2
        if needed > most_bytes:
            told[pipeline.model.name] = (
                f"{pipeline.model.name} is left out: for {n:,} training clips its matrices need "
                f"{needed / 1e9:.2g} GB of memory, and a fit has {most_bytes / 1e9:.2g} GB (--unit-memory, "
                f"fewer --workers); svm takes any number of clips, above {MOST_CLIPS:,} by an approximation"
            )
        else:
            kept.append(pipeline)
    if not kept:
        raise ConfigError("; ".join(told.values()))
    for line in told.values():
        progress.say(line)
    return tuple(kept)


def _why_not(extractor: FeatureExtractor, model: Model) -> str | None:
    """Why the two do not fit; None if they do."""
    for plugin, attribute in ((extractor, "kind"), (model, "accepts")):
        if getattr(plugin, attribute, None) not in get_args(FeatureKind):
            raise PluginError(
                f"{plugin.name}.{attribute} must be frames or vector; bench plugins check {plugin.name}"
            )
    if extractor.kind == "vector" and model.accepts == "frames":
        return f"{model.name} needs frames, {extractor.name} gives one vector a clip"
    return extractor.skip(model) or model.skip(extractor)


def _refuse_unknown(extractor: FeatureExtractor, model: Model, by_hand: Settings) -> None:
    """Raise ConfigError for a misspelt hyperparameter, where the model can tell what it takes.

    The model is asked with the shape of the reference features: its names hardly depend on it, and each fit
    checks them again with the real shape.
    """
    probe = Defaults(by_hand)
    if by_hand:
        model.declare(probe, _shape(extractor, model), 8)
    if probe.space:
        probe.refuse_unused(model.name)


def _is_tunable(extractor: FeatureExtractor, model: Model, by_hand: Settings) -> bool:
    if model.rungs:
        return True
    shape = _shape(extractor, model)
    try:
        space = [*explore(extractor.build), *explore(lambda hp: model.declare(hp, shape, 8), by_hand)]
    except Exception:  # noqa: BLE001 - whatever a plugin raises; its fits will record it
        return True
    return any(dimension.choices is None or len(dimension.choices) > 1 for dimension in space)


def _shape(extractor: FeatureExtractor, model: Model) -> tuple[int, ...]:
    """Shape of a clip's reference features as the model gets them: (n_frames, n_dims) or (n_dims,)."""
    return (59,) if model.accepts == "vector" or extractor.kind == "vector" else (174, 59)
