"""A checked corpus as tables for a terminal."""

from collections import Counter
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from marsbench.cli.console import table as empty_table
from marsbench.corpus import CheckedCorpus


def corpus_report(corpus: CheckedCorpus) -> RenderableType:
    """Counts by class and speaker, rates, durations, copies, and every bad file with its reason."""
    about = f"{corpus.name}: {len(corpus.clips)} usable clips; {corpus.corpus.licence}"
    synthetic = [Text("The audio is synthetic.", "yellow")] if corpus.corpus.synthetic else []
    return Group(
        Text(about, "bold"), *synthetic, _classes(corpus), _audio(corpus), *_copies(corpus), *_bad(corpus)
    )


def _classes(corpus: CheckedCorpus) -> Table:
    """Speakers down, classes across; one row in all where no speaker is known."""
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
    return table


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{word}: {count}" for word, count in Counter(words).most_common())


def _copies(corpus: CheckedCorpus) -> list[Text]:
    if not corpus.copies:
        return [Text("No two clips are the same recording.")]
    return [
        line
        for what, copies in (
            ("recording(s) stand more than once:", corpus.exact_copies),
            ("group(s) of clips are nearly the same recording:", corpus.near_copies),
        )
        if copies
        for line in (
            Text(f"{len(copies)} {what}", "yellow"),
            *(Text(_group(corpus, rows)) for rows in copies),
        )
    ]


def _group(corpus: CheckedCorpus, rows: tuple[int, ...]) -> str:
    different = " (under DIFFERENT labels)" if rows in corpus.contradictions else ""
    return " = ".join(corpus.clips[row].id for row in rows) + different


def _bad(corpus: CheckedCorpus) -> list[Text]:
    if not corpus.bad:
        return [Text("No bad audio files.")]
    head = Text(f"{len(corpus.bad)} bad audio file(s), left out of every run:", "yellow")
    return [head, *(Text(f"  {clip.id}: {clip.reason}") for clip in corpus.bad)]
