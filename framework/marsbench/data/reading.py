"""Apply the options of how a corpus is read to what a dataset plugin has listed."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from marsbench.data.corpus_options import Reading
from marsbench.data.labels import alike_note, in_order
from marsbench.errors import ConfigError, shown, unknown

if TYPE_CHECKING:  # showing stored results needs `found_in`, but no arrays
    from marsbench.data.corpus import Corpus


def apply_reading(corpus: "Corpus", reading: Reading) -> "Corpus":
    """The corpus with other speakers, classes, channel or name.

    Its notes count what is left out, and name classes that look alike.

    Applied in this order: `speaker`, `label`, `map`, `classes`, `min_clips`, `channel`, `name`.

    Raises:
        ConfigError: an expression that finds nothing in a clip's id, a class that does not exist, or fewer
            than two classes that are left.
        CorpusError: a label or speaker with control characters.
    """
    ids = [clip.id for clip in corpus.clips]
    if reading.speaker is not None:
        speakers = _found("speaker", reading.speaker, ids)
        clips = (replace(clip, speaker=one) for clip, one in zip(corpus.clips, speakers, strict=True))
        corpus = replace(corpus, clips=tuple(clips))
    if reading.label is not None:
        corpus = _with_labels(corpus, _found("label", reading.label, ids))
    if reading.map:
        corpus = _mapped(corpus, reading.map)
    if reading.classes is not None:
        corpus = _only(corpus, reading.classes)
    if reading.min_clips > 1:
        corpus = _frequent(corpus, reading.min_clips)
    if reading.channel != "mix":
        clips = (replace(clip, channel=reading.channel) for clip in corpus.clips)
        corpus = replace(corpus, clips=tuple(clips))
    if note := alike_note(Counter(clip.label for clip in corpus.clips)):
        corpus = replace(corpus, notes=(*corpus.notes, note))
    return corpus if reading.name is None else replace(corpus, name=reading.name)


def found_in(what: str, pattern: str, ids: Sequence[str]) -> list[str]:
    """The first group, or else all, of what a regular expression finds in the name of each clip.

    Args:
        what: is to be found, as messages name it.
        pattern: the expression.
        ids: names of the clips.

    Raises:
        ValueError: it is not a regular expression, or finds nothing in a name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern} is not a regular expression: {error}") from error
    group = min(1, expression.groups)
    found = [match[group] if (match := expression.search(name)) else None for name in ids]
    missed = [name for name, value in zip(ids, found, strict=True) if not value]
    if missed:
        n_found = f"{len(ids) - len(missed):,} of {len(ids):,} clips" if len(missed) < len(ids) else "no clip"
        raise ValueError(
            f"{pattern} finds a {what} in {n_found}; none in {shown(missed[0])}: change the expression, or "
            "rename or move files that it should not read"
        )
    return [value for value in found if value]


def _found(what: str, pattern: str, ids: Sequence[str]) -> list[str]:
    try:
        return found_in(what, pattern, ids)
    except ValueError as error:
        raise ConfigError(f"--{what} {error}") from error


def _with_labels(corpus: "Corpus", labels: Sequence[str]) -> "Corpus":
    clips = (replace(clip, label=label) for clip, label in zip(corpus.clips, labels, strict=True))
    return replace(corpus, labels=in_order(labels), clips=tuple(clips))


def _mapped(corpus: "Corpus", names: Mapping[str, str]) -> "Corpus":
    for label in names:
        if label not in corpus.labels:
            raise ConfigError(f"--map: {unknown('class', label, corpus.labels)}")
    kept = _without(corpus, "--map", [label for label in corpus.labels if names.get(label) != ""])
    left = {names.get(label, label) for label in kept.labels}
    _require_two("--map", left, corpus)
    renamed = _with_labels_of(kept, {label: names.get(label, label) for label in kept.labels})
    changed = [f"{label} is {name}" for label, name in names.items() if name and name != label]
    note = [f"classes renamed by --map: {', '.join(changed)}"] if changed else []
    return replace(renamed, notes=(*renamed.notes, *note))


def _with_labels_of(corpus: "Corpus", names: Mapping[str, str]) -> "Corpus":
    return _with_labels(corpus, [names[clip.label] for clip in corpus.clips])


def _only(corpus: "Corpus", classes: Sequence[str]) -> "Corpus":
    for label in classes:
        if label not in corpus.labels:
            raise ConfigError(f"--classes: {unknown('class', label, corpus.labels)}")
    return _without(corpus, "--classes", classes)


def _frequent(corpus: "Corpus", least: int) -> "Corpus":
    counts = Counter(clip.label for clip in corpus.clips)
    frequent = [label for label in corpus.labels if counts[label] >= least]
    return _without(corpus, f"--min-clips {least}", frequent)


def _without(corpus: "Corpus", option: str, kept: Sequence[str]) -> "Corpus":
    """The corpus with the classes `kept` alone, in this order, and a note on all others."""
    _require_two(option, kept, corpus)
    counts = Counter(clip.label for clip in corpus.clips)
    lost = [f"{counts[label]:,} of {label}" for label in corpus.labels if label not in kept]
    note = [f"clips left out by {option}: {', '.join(lost)}"] if lost else []
    clips = tuple(clip for clip in corpus.clips if clip.label in kept)
    return replace(corpus, labels=tuple(kept), clips=clips, notes=(*corpus.notes, *note))


def _require_two(option: str, left: Sequence[str] | set[str], corpus: "Corpus") -> None:
    if len(left) < 2:
        of = f"of {len(corpus.labels)} classes ({', '.join(corpus.labels)})"
        raise ConfigError(
            f"{option} leaves {', '.join(left) or 'none'} {of}; at least two classes are needed"
        )
