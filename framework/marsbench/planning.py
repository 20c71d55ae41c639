"""Everything about an experiment that is known before features are extracted or models are fitted.

`make_plans` finds the plugins by name, gives each its settings, pairs extractors with models, loads and
checks the corpus, and splits it by each protocol. What does not exist or does not fit is an error here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from marsbench.config import Experiment, Normalise
from marsbench.corpus_options import AS_LISTED, Reading
from marsbench.data.audio_validation import OnBad, check_audio
from marsbench.data.corpus import CheckedCorpus, Corpus
from marsbench.data.join import join_as_read
from marsbench.data.reading import apply_reading
from marsbench.data.voices import voice_notes
from marsbench.errors import BenchError, ConfigError, PluginError, suggestion, unknown
from marsbench.evaluation.normalisation import groups_of
from marsbench.plugin.base import Dataset
from marsbench.plugin.features import FeatureExtractor, FeatureKind
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Entry, Kind, Recipe, Registry, discover, drop_in_folders
from marsbench.plugin.search_space import Defaults, explore
from marsbench.progress import Progress, Silent
from marsbench.protocols.apply import apply_protocol, find_protocol, with_members
from marsbench.protocols.protocol import Protocol

Settings = dict[str, Any]
_LABELS_SHOWN = 10


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

    @property
    def name(self) -> str:
        """Both names, as tables show them."""
        per = f", standardised per {self.normalise}" if self.normalise else ""
        return f"{self.features.name} + {self.model.name}{per}"


class Source(NamedTuple):
    """Where clips come from."""

    entry: Entry
    """The dataset plugin."""
    parameters: Settings
    found_at: str | None = None
    """The path that the plugin was found by."""


@dataclass(frozen=True)
class Plan:
    """The pipelines to run on one corpus under one protocol."""

    corpus: CheckedCorpus
    protocol: Protocol
    protocol_word: str
    """The protocol's name, or the path of its file."""
    pipelines: tuple[Pipeline, ...]
    datasets: tuple[Recipe, ...]
    """The dataset plugins that made the corpus, with their parameters; several if it is joined."""
    reading: Reading
    """How its clips were read."""
    folders: tuple[Path, ...]
    """Drop-in folders in which plugins are found."""


def make_plans(
    experiment: Experiment,
    progress: Progress,
    *,
    tell_of_pairs: bool = True,
    check: Callable[[Pipeline], None] = lambda _: None,
    reduce: Callable[[CheckedCorpus], CheckedCorpus] = lambda corpus: corpus,
) -> list[Plan]:
    """Plan an experiment: one plan for each protocol.

    Args:
        experiment: what was asked for. Pairs that do not fit are left out.
        progress: told of each step, and of each pair that is left out if `tell_of_pairs`.
        tell_of_pairs: see `progress`.
        check: called with each pipeline before any audio is read; may raise BenchError.
        reduce: gives the part of the corpus that is used; may raise BenchError.

    Raises:
        BenchError: something that was asked for does not exist or does not fit.
    """
    # Names come first: a misspelt one is reported before any audio is read.
    definitions = {word: find_protocol(word) for word in experiment.protocol}
    registry = discover(drop_in_folders(experiment.plugins))
    found = [resolve_dataset(registry, place) for place in experiment.data]
    datasets = [entry for entry, _ in found]
    features = [registry.get("features", name) for name in experiment.features]
    models = [registry.get("models", name) for name in experiment.model]
    by_plugin = _settings_by_plugin(experiment.set, [*datasets, *features, *models])
    pairs = _pipelines(features, models, by_plugin, progress if tell_of_pairs else Silent())
    pipelines = [replace(pipeline, normalise=experiment.normalise) for pipeline in pairs]
    for pipeline in pipelines:
        check(pipeline)
    for entry in (*datasets, *features, *models):
        for reason in registry.refusals(entry.name):
            progress.say(f"not used: {reason}")
    sources = _sources(found, by_plugin)
    checked = reduce(_load_and_check(sources, experiment.reading, experiment.bad_audio, progress))
    groups_of(checked, experiment.normalise)  # raises where speakers are not known
    corpus = _with_notes(checked, voice_notes(checked, independent=experiment.independent_clips), progress)
    return [
        Plan(
            corpus=corpus,
            protocol=apply_protocol(definition, corpus),
            protocol_word=word,
            pipelines=tuple(pipelines),
            datasets=tuple(source.entry.recipe(source.parameters) for source in sources),
            reading=experiment.reading,
            folders=registry.folders,
        )
        for word, definition in with_members(definitions, corpus).items()
    ]


def checked_corpus(
    registry: Registry,
    data: str | Sequence[str],
    settings: Settings,
    progress: Progress,
    on_bad: OnBad = "skip",
    reading: Reading = AS_LISTED,
) -> CheckedCorpus:
    """The corpus that `data` names, with every file examined; unusable files are listed in it.

    Several names or paths are joined.

    Raises:
        BenchError: no such dataset or path, a setting that does not fit, or corpora that cannot be joined.
    """
    places = [data] if isinstance(data, str) else data
    found = [resolve_dataset(registry, place) for place in places]
    by_plugin = _settings_by_plugin(settings, [entry for entry, _ in found])
    return checked_sources(_sources(found, by_plugin), progress, on_bad, reading)


def checked_sources(
    sources: Sequence[Source], progress: Progress, on_bad: OnBad = "skip", reading: Reading = AS_LISTED
) -> CheckedCorpus:
    """The corpus of one or several sources, as `checked_corpus`."""
    checked = _load_and_check(sources, reading, on_bad, progress)
    return _with_notes(checked, voice_notes(checked), progress)


def _sources(found: Iterable[tuple[Entry, Settings]], by_plugin: Mapping[str, Settings]) -> list[Source]:
    return [Source(entry, fixed | by_plugin[entry.name], fixed.get("root")) for entry, fixed in found]


def _with_notes(corpus: CheckedCorpus, notes: Iterable[str], progress: Progress) -> CheckedCorpus:
    """The corpus with further notes, which `progress` is told."""
    more = tuple(notes)
    for note in more:
        progress.say(note)
    return replace(corpus, corpus=replace(corpus.corpus, notes=(*corpus.corpus.notes, *more)))


def make_pipeline(
    registry: Registry, features: str, model: str, settings: Settings, normalise: Normalise | None = None
) -> Pipeline:
    """One feature extractor with one model; raises BenchError as `make_plans` does."""
    entries = [registry.get("features", features)], [registry.get("models", model)]
    by_plugin = _settings_by_plugin(settings, [*entries[0], *entries[1]])
    return replace(_pipelines(*entries, by_plugin, Silent())[0], normalise=normalise)


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


# The corpus


def resolve_dataset(registry: Registry, data: str) -> tuple[Entry, dict[str, Any]]:
    """The dataset plugin that `data` names, or that recognises it as a path, with the parameters this fixes.

    NAME:VALUE names a dataset and the first of its parameters.

    Raises:
        ConfigError: neither a dataset nor a path, a path that no dataset recognises, or that several do.
    """
    name, colon, place = data.partition(":")
    if name in registry.names("datasets") and bool(place) == bool(colon):
        entry = registry.get("datasets", name)
        return entry, {next(iter(entry.plugin.parameter_defaults())): place} if place else {}
    path = Path(data).expanduser()
    if not path.exists():
        problem = unknown("dataset", data, registry.names("datasets"))
        raise ConfigError(f"{problem} There is no file or folder {path.absolute()} either.")
    return _recognising(registry, path), {"root": str(path.absolute())}


def _recognising(registry: Registry, path: Path) -> Entry:
    datasets = registry.entries("datasets")
    entries = [entry for entry in datasets if _answers(entry, lambda dataset: dataset.recognises(path))]
    fallbacks = [entry for entry in datasets if _answers(entry, lambda dataset: dataset.fallback)]
    specific = [entry for entry in entries if entry not in fallbacks]
    # If none recognises it, the fallback's own error says what the path lacks.
    found = specific or entries or fallbacks
    if not found:
        raise ConfigError(f"no dataset recognises {path}; name one: --data NAME --set NAME.root={path}")
    if len(found) > 1:
        names = " and ".join(entry.name for entry in found)
        raise ConfigError(f"{path} is recognised by {names}; name one: --data NAME --set NAME.root={path}")
    return found[0]


def _answers(entry: Entry, question: Callable[[type[Dataset]], bool]) -> bool:
    """Whether a dataset answers yes; one that fails does not: it must not keep the others from the path."""
    try:
        return question(cast("type[Dataset]", entry.plugin))
    except Exception:  # noqa: BLE001 - a plugin may raise anything
        return False


def _load_and_check(
    sources: Sequence[Source], reading: Reading, on_bad: OnBad, progress: Progress
) -> CheckedCorpus:
    """The checked corpus; `progress` is told how each path was read."""
    parts = []
    for source in sources:
        with progress.track(f"Loading {source.entry.name}", 1) as advance:
            parts.append(_listed_part(source, reading, is_alone=len(sources) == 1))
            advance(1)
        if source.found_at is not None:
            progress.say(_read_as(source, parts[-1]))
    corpus = parts[0] if len(parts) == 1 else join_as_read(parts, reading)
    for note in corpus.notes:
        progress.say(note)
    return check_audio(corpus, on_bad, progress)


def _read_as(source: Source, corpus: Corpus) -> str:
    """How a path was read, in one line."""
    cut = ", ..." if len(corpus.labels) > _LABELS_SHOWN else ""
    shown = ", ".join(corpus.labels[:_LABELS_SHOWN]) + cut
    size = f"{len(corpus.clips):,} clips; classes: {shown}"
    return f"{source.found_at} is read as {source.entry.name}: {size}"


def listed_sources(sources: Sequence[Source], reading: Reading) -> Corpus:
    """The corpus of one or several sources, without opening audio; raises BenchError as `listed_corpus`."""
    parts = [_listed_part(source, reading, is_alone=len(sources) == 1) for source in sources]
    return parts[0] if len(parts) == 1 else join_as_read(parts, reading)


def _listed_part(source: Source, reading: Reading, *, is_alone: bool) -> Corpus:
    """A corpus as it is joined: of `reading` only `label` is applied, where no published layout tells it."""
    if not is_alone:
        names_classes = not cast("type[Dataset]", source.entry.plugin).fallback
        reading = AS_LISTED if names_classes else Reading(label=reading.label)
    return listed_corpus(source.entry, source.parameters, reading)


def listed_corpus(entry: Entry, parameters: Settings, reading: Reading = AS_LISTED) -> Corpus:
    """The corpus as its dataset plugin lists it and `reading` asks for it, without opening audio.

    Raises:
        BenchError: the plugin cannot list it, or it does not fit what `reading` asks for.
    """
    try:
        dataset = cast("Dataset", entry.plugin.create(parameters))
        object.__setattr__(dataset, "reading", reading)  # it may be a frozen dataclass
        corpus = dataset.load()
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{entry.name}.load failed: {type(error).__name__}: {error}") from error
    if not isinstance(corpus, Corpus):
        raise PluginError(f"{entry.name}.load returned {type(corpus).__name__}; a Corpus is needed")
    return apply_reading(corpus, reading)


# Settings


def _settings_by_plugin(settings: Mapping[str, Any], entries: list[Entry]) -> dict[str, Settings]:
    """Parameters by name of the plugin; raises ConfigError for a setting of a plugin that is not in use."""
    names = [entry.name for entry in entries]
    by_plugin: dict[str, Settings] = {name: {} for name in names}
    for key, value in settings.items():
        name, _, parameter = key.partition(".")
        if name not in by_plugin:
            raise ConfigError(f"set {key}: plugin '{name}' is not in this run. {suggestion(name, names)}")
        by_plugin[name][parameter] = value
    return by_plugin


def _divide(entry: Entry, settings: Settings) -> tuple[Settings, Settings]:
    """Settings for the model's constructor, and those for the hyperparameters that its `build` asks for."""
    arguments = entry.plugin.parameter_defaults()
    constructor = {name: value for name, value in settings.items() if name in arguments}
    return constructor, {name: value for name, value in settings.items() if name not in arguments}


# Pipelines


def _pipelines(
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
