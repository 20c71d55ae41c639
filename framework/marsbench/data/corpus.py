"""A corpus: clips with labels, in an explicit order of classes.

A dataset plugin makes a `Corpus` from names alone; `marsbench.data.audio_validation` opens the files and
makes the `CheckedCorpus` that everything later works on.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsbench.data.audio import AudioFacts
from marsbench.data.duplicates import Groups
from marsbench.errors import CorpusError
from marsbench.hashing import digest, slug

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The eight classes in RAVDESS's own order."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One audio file with a label and what else is known of it."""

    id: str
    """Name within the corpus, the same on every machine: the POSIX path below the corpus's root."""
    path: Path
    label: str
    speaker: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Further facts by name, such as channel, intensity or statement."""


@dataclass(frozen=True)
class Corpus:
    """Clips and the ordered tuple of class labels.

    Raises:
        CorpusError: a name that is no slug, no clips, fewer than two classes, a label outside `labels`, or an
            id used twice.
    """

    name: str
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    synthetic: bool = False
    """Whether the audio was generated; every screen that shows its results says so."""
    licence: str = "unknown"
    notes: tuple[str, ...] = ()
    """What the dataset plugin decided on the way and a reader should know."""

    def __post_init__(self) -> None:
        if self.name != slug(self.name):
            raise CorpusError(
                f"corpus '{self.name}' needs a name that can name a folder, '{slug(self.name)}' say"
            )
        if not self.clips:
            raise CorpusError(f"corpus '{self.name}' has no clips")
        _refuse_repeated(self.name, "label", self.labels)
        _refuse_repeated(self.name, "clip", [clip.id for clip in self.clips])
        if strangers := {clip.label for clip in self.clips} - set(self.labels):
            there = ", ".join(self.labels)
            raise CorpusError(
                f"corpus '{self.name}': label '{min(strangers)}' is none of its classes ({there})"
            )
        if len(self.labels) < 2:
            raise CorpusError(f"corpus '{self.name}' has one class, '{self.labels[0]}'; two are needed")


def _refuse_repeated(corpus: str, what: str, words: tuple[str, ...] | list[str]) -> None:
    repeated = [word for word, count in Counter(words).items() if count > 1]
    if repeated:
        raise CorpusError(f"corpus '{corpus}': {what} '{repeated[0]}' stands twice")


@dataclass(frozen=True, slots=True)
class BadClip:
    """A clip that cannot be used, and why."""

    id: str
    reason: str


@dataclass(frozen=True, repr=False)
class CheckedCorpus:
    """The usable clips of a corpus, each with the facts of its audio; rows are clips in a fixed order."""

    corpus: Corpus
    clips: tuple[Clip, ...]
    facts: tuple[AudioFacts, ...]
    bad: tuple[BadClip, ...] = ()
    near: tuple[tuple[str, str], ...] = ()
    """Pairs of `AudioFacts.content` that are one recording, changed (`marsbench.data.duplicates`)."""

    def __repr__(self) -> str:
        return f"<CheckedCorpus {self.name}: {len(self.clips)} clips, {len(self.labels)} classes>"

    @property
    def name(self) -> str:
        """The corpus's name."""
        return self.corpus.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Class labels; a target is an index into them."""
        return self.corpus.labels

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """Class index of each clip, (n_clips,)."""
        index = {label: position for position, label in enumerate(self.labels)}
        return np.array([index[clip.label] for clip in self.clips], np.int64)

    @property
    def speakers(self) -> tuple[str | None, ...]:
        """Speaker of each clip, None where unknown."""
        return tuple(clip.speaker for clip in self.clips)

    @cached_property
    def duplicates(self) -> tuple[tuple[int, ...], ...]:
        """Rows of clips that are one recording, exact and near copies alike; groups of two or more."""
        recordings = Groups(self.near)
        groups: dict[str, list[int]] = {}
        for row, facts in enumerate(self.facts):
            groups.setdefault(recordings.of(facts.content), []).append(row)
        return tuple(tuple(rows) for rows in groups.values() if len(rows) > 1)

    @property
    def exact_duplicates(self) -> tuple[tuple[int, ...], ...]:
        """Those copies whose decoded audio is the same, sample by sample."""
        return tuple(rows for rows in self.duplicates if self._is_one_sound(rows))

    @property
    def near_duplicates(self) -> tuple[tuple[int, ...], ...]:
        """Those copies of which one at least was resampled, trimmed, re-encoded or otherwise changed."""
        return tuple(rows for rows in self.duplicates if not self._is_one_sound(rows))

    @property
    def contradictions(self) -> tuple[tuple[int, ...], ...]:
        """Those copies that do not all have the same label."""
        return tuple(rows for rows in self.duplicates if len({self.clips[row].label for row in rows}) > 1)

    def _is_one_sound(self, rows: tuple[int, ...]) -> bool:
        return len({self.facts[row].content for row in rows}) == 1

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over class order and every clip's id, audio bytes, label, speaker and attributes."""
        rows = [
            [clip.id, facts.sha256, clip.label, clip.speaker, dict(clip.attributes)]
            for clip, facts in zip(self.clips, self.facts, strict=True)
        ]
        return digest([self.labels, sorted(rows, key=lambda row: str(row[0]))])
