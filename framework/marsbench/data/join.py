"""Join corpora into one over the classes that all of them have, to train on some and test on others.

Labels are brought to common words first: corpora of the field name one emotion differently.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from marsbench.data.corpus import Clip, Corpus
from marsbench.data.corpus_options import Reading
from marsbench.data.labels import in_order, standard_name
from marsbench.data.reading import apply_reading
from marsbench.errors import ConfigError, CorpusError, unknown
from marsbench.hashing import slug

CORPUS = "corpus"
"""Attribute of each clip of a joined corpus: the name of the corpus that it comes from."""

_Words = Mapping[str, Mapping[str, str]]
"""Common word of each label, by corpus."""


def join_as_read(corpora: Sequence[Corpus], reading: Reading) -> Corpus:
    """Corpora as `reading` asks for them, joined.

    `speaker` names the speakers of those that name none. `map` and `min_clips` are of each corpus, `classes`
    and `name` of the joined one, whose classes have common words. `label` is for whoever lists the clips.

    Raises:
        ConfigError: a class in `map` that no corpus has, or what `apply_reading` raises.
        CorpusError: as `join`.
    """
    parts = _with_speakers(corpora, reading.speaker)
    labels = {label for part in parts for label in part.labels}
    for label in reading.map:
        if label not in labels:
            raise ConfigError(f"--map: {unknown('class', label, labels)}")
    read = []
    for part in parts:
        names = {label: name for label, name in reading.map.items() if label in part.labels}
        read.append(apply_reading(part, Reading(map=names, min_clips=reading.min_clips)))
    return apply_reading(
        join(read), Reading(classes=reading.classes, channel=reading.channel, name=reading.name)
    )


def _with_speakers(corpora: Sequence[Corpus], pattern: str | None) -> Sequence[Corpus]:
    if pattern is None:
        return corpora
    nameless = [corpus for corpus in corpora if not any(clip.speaker for clip in corpus.clips)]
    if not nameless:
        names = ", ".join(corpus.name for corpus in corpora)
        raise ConfigError(f"--speaker is for corpora that name no speakers; all of these do: {names}")
    reading = Reading(speaker=pattern)
    return [apply_reading(corpus, reading) if corpus in nameless else corpus for corpus in corpora]


def join(corpora: Sequence[Corpus]) -> Corpus:
    """One corpus of the clips of several, whatever their order, with the classes that all of them have.

    Ids and speakers get the corpus's name in front, `NAME/`, and each clip the attribute `CORPUS`. What was
    renamed or left out is told in the notes.

    Raises:
        CorpusError: two corpora of one name, or fewer than two classes that all have.
    """
    parts = sorted(corpora, key=lambda corpus: corpus.name)
    _require_names(parts)
    words = {part.name: common_words(part.labels) for part in parts}
    shared = set.intersection(*(set(of_part.values()) for of_part in words.values()))
    _require_classes(parts, words, shared)
    kept = [[replace(clip, label=words[part.name][clip.label]) for clip in part.clips] for part in parts]
    return Corpus(
        name=slug("-".join(part.name for part in parts)),
        labels=in_order(shared),
        clips=tuple(
            _moved(part, clip)
            for part, clips in zip(parts, kept, strict=True)
            for clip in clips
            if clip.label in shared
        ),
        synthetic=any(part.synthetic for part in parts),
        licence="; ".join(f"{part.name}: {part.licence}" for part in parts),
        notes=(
            *(f"{part.name}: {note}" for part in parts for note in part.notes),
            *_renamed(words),
            *_left_out(parts, kept, shared),
        ),
        left_out=tuple((f"{part.name}: {what}", names) for part in parts for what, names in part.left_out),
    )


def common_words(labels: Iterable[str]) -> dict[str, str]:
    """The field's word for each of a corpus's labels, or the label itself where none is known.

    Labels that would become one class keep their names: whether they mean the same is for the user to say.
    """
    words = {label: standard_name(label) or label for label in labels}
    counts = Counter(words.values())
    return {label: word if counts[word] == 1 else label for label, word in words.items()}


def _moved(part: Corpus, clip: Clip) -> Clip:
    """A clip of the joined corpus."""
    speaker = None if clip.speaker is None else f"{part.name}/{clip.speaker}"
    attributes = {**clip.attributes, CORPUS: part.name}
    return replace(clip, id=f"{part.name}/{clip.id}", speaker=speaker, attributes=attributes)


def _require_names(parts: Sequence[Corpus]) -> None:
    for first, second in pairwise(parts):
        if first.name == second.name:
            raise CorpusError(
                f"two of the corpora to join are named '{first.name}': name each once; if they differ, "
                "rename the folder or table of one"
            )


def _require_classes(parts: Sequence[Corpus], words: _Words, shared: set[str]) -> None:
    if len(shared) < 2:
        found = f"only {next(iter(shared))}" if shared else "no class"
        listed = "; ".join(f"{part.name}: {', '.join(words[part.name].values())}" for part in parts)
        raise CorpusError(
            f"{found} is a class of all corpora, and two are needed ({listed}); rename classes with --map, "
            "such as --map happiness=happy"
        )


def _renamed(words: _Words) -> list[str]:
    """A note on labels that are brought to common words."""
    changed = [
        f"{label} of {name} is {word}"
        for name, of_part in words.items()
        for label, word in of_part.items()
        if label != word
    ]
    return (
        [f"classes brought to common words: {', '.join(changed)} (--map names them otherwise)"]
        if changed
        else []
    )


def _left_out(parts: Sequence[Corpus], kept: Sequence[Sequence[Clip]], shared: set[str]) -> list[str]:
    """A note on the clips of classes that some corpus lacks."""
    lost = [
        f"{count:,} of {label} ({part.name})"
        for part, clips in zip(parts, kept, strict=True)
        for label, count in Counter(clip.label for clip in clips).items()
        if label not in shared
    ]
    return [f"clips left out, as not all corpora have their class: {', '.join(lost)}"] if lost else []
