"""Corpora and protocols as tables for a terminal."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import log10
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from marsbench.data.corpus import CheckedCorpus
from marsbench.protocols.protocol import Definition, Fold, Protocol
from marsbench.report.terminal.console import table as empty_table


def corpus_report(corpus: CheckedCorpus) -> RenderableType:
    """Counts by class and speaker, rates, durations, duplicates, and every bad file with its reason."""
    about = f"{corpus.name}: {len(corpus.clips)} usable clips; licence: {corpus.corpus.licence}"
    synthetic = [Text("The audio is synthetic.", "yellow")] if corpus.corpus.synthetic else []
    return Group(
        Text(about, "bold"), *synthetic, _classes(corpus), _audio(corpus), *_duplicates(corpus), *_bad(corpus)
    )


def _classes(corpus: CheckedCorpus) -> Table:
    """Clips by speaker (rows) and class (columns); a single row where no speaker is known."""
    speakers = [speaker or "unknown" for speaker in corpus.speakers]
    counts = Counter(zip(speakers, (clip.label for clip in corpus.clips), strict=True))
    table = empty_table("speaker", *(escape(label) for label in corpus.labels), "all")
    for speaker in sorted(set(speakers)):
        row = [counts[speaker, label] for label in corpus.labels]
        table.add_row(escape(speaker), *map(str, row), str(sum(row)))
    table.add_section()
    totals = Counter(clip.label for clip in corpus.clips)
    table.add_row("all", *(str(totals[label]) for label in corpus.labels), str(len(corpus.clips)))
    return table


def _audio(corpus: CheckedCorpus) -> Table:
    seconds = sorted(facts.seconds for facts in corpus.facts)
    table = Table(box=None, show_header=False)
    table.add_row("sample rates", _counted(f"{facts.sample_rate:,} Hz" for facts in corpus.facts))
    table.add_row("channels", _counted(str(facts.channels) for facts in corpus.facts))
    middle = seconds[len(seconds) // 2]
    spread = f"{seconds[0]:.2f} to {seconds[-1]:.2f} s, median {middle:.2f} s, {sum(seconds):,.0f} s in all"
    table.add_row("durations", spread)
    levels = sorted(20 * log10(facts.peak) for facts in corpus.facts if facts.peak > 0)
    if levels:
        level = (
            f"{levels[0]:.1f} to {levels[-1]:.1f} dB of full scale, median {levels[len(levels) // 2]:.1f} dB"
        )
        table.add_row("peak levels", level)
    return table


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{word}: {count}" for word, count in Counter(words).most_common())


def _duplicates(corpus: CheckedCorpus) -> list[Text]:
    if not corpus.duplicates:
        return [Text("No duplicate clips.")]
    return [
        line
        for what, groups in (
            ("group(s) of exact duplicates:", corpus.exact_duplicates),
            ("group(s) of near duplicates:", corpus.near_duplicates),
        )
        if groups
        for line in (
            Text(f"{len(groups)} {what}", "yellow"),
            *(Text(_group(corpus, rows)) for rows in groups),
        )
    ]


def _group(corpus: CheckedCorpus, rows: tuple[int, ...]) -> str:
    different = " (with DIFFERENT labels)" if rows in corpus.contradictions else ""
    return " = ".join(corpus.clips[row].id for row in rows) + different


def _bad(corpus: CheckedCorpus) -> list[Text]:
    if not corpus.bad:
        return [Text("No bad audio files.")]
    head = Text(f"{len(corpus.bad)} bad audio file(s), excluded from every run:", "yellow")
    return [head, *(Text(f"  {clip.id}: {clip.reason}") for clip in corpus.bad)]


_NAMED = 5
_MOST_COLUMNS = 10
_MOST_SPEAKERS = 50


def protocol_list(protocols: Iterable[Definition]) -> Table:
    """Name, description, source, and whether train and test share speakers."""
    table = empty_table("name", "description", "speakers", "source")
    for protocol in protocols:
        shared = "not shared" if protocol.by_speaker else "shared"
        table.add_row(protocol.name, Text(protocol.description), shared, Text(protocol.source))
    return table


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
                "train": len(fold.train),
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
    head = Text(f"{protocol.name} on {corpus.name}: {len(protocol.folds)} fold(s)", "bold")
    about = [Text(line) for line in (protocol.description, protocol.source) if line]
    speakers = (
        [_speakers(protocol, corpus), Text(), *_tested(protocol, corpus)] if any(corpus.speakers) else []
    )
    notes = [Text(f"Note: {note}.", "yellow") for note in protocol.notes]
    hashed = Text(f"Hash: {protocol.hash[:16]}; runs under equal hashes share a leaderboard.", "dim")
    return Group(head, *about, Text(), _classes_by_fold(protocol, corpus), Text(), *speakers, *notes, hashed)


def _classes_by_fold(protocol: Protocol, corpus: CheckedCorpus) -> Table:
    """One row per fold: training clips, test clips, and test clips of each class."""
    table = empty_table("fold", "train", "test", *map(escape, corpus.labels))
    for number, fold in enumerate(protocol.folds, 1):
        counts = _by_class(corpus, fold).values()
        table.add_row(*map(str, (number, len(fold.train), len(fold.test), *counts)))
    return table


def _speakers(protocol: Protocol, corpus: CheckedCorpus) -> Table:
    """One row per fold: number and names of the speakers that it tests."""
    table = empty_table("fold", "speakers tested", "which")
    for number, fold in enumerate(protocol.folds, 1):
        names = list(_by_speaker(corpus, fold))
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        table.add_row(str(number), str(len(names)), Text(", ".join(names[:_NAMED]) + more))
    return table


def _tested(protocol: Protocol, corpus: CheckedCorpus) -> list[RenderableType]:
    """Test clips of each speaker by fold: one column per fold, or pairs if there are many folds."""
    by_fold = [_by_speaker(corpus, fold) for fold in protocol.folds]
    names = sorted(set().union(*by_fold))
    few = len(by_fold) <= _MOST_COLUMNS
    headers = [f"in {number}" for number in range(1, len(by_fold) + 1)] if few else ["tested in fold: clips"]
    table = empty_table("speaker", *headers)
    for name in names[:_MOST_SPEAKERS]:
        counts = [tested.get(name, 0) for tested in by_fold]
        pairs = "  ".join(f"{number}: {count}" for number, count in enumerate(counts, 1) if count)
        table.add_row(Text(name), *([str(count or "·") for count in counts] if few else [pairs]))
    more = len(names) - _MOST_SPEAKERS
    return [table, *([Text(f"and {more} more speakers", "dim")] if more > 0 else []), Text()]


def _by_class(corpus: CheckedCorpus, fold: Fold) -> dict[str, int]:
    counts = Counter(corpus.targets[fold.test].tolist())
    return {label: counts[target] for target, label in enumerate(corpus.labels)}


def _by_speaker(corpus: CheckedCorpus, fold: Fold) -> Mapping[str, int]:
    counts = Counter(corpus.speakers[row] or "unknown" for row in fold.test.tolist())
    return dict(sorted(counts.items()))
