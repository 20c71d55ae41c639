"""Plugins, corpora, protocols, bundles and predictions as tables for a terminal.

Imports no plugin and none of the libraries that compute features and models.
"""

import inspect
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from marsbench.data.corpus import CheckedCorpus, decibels
from marsbench.data.voices import listed, voices_of
from marsbench.deployment.bundle_record import BaseRecord, BundleRecord
from marsbench.errors import BenchError, shown_path
from marsbench.plugin.base import Dataset, Plugin
from marsbench.plugin.checks import Check
from marsbench.plugin.features import FeatureExtractor, FeatureKind
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Entry
from marsbench.plugin.search_space import Dimension, explore
from marsbench.protocols.protocol import Definition, Fold, Protocol
from marsbench.report.phrases import limit_lines, metrics_phrase
from marsbench.report.terminal.console import first_lines, frameless, table

if TYPE_CHECKING:
    from marsbench.deployment.prediction import Prediction

_INPUT_SHAPES: dict[FeatureKind, tuple[int, ...]] = {"frames": (174, 59), "vector": (59,)}
"""Shapes of the reference features, since a search space may depend on the shape."""
_NAMED = 5
"""Speakers that a table of folds names."""
_MOST_LEFT_OUT = 20
_MOST_SPEAKERS = 50
"""Rows of the table of speakers."""
_MOST_COLUMNS = 10
"""Folds that have a column of their own in it."""


def plugin_list(entries: Iterable[Entry]) -> Table:
    """Kind, name, first line of the docstring, and where the plugin is from."""
    rows = ((entry.kind, entry.name, entry.summary, entry.origin) for entry in entries)
    return table("kind", "name", "what it is", "from", rows=rows)


def plugin_details(entry: Entry) -> RenderableType:
    """Docstring, parameters with defaults, requirements, file."""
    unknown: list[str] = []
    try:
        varied = {dimension.name: dimension for dimension in _search_space(entry.plugin)}
    except BenchError as error:
        varied, unknown = {}, [f"What a tuner may vary is known once its parameters are set: {error}"]
    defaults = dict(entry.plugin.parameter_defaults())
    for name, dimension in varied.items():
        defaults.setdefault(name, dimension.default)
    rows = []
    for name, default in defaults.items():
        shown = "required" if default is inspect.Parameter.empty else repr(default)
        about = varied[name].describe() + _condition(varied[name]) if name in varied else ""
        rows.append((f"{entry.name}.{name}", shown, about))
    requires = [f"Computes with: {', '.join(entry.plugin.requires)}"] if entry.plugin.requires else []
    return Group(
        Text(f"{entry.name} ({entry.kind}, from {entry.origin})", "bold"),
        Text(inspect.getdoc(entry.plugin) or ""),
        *map(Text, corpus_terms(entry.plugin)),
        table("parameter", "default", "a tuner may vary", rows=rows),
        *map(Text, [*unknown, *requires]),
        Text(f"File: {entry.file}", "dim"),
    )


def corpus_terms(plugin: type[Plugin]) -> list[str]:
    """Licence of a dataset, what to cite and where to get it, a line each; empty for other plugins."""
    if not issubclass(plugin, Dataset):
        return []
    terms = {"Licence": plugin.licence, "Cite": plugin.citation, "To get it": plugin.access}
    return [f"{name}: {text}" for name, text in terms.items() if text]


def _search_space(plugin: type[Plugin]) -> tuple[Dimension, ...]:
    """Hyperparameters of the plugin; empty if it has none."""
    if inspect.Parameter.empty in plugin.parameter_defaults().values():
        return ()
    if issubclass(plugin, FeatureExtractor):
        return explore(plugin().build)
    if issubclass(plugin, Model):
        model = plugin()
        return explore(lambda hp: model.declare(hp, _INPUT_SHAPES[plugin.accepts], n_classes=8))
    return ()


def _condition(dimension: Dimension) -> str:
    """On which values of other parameters the dimension depends."""
    parts = [f"{parent} is {' or '.join(map(str, allowed))}" for parent, allowed in dimension.when]
    return f", if {' and '.join(parts)}" if parts else ""


def contract(entry: Entry, checks: Iterable[Check]) -> Table:
    """Each check of a plugin's contract with its problem, if any."""
    results = [
        (check.name, Text(check.problem, "red") if check.problem is not None else Text("ok", "green"))
        for check in checks
    ]
    return table("check", "result", rows=results, title=f"{entry.name} ({entry.kind})")


def corpus_report(corpus: CheckedCorpus) -> RenderableType:
    """Counts by class and speaker, rates, durations, duplicates, and every bad file with its reason."""
    about = f"{corpus.name}: {len(corpus.clips)} usable clips; licence: {corpus.corpus.licence}"
    synthetic = [Text("The audio is synthetic.", "yellow")] if corpus.corpus.synthetic else []
    files = [*_duplicates(corpus), *_bad(corpus), *_left_out(corpus)]
    return Group(Text(about, "bold"), *synthetic, _classes(corpus), _audio(corpus), *files)


def _classes(corpus: CheckedCorpus) -> Table:
    """Clips by speaker (rows) and class (columns); a single row where no speaker is known."""
    speakers = [speaker or "unknown" for speaker in corpus.speakers]
    labels = [clip.label for clip in corpus.clips]
    counts = Counter(zip(speakers, labels, strict=True))
    by_speaker = [
        (speaker, *(counts[speaker, label] for label in corpus.labels), speakers.count(speaker))
        for speaker in sorted(set(speakers))
    ]
    made = table("speaker", *corpus.labels, "all", rows=by_speaker)
    made.add_section()
    made.add_row("all", *(str(labels.count(label)) for label in corpus.labels), str(len(labels)))
    voices = voices_of(corpus.targets.tolist(), corpus.speakers, corpus.labels)
    if voices.n_speakers:
        by_class = voices.classes
        made.add_row("speakers", *(str(entry.n_speakers) for entry in by_class), str(voices.n_speakers))
    if alone := sum(entry.n_alone for entry in voices.classes):
        made.add_row("of one class", *(str(entry.n_alone) for entry in voices.classes), str(alone))
    return made


def _audio(corpus: CheckedCorpus) -> Table:
    lengths, levels = _spread(_seconds(corpus)), _levels(corpus)
    total = sum(_seconds(corpus))
    shown = {
        "sample rates": _counted(f"{clip.sample_rate:,} Hz" for clip in corpus.facts),
        "channels": _counted(str(clip.channels) for clip in corpus.facts),
        "durations": "{least:.2f} to {most:.2f} s, median {median:.2f} s".format(**lengths)
        + f", {total:,.0f} s in all",
    }
    if levels:
        spread = "{least:z.1f} to {most:z.1f} dB of full scale, median {median:z.1f} dB"
        shown["peak levels"] = spread.format(**_spread(levels))
    return frameless(rows=shown.items())


def _seconds(corpus: CheckedCorpus) -> list[float]:
    return [clip.seconds for clip in corpus.facts]


def _levels(corpus: CheckedCorpus) -> list[float]:
    """Peak level of each clip in dB of full scale."""
    return [decibels(clip.peak) for clip in corpus.facts]


def _spread(values: list[float]) -> dict[str, float]:
    """The least, the median (the upper of two) and the most of some values."""
    ordered = sorted(values)
    return {"least": ordered[0], "median": ordered[len(ordered) // 2], "most": ordered[-1]}


def corpus_facts(corpus: CheckedCorpus) -> dict[str, Any]:
    """A checked corpus as JSON has it: seconds, peak levels in dB of full scale, groups of clips' ids."""
    labels, speakers = Counter(clip.label for clip in corpus.clips), Counter(corpus.speakers)
    n_unknown, levels = speakers.pop(None, 0), _levels(corpus)

    def named(groups: tuple[tuple[int, ...], ...]) -> list[list[str]]:
        return [[corpus.clips[row].id for row in rows] for rows in groups]

    return {
        "name": corpus.name,
        "licence": corpus.corpus.licence,
        "synthetic": corpus.corpus.synthetic,
        "fingerprint": corpus.fingerprint,
        "clips": len(corpus.clips),
        "classes": {label: labels[label] for label in corpus.labels},
        "speakers": dict(sorted(speakers.items())),
        "without_speaker": n_unknown,
        "seconds": _spread(_seconds(corpus)) | {"total": sum(_seconds(corpus))},
        "sample_rates": dict(Counter(str(clip.sample_rate) for clip in corpus.facts)),
        "channels": dict(Counter(str(clip.channels) for clip in corpus.facts)),
        "levels": _spread(levels) if levels else None,
        "duplicates": {
            "exact": named(corpus.exact_duplicates),
            "near": named(corpus.near_duplicates),
            "different_labels": named(corpus.contradictions),
        },
        "left_out": {what: list(names) for what, names in corpus.corpus.left_out},
        "problems": {clip.id: clip.reason for clip in corpus.bad},
        "notes": list(corpus.corpus.notes),
    }


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{word}: {count}" for word, count in Counter(words).most_common())


def _duplicates(corpus: CheckedCorpus) -> list[Text]:
    lines = []
    for kind, groups in (("exact", corpus.exact_duplicates), ("near", corpus.near_duplicates)):
        if groups:
            lines.append(Text(f"{len(groups)} group(s) of {kind} duplicates:", "yellow"))
        for rows in groups:
            different = " (with DIFFERENT labels)" if rows in corpus.contradictions else ""
            names = listed([corpus.clips[row].id for row in rows], between=" = ")
            lines.append(Text(names + different))
    return lines or [Text("No duplicate clips.")]


def _left_out(corpus: CheckedCorpus) -> list[Text]:
    lines: list[Text] = []
    for what, names in corpus.corpus.left_out:
        lines += [Text(f"{what[:1].upper()}{what[1:]}: {len(names):,}", "yellow")]
        lines += first_lines(names, _MOST_LEFT_OUT, "--json")
    return lines


def _bad(corpus: CheckedCorpus) -> list[Text]:
    if not corpus.bad:
        return [Text("No bad audio files.")]
    head = Text(f"{len(corpus.bad)} bad audio file(s), excluded from every run:", "yellow")
    return [head, *(Text(f"  {clip.id}: {clip.reason}") for clip in corpus.bad)]


def protocol_list(protocols: Iterable[Definition]) -> Table:
    """Name, description, source, and whether train and test share speakers."""
    rows = (
        (entry.name, entry.description, "not shared" if entry.by_speaker else "shared", entry.source)
        for entry in protocols
    )
    return table("name", "description", "speakers", "source", rows=rows)


def protocol_facts(protocol: Protocol, corpus: CheckedCorpus) -> dict[str, Any]:
    """A protocol on a corpus as JSON has it."""
    return {
        "name": protocol.name,
        "description": protocol.description,
        "source": protocol.source,
        "by_speaker": protocol.by_speaker,
        "hash": protocol.hash,
        "corpus": {
            "name": corpus.name,
            "n_clips": len(corpus.clips),
            "labels": list(corpus.labels),
            "fingerprint": corpus.fingerprint,
        },
        "folds": [
            {
                "train": fold.n_train,
                "dev": len(fold.dev),
                "test": len(fold.test),
                "test_by_class": _by_class(corpus, fold),
                "test_by_speaker": _by_speaker(corpus, fold),
            }
            for fold in protocol.folds
        ],
        "leakage": asdict(protocol.leakage),
        "notes": list(protocol.notes),
    }


def protocol_report(protocol: Protocol, corpus: CheckedCorpus) -> RenderableType:
    """Clips, classes and speakers by fold, notes that limit what scores say, and the hash."""
    has_dev = any(len(fold.dev) for fold in protocol.folds)
    by_class = [
        (
            number,
            fold.n_train,
            *([len(fold.dev)] * has_dev),
            len(fold.test),
            *_by_class(corpus, fold).values(),
        )
        for number, fold in enumerate(protocol.folds, 1)
    ]
    return Group(
        Text(f"{protocol.name} on {corpus.name}: {len(protocol.folds)} fold(s)", "bold"),
        *(Text(line) for line in (protocol.description, protocol.source) if line),
        Text(),
        table("fold", "train", *(["dev"] * has_dev), "test", *corpus.labels, rows=by_class),
        Text(),
        *(_speakers([_by_speaker(corpus, fold) for fold in protocol.folds]) if any(corpus.speakers) else []),
        *(Text(f"Note: {note}.", "yellow") for note in protocol.notes),
        Text(f"Hash: {protocol.hash[:16]}; runs under equal hashes share a leaderboard.", "dim"),
    )


def _speakers(by_fold: Sequence[Mapping[str, int]]) -> list[RenderableType]:
    """The speakers that each fold tests, then the test clips of each speaker by fold.

    The second table has a column per fold, or pairs if there are many folds.
    """
    which = []
    for number, fold in enumerate(by_fold, 1):
        more = f" and {len(fold) - _NAMED} more" if len(fold) > _NAMED else ""
        which.append((number, len(fold), ", ".join(list(fold)[:_NAMED]) + more))
    few = len(by_fold) <= _MOST_COLUMNS
    headers = [f"in {number}" for number in range(1, len(by_fold) + 1)] if few else ["tested in fold: clips"]
    names = sorted(set().union(*by_fold))
    counts = []
    for name in names[:_MOST_SPEAKERS]:
        tested = [fold.get(name, 0) for fold in by_fold]
        pairs = "  ".join(f"{number}: {count}" for number, count in enumerate(tested, 1) if count)
        counts.append([name, *([count or "·" for count in tested] if few else [pairs])])
    n_hidden = len(names) - _MOST_SPEAKERS
    return [
        table("fold", "speakers tested", "which", rows=which),
        Text(),
        table("speaker", *headers, rows=counts),
        *([Text(f"and {n_hidden} more speakers", "dim")] if n_hidden > 0 else []),
        Text(),
    ]


def _by_class(corpus: CheckedCorpus, fold: Fold) -> dict[str, int]:
    counts = Counter(corpus.targets[fold.test].tolist())
    return {label: counts[target] for target, label in enumerate(corpus.labels)}


def _by_speaker(corpus: CheckedCorpus, fold: Fold) -> Mapping[str, int]:
    counts = Counter(corpus.speakers[row] or "unknown" for row in fold.test.tolist())
    return dict(sorted(counts.items()))


def bundle_summary(record: BaseRecord, n_checked: int, tolerance: float) -> RenderableType:
    """A bundle's title, training clips and classes, the scores of its run, and how it was verified."""
    corpus, origin = record.corpus, record.origin
    trained_on = f"all {corpus.n_clips} clips of {corpus.name}"
    if record.fold is not None:
        trained_on = f"the {corpus.n_clips} clips of {corpus.name} that fold {record.fold + 1} trains on"
    lines = [
        Text(record.title, "bold"),
        Text(f"Trained on {trained_on}; licence: {corpus.licence}."),
        Text(f"Classes: {', '.join(record.labels)}. {record.sample_rate:,} Hz."),
    ]
    if isinstance(record, BundleRecord) and record.versions:
        lines.append(Text(record.versions_sentence))
    if corpus.synthetic:
        lines.append(Text("The training audio is synthetic: it will not recognise people.", "yellow"))
    if origin is not None:
        scores = metrics_phrase(origin.metrics)
        if isinstance(record, BundleRecord) and record.choice:
            lines.append(Text(record.choice.sentence))
        lines.append(Text(f"Scores of {origin.run_id} under {origin.protocol}: {scores}; {origin.verdict}."))
        lines += [Text(line, "yellow") for line in limit_lines(origin.limits)]
    if not n_checked:
        return Group(*lines, Text("Not verified: it has no golden clips.", "yellow"))
    verified = (
        f"Verified on {n_checked} golden clips: probabilities as of the model in memory, to {tolerance:g}."
    )
    lines.append(Text(verified, "dim"))
    if record.quantised:
        lines.append(Text("On clips that are less clear, quantised weights may differ by more.", "dim"))
    return Group(*lines)


def prediction_table(predictions: "Sequence[tuple[Path, Prediction]]") -> Table:
    """One row per file, below their common folder: label, confidence, then the next two classes."""
    top = _common_folder([path for path, _ in predictions])
    rows = []
    for path, prediction in predictions:
        ranked = sorted(prediction.by_label().items(), key=lambda item: -item[1])[1:3]
        then = ", ".join(f"{label} {100 * share:.0f} %" for label, share in ranked)
        name = shown_path(path.relative_to(top) if top else path)
        rows.append((name, prediction.label, f"{100 * prediction.confidence:.1f} %", then))
    title = f"{shown_path(top)}{os.sep}" if top is not None else None
    return table("file", "label", "confidence", "then", rows=rows, title=title)


def _common_folder(paths: Sequence[Path]) -> Path | None:
    """The deepest folder that holds all files; None if it is the root or the working directory."""
    if len({path.is_absolute() for path in paths}) != 1:
        return None
    top = Path(os.path.commonpath([path.parent for path in paths]))
    return None if top in {Path(), Path(top.anchor)} else top


def timeline(path: Path, prediction: "Prediction") -> Table:
    """One row per window of a long recording."""
    rows = []
    for window in prediction.windows:
        shares = prediction.by_label(window.probabilities)
        label = max(shares, key=shares.__getitem__)
        rows.append((f"{window.start:.1f} s", f"{window.end:.1f} s", label, f"{100 * shares[label]:.1f} %"))
    title = f"\n{shown_path(path)}: {prediction.seconds:.1f} s"
    return table("from", "to", "label", "confidence", rows=rows, title=title)
