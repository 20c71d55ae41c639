"""Everything about an experiment that is known before features are extracted or models are fitted.

`make_plans` finds the plugins by name, gives each its settings, pairs extractors with models, loads and
checks the corpus, and splits it by each protocol. What does not exist or does not fit is an error here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from marsbench.config import Experiment, Normalise
from marsbench.data.audio_validation import EXAMINED_HERE, Examiner, OnBad, check_audio, examine
from marsbench.data.corpus import AudioFacts, CheckedCorpus, Corpus
from marsbench.data.corpus_options import AS_LISTED, Reading
from marsbench.data.folders import walked_once
from marsbench.data.join import join_as_read
from marsbench.data.reading import apply_reading
from marsbench.data.voices import voice_notes
from marsbench.environment import no_search_for_cycles
from marsbench.errors import BenchError, ConfigError, PluginError, did_you_mean, unknown
from marsbench.evaluation.normalisation import groups_of
from marsbench.execution.executor import memory_a_fit
from marsbench.planning.pipelines import (
    Pipeline,
    Settings,
    pairs_of,
    settings_by_plugin,
    share_encoder,
    within_memory,
)
from marsbench.plugin.base import Dataset
from marsbench.plugin.registry import Entry, Recipe, Registry, discover, drop_in_folders
from marsbench.progress import Progress, Silent, phase
from marsbench.protocols.apply import apply_protocol, find_protocol, with_members
from marsbench.protocols.protocol import Definition, Protocol

_LABELS_SHOWN = 10
_MOST_EXAMINED = 20
"""Clips without a speaker that are looked at before all others are."""
_Split = Callable[[CheckedCorpus], object]
"""Raises CorpusError where a corpus cannot be split as it is asked for."""


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
    examiner: Callable[[Sequence[Pipeline], Sequence[Path]], Examiner] = lambda *_: EXAMINED_HERE,
    reduce: Callable[[CheckedCorpus], CheckedCorpus] = lambda corpus: corpus,
) -> list[Plan]:
    """Plan an experiment: one plan for each protocol.

    Args:
        experiment: what was asked for. Pairs that do not fit are left out.
        progress: told of each step, and of each pair that is left out if `tell_of_pairs`.
        tell_of_pairs: see `progress`.
        check: called with each pipeline before any audio is read; may raise BenchError.
        examiner: gives what examines audio, by the pipelines and the drop-in folders of their plugins.
        reduce: gives the part of the corpus that is used; may raise BenchError.

    Raises:
        BenchError: something that was asked for does not exist or does not fit.
    """
    # Names come first: a misspelt one is reported before any audio is read.
    definitions = {word: find_protocol(word) for word in experiment.protocol}
    registry = discover(drop_in_folders(experiment.plugins))
    with phase("listing"):
        found = resolve_datasets(registry, experiment.data, experiment.reading)
    pipelines, by_plugin = _pipelines(experiment, registry, found, progress, tell_of_pairs=tell_of_pairs)
    for pipeline in pipelines:
        check(pipeline)
    sources = _sources(found, by_plugin)
    split = _split_by(definitions, experiment.normalise)
    by = examiner(pipelines, registry.folders)
    checked = reduce(_load_and_check(sources, experiment.reading, experiment.bad_audio, progress, split, by))
    groups_of(checked, experiment.normalise)
    corpus = _with_notes(checked, voice_notes(checked, independent=experiment.independent_clips), progress)
    with phase("splits"):
        protocols = {
            word: apply_protocol(definition, corpus)
            for word, definition in with_members(definitions, corpus).items()
        }
    return [
        Plan(
            corpus=corpus,
            protocol=protocol,
            protocol_word=word,
            pipelines=within_memory(
                pipelines,
                max(fold.n_train for fold in protocol.folds),
                memory_a_fit(experiment),
                progress if tell_of_pairs else Silent(),
            ),
            datasets=tuple(source.entry.recipe(source.parameters) for source in sources),
            reading=experiment.reading,
            folders=registry.folders,
        )
        for word, protocol in protocols.items()
    ]


def _pipelines(
    experiment: Experiment,
    registry: Registry,
    found: Iterable[tuple[Entry, Settings]],
    progress: Progress,
    *,
    tell_of_pairs: bool,
) -> tuple[tuple[Pipeline, ...], dict[str, Settings]]:
    """The pipelines that were asked for, and the settings of every plugin by its name."""
    features = [registry.get("features", name) for name in experiment.features]
    models = [registry.get("models", name) for name in experiment.model]
    entries = [*(entry for entry, _ in found), *features, *models]
    settings = share_encoder(experiment.set, experiment.features, experiment.plugins, progress)
    by_plugin = settings_by_plugin(settings, entries)
    pairs = pairs_of(features, models, by_plugin, progress if tell_of_pairs else Silent())
    for reason in (reason for entry in entries for reason in registry.refusals(entry.name)):
        progress.say(f"not used: {reason}")
    normalise, versions = experiment.normalise, experiment.clip_versions
    alike = tuple(replace(pipeline, normalise=normalise, versions=versions) for pipeline in pairs)
    return alike, by_plugin


def checked_corpus(
    registry: Registry,
    data: str | Sequence[str],
    settings: Settings,
    progress: Progress,
    on_bad: OnBad = "skip",
    reading: Reading = AS_LISTED,
    split: _Split | None = None,
) -> CheckedCorpus:
    """The corpus that `data` names, with every file examined; unusable files are listed in it.

    Several names or paths are joined. `split` is called before any audio is read, as `_split_as_listed` says.

    Raises:
        BenchError: no such dataset or path, a setting that does not fit, corpora that cannot be joined, or
            what `split` raises.
    """
    places = [data] if isinstance(data, str) else data
    found = resolve_datasets(registry, places, reading)
    by_plugin = settings_by_plugin(settings, [entry for entry, _ in found])
    checked = _load_and_check(_sources(found, by_plugin), reading, on_bad, progress, split)
    return _with_voices(checked, progress)


def checked_sources(
    sources: Sequence[Source], progress: Progress, on_bad: OnBad = "skip", reading: Reading = AS_LISTED
) -> CheckedCorpus:
    """The corpus of one or several sources, as `checked_corpus`."""
    return _with_voices(_load_and_check(sources, reading, on_bad, progress), progress)


def _with_voices(checked: CheckedCorpus, progress: Progress) -> CheckedCorpus:
    return _with_notes(checked, voice_notes(checked), progress)


def _sources(found: Iterable[tuple[Entry, Settings]], by_plugin: Mapping[str, Settings]) -> list[Source]:
    return [Source(entry, fixed | by_plugin[entry.name], fixed.get("root")) for entry, fixed in found]


def _with_notes(corpus: CheckedCorpus, notes: Iterable[str], progress: Progress) -> CheckedCorpus:
    """The corpus with further notes, which `progress` is told."""
    more = tuple(notes)
    for note in more:
        progress.say(note)
    return replace(corpus, corpus=replace(corpus.corpus, notes=(*corpus.corpus.notes, *more)))


# The corpus


def resolve_datasets(
    registry: Registry, places: Sequence[str], reading: Reading
) -> list[tuple[Entry, dict[str, Any]]]:
    """`resolve_dataset` of each; in several corpora, published ones know their classes (docs/across.md)."""
    asked = reading if len(places) == 1 else AS_LISTED
    return [resolve_dataset(registry, place, asked) for place in places]


def resolve_dataset(
    registry: Registry, data: str, reading: Reading = AS_LISTED
) -> tuple[Entry, dict[str, Any]]:
    """The dataset plugin that `data` names, or that recognises it as a path, with the parameters this fixes.

    NAME:VALUE names a dataset and the first of its parameters. Where `reading` names the classes by an
    expression or the columns of a table, plugins that read file names are not asked.

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
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        near = did_you_mean(str(path), map(str, beside))
        raise ConfigError(f"{problem} There is no file or folder {path.absolute()} either. {near}".rstrip())
    return _recognising(registry, path, reading), {"root": str(path.absolute())}


def _recognising(registry: Registry, path: Path, reading: Reading) -> Entry:
    datasets = [entry for entry in registry.entries("datasets") if entry.may_recognise]
    if reading.label or reading.columns:
        datasets = [
            entry for entry in datasets if not _answers(entry, lambda dataset: dataset.labels_by_name)
        ]
    with walked_once():
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
        return question(cast("type[Dataset]", entry.unidentified))
    except Exception:  # noqa: BLE001 - a plugin may raise anything
        return False


def _load_and_check(
    sources: Sequence[Source],
    reading: Reading,
    on_bad: OnBad,
    progress: Progress,
    split: _Split | None = None,
    examiner: Examiner = EXAMINED_HERE,
) -> CheckedCorpus:
    """The checked corpus; `progress` is told how each path was read."""
    _require_taker(sources, reading)
    parts = []
    for source in sources:
        with phase("listing"), progress.track(f"Loading {_read_by(source)}", 1) as advance:
            parts.append(_listed_part(source, reading, is_alone=len(sources) == 1))
            advance(1)
        if source.found_at is not None:
            progress.say(_read_as(source, parts[-1]))
    corpus = _one_of(parts, reading)
    for note in corpus.notes:
        progress.say(note)
    if split:
        with phase("splits"):
            _split_as_listed(corpus, split)
    with phase("audio check"):
        return check_audio(corpus, on_bad, progress, examiner)


def _split_by(definitions: Mapping[str, Definition], normalise: Normalise | None) -> _Split:
    def split(listed: CheckedCorpus) -> None:
        groups_of(listed, normalise)  # raises where speakers are not known
        for definition in with_members(definitions, listed).values():
            definition.split(listed)

    return split


@no_search_for_cycles()
def _split_as_listed(corpus: Corpus, split: _Split) -> None:
    """Call `split` with the corpus as it is listed, as if all clips could be used and were no duplicates.

    What it raises then it would raise of the clips that are left by the audio check, too: fewer clips cannot
    be split where more cannot. But clips without a speaker are used only if one of the first is no bad audio.
    """
    nameless = [clip for clip in corpus.clips if clip.speaker is None]
    clips = corpus.clips
    if len(nameless) < len(clips) and all(examine(clip.path).problem for clip in nameless[:_MOST_EXAMINED]):
        clips = tuple(clip for clip in clips if clip.speaker is not None)
    clips = tuple(sorted(clips, key=lambda clip: clip.id))
    split(CheckedCorpus(corpus, clips, tuple(AudioFacts(content=clip.id) for clip in clips)))


def _read_by(source: Source) -> str:
    """What a path is read as: a table, a folder, or a corpus of that name."""
    place = source.found_at or source.parameters.get("root")
    if place is None or _knows_classes(source):
        return source.entry.name
    return "a table of clips" if Path(place).is_file() else "a folder of clips"


def _read_as(source: Source, corpus: Corpus) -> str:
    """How a path was read, in one line."""
    cut = ", ..." if len(corpus.labels) > _LABELS_SHOWN else ""
    shown = ", ".join(corpus.labels[:_LABELS_SHOWN]) + cut
    n_speakers = len({clip.speaker for clip in corpus.clips} - {None})
    whose = f" of {n_speakers:,} {'speaker' if n_speakers == 1 else 'speakers'}" if n_speakers else ""
    size = f"{len(corpus.clips):,} clips{whose}; classes: {shown}"
    return f"{source.found_at} is read as {_read_by(source)}: {size}"


def listed_sources(sources: Sequence[Source], reading: Reading) -> Corpus:
    """The corpus of one or several sources, without opening audio; raises BenchError as `listed_corpus`."""
    parts = [_listed_part(source, reading, is_alone=len(sources) == 1) for source in sources]
    return _one_of(parts, reading)


def _one_of(parts: Sequence[Corpus], reading: Reading) -> Corpus:
    return parts[0] if len(parts) == 1 else join_as_read(parts, reading)


@no_search_for_cycles()
def _listed_part(source: Source, reading: Reading, *, is_alone: bool) -> Corpus:
    """A corpus as it is joined: only as `label` and `columns` ask, where no published layout tells it."""
    if not is_alone:
        own = Reading(label=reading.label, columns=reading.columns)
        reading = AS_LISTED if _knows_classes(source) else own
    return listed_corpus(source.entry, source.parameters, reading)


def _knows_classes(source: Source) -> bool:
    return not cast("type[Dataset]", source.entry.plugin).fallback


def _require_taker(sources: Sequence[Source], reading: Reading) -> None:
    """Raise ConfigError if `label` or `columns` is asked for, and all of several know their classes."""
    option = "--label" if reading.label else "--columns" if reading.columns else ""
    if option and len(sources) > 1 and all(map(_knows_classes, sources)):
        names = ", ".join(source.entry.name for source in sources)
        raise ConfigError(f"{option} is for folders and tables; these corpora know their classes: {names}")


def _require_columns(dataset: Dataset, reading: Reading) -> None:
    if reading.columns and not dataset.takes_columns:
        raise ConfigError(f"--columns names the columns of a table of clips; {dataset.name} reads no table")


def listed_corpus(entry: Entry, parameters: Settings, reading: Reading = AS_LISTED) -> Corpus:
    """The corpus as its dataset plugin lists it and `reading` asks for it, without opening audio.

    Raises:
        BenchError: the plugin cannot list it, or it does not fit what `reading` asks for.
    """
    try:
        dataset = cast("Dataset", entry.plugin.create(parameters))
        _require_columns(dataset, reading)
        object.__setattr__(dataset, "reading", reading)  # it may be a frozen dataclass
        with walked_once():
            corpus = dataset.load()
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{entry.name}.load failed: {type(error).__name__}: {error}") from error
    if not isinstance(corpus, Corpus):
        raise PluginError(f"{entry.name}.load returned {type(corpus).__name__}; a Corpus is needed")
    return apply_reading(corpus.with_left_out(), reading)
