"""Corpora: clips with labels and an explicit order of classes.

A dataset plugin makes a `Corpus` from file names, without opening audio; `marsbench.data.audio_validation`
examines the files and makes the `CheckedCorpus` that everything else works with.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import log10
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus_options import Channel
from marsbench.errors import CorpusError, is_plain, shown, shown_path, unknown
from marsbench.hashing import digest_with_rows, slug

_LEAST_DB = -120.0
_NAMED = 3
"""Files that are left out, named in a note."""


class ClipSource(NamedTuple):
    """Where the audio of a clip is."""

    path: Path
    start: float | None
    """Second of the file at which a segment starts; None for a whole file."""
    end: float | None
    """Second at which it ends, which is no longer part of it; None for the end of the file."""
    channel: Channel = "mix"
    """Which one of its channels is read; mix averages all."""

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole file with all its channels."""
        return self.start is None and self.channel == "mix"


@dataclass(frozen=True, slots=True)
class Clip:
    """One audio file, or a segment of one, with its label, speaker and attributes."""

    id: str
    """Name within the corpus, equal on every machine: the POSIX path relative to the corpus's root, and of a
    segment its times, as in `a.wav#1.500-3.250`."""
    path: Path
    label: str
    speaker: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Further values by name, such as channel, intensity or statement."""
    start: float | None = None
    """As of `ClipSource`."""
    end: float | None = None
    channel: Channel = "mix"

    @property
    def source(self) -> ClipSource:
        """Where its audio is."""
        return ClipSource(self.path, self.start, self.end, self.channel)


@dataclass(frozen=True)
class Corpus:
    """Clips and the ordered tuple of class labels.

    Raises:
        CorpusError: a name that is not a valid folder name, no clips, fewer than two classes, a label that is
            not in `labels`, an id or class that is listed twice, or a label, id or speaker with control
            characters, which a terminal would obey.
    """

    name: str
    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    synthetic: bool = False
    """Whether the audio was generated; reports on its results say so."""
    licence: str = "unknown"
    notes: tuple[str, ...] = ()
    """What users should know about how the corpus was read, one line each."""
    left_out: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Names of files or clips that are not used, behind what and why, as in "files left out that are not
    audio"."""

    def with_left_out(self) -> "Corpus":
        """The corpus with a note on each kind of what is left out, which names the first few."""
        notes = []
        for what, names in self.left_out:
            more = ", ...; bench data check lists all" if len(names) > _NAMED else ""
            notes.append(f"{what}: {len(names):,} ({', '.join(map(shown_path, names[:_NAMED]))}{more})")
        return replace(self, notes=(*self.notes, *notes))

    def __post_init__(self) -> None:
        if self.name != slug(self.name):
            raise CorpusError(
                f"corpus name '{self.name}' is not valid as a folder name; use '{slug(self.name)}'"
            )
        if not self.clips:
            raise CorpusError(f"corpus '{self.name}' has no clips")
        _refuse_hidden(self.name, "label", self.labels)
        _refuse_hidden(self.name, "clip", (clip.id for clip in self.clips))
        _refuse_hidden(self.name, "speaker", dict.fromkeys(clip.speaker or "" for clip in self.clips))
        _refuse_repeated(self.name, "label", self.labels)
        _refuse_repeated(self.name, "clip", [clip.id for clip in self.clips])
        if unlisted := {clip.label for clip in self.clips} - set(self.labels):
            raise CorpusError(
                f"corpus '{self.name}': label '{shown(min(unlisted))}' is not one of its classes: "
                + ", ".join(self.labels)
            )
        if len(self.labels) < 2:
            raise CorpusError(
                f"corpus '{self.name}' has only one class, '{self.labels[0]}'; at least two are needed"
            )


def _refuse_hidden(corpus: str, what: str, names: Iterable[str]) -> None:
    if hidden := next((name for name in names if not is_plain(str(name))), None):
        raise CorpusError(
            f"corpus '{corpus}': {what} '{shown(hidden)}' has a control or invisible character; rename it"
        )


def _refuse_repeated(corpus: str, what: str, names: tuple[str, ...] | list[str]) -> None:
    if len(set(names)) < len(names):
        repeated = next(name for name, count in Counter(names).items() if count > 1)
        raise CorpusError(f"corpus '{corpus}': {what} '{repeated}' is listed twice")


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """Properties of one audio file; `problem` is None if it can be used."""

    sha256: str = ""
    """sha256 of the file's bytes; empty if they could not be read."""
    content: str = ""
    """sha256 of the decoded mono waveform and its rate: equal for duplicates in any lossless container."""
    sample_rate: int = 0
    channels: int = 0
    seconds: float = 0.0
    problem: str | None = None
    """Why the file cannot be used."""
    audio_fingerprint: str = ""
    """Similar for near duplicates, see `marsbench.data.duplicates`; empty if the clip has none."""
    peak: float = 0.0
    """Largest absolute sample of the mono waveform, where full scale is 1."""
    rms: float = 0.0
    """Root mean square of the mono waveform, where full scale is 1."""
    decoder: str = ""
    """As `compressed.decoder_of` says."""

    def audio_key(self, source: ClipSource) -> str:
        """What the audio of a clip is known by: sha256 of the file.

        `content` of a part, and of a file that PyAV decodes, of which another version may make other samples.
        """
        return self.sha256 if source.is_whole and not self.decoder else self.content


def decibels(level: float) -> float:
    """A peak or RMS level, where 1 is full scale, in dB of full scale; at least -120, also of silence."""
    return max(_LEAST_DB, 20 * log10(level)) if level > 0 else _LEAST_DB


@dataclass(frozen=True, slots=True)
class BadClip:
    """A clip that cannot be used, and the reason."""

    id: str
    reason: str


@dataclass(frozen=True, repr=False)
class CheckedCorpus:
    """The usable clips of a corpus with the facts of their audio; row numbers are indices into `clips`."""

    corpus: Corpus
    clips: tuple[Clip, ...]
    facts: tuple[AudioFacts, ...]
    bad: tuple[BadClip, ...] = ()
    near_pairs: tuple[tuple[str, str], ...] = ()
    """Pairs of `AudioFacts.content` that are near duplicates (`marsbench.data.duplicates`)."""
    held_out: tuple[Clip, ...] = ()
    """Usable clips that were taken away, see `without`."""

    def __repr__(self) -> str:
        return f"<CheckedCorpus {self.name}: {len(self.clips)} clips, {len(self.labels)} classes>"

    @property
    def name(self) -> str:
        """The corpus's name."""
        return self.corpus.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Class labels in order; a target is an index into them."""
        return self.corpus.labels

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """Class index of each clip, (n_clips,)."""
        index = {label: position for position, label in enumerate(self.labels)}
        return np.array([index[clip.label] for clip in self.clips], np.int64)

    def without(self, rows: Collection[int]) -> "CheckedCorpus":
        """The corpus without the clips in some rows, which are its `held_out` ones."""
        kept = [row for row in range(len(self.clips)) if row not in rows]
        contents = {self.facts[row].content for row in kept}
        return replace(
            self,
            clips=tuple(self.clips[row] for row in kept),
            facts=tuple(self.facts[row] for row in kept),
            near_pairs=tuple(pair for pair in self.near_pairs if contents.issuperset(pair)),
            held_out=tuple(self.clips[row] for row in sorted(rows)),
        )

    @cached_property
    def speakers(self) -> tuple[str | None, ...]:
        """Speaker of each clip, in order; None if unknown."""
        return tuple(clip.speaker for clip in self.clips)

    @cached_property
    def audio_keys(self) -> tuple[str, ...]:
        """`AudioFacts.audio_key` of each clip."""
        pairs = zip(self.clips, self.facts, strict=True)
        return tuple(facts.audio_key(clip.source) for clip, facts in pairs)

    def require_attributes(self, names: Iterable[str]) -> None:
        """Raise CorpusError for a name that is not `label`, a known `speaker` or an attribute of a clip."""
        known = {"label", *({"speaker"} if any(self.speakers) else ())}
        known |= {name for clip in self.clips for name in clip.attributes}
        if lacking := [name for name in names if name not in known]:
            raise CorpusError(unknown("attribute", lacking[0], known))

    @cached_property
    def recordings(self) -> NDArray[np.int64]:
        """Row of the first clip of each clip's recording, (n_clips,): equal for exact and near duplicates."""
        from scipy.cluster.hierarchy import DisjointSet

        firsts: dict[str, int] = {}
        exact = [firsts.setdefault(facts.content, row) for row, facts in enumerate(self.facts)]
        near = DisjointSet({content for pair in self.near_pairs for content in pair})
        for pair in self.near_pairs:
            near.merge(*pair)
        first_of = np.arange(len(self.clips))
        for contents in near.subsets():
            rows = [firsts[content] for content in contents]
            first_of[rows] = min(rows)
        return first_of[exact]

    @cached_property
    def duplicates(self) -> tuple[tuple[int, ...], ...]:
        """Rows of clips that are one recording, exact and near duplicates; groups of two or more."""
        groups: dict[int, list[int]] = {}
        is_shared = np.bincount(self.recordings)[self.recordings] > 1
        for row in np.flatnonzero(is_shared).tolist():
            groups.setdefault(int(self.recordings[row]), []).append(row)
        return tuple(map(tuple, groups.values()))

    @cached_property
    def groups(self) -> dict[tuple[str, ...], NDArray[np.int64]]:
        """What `protocols.splitting.groups_of` has found, by names of attributes, for fits to come."""
        return {}

    @property
    def exact_duplicates(self) -> tuple[tuple[int, ...], ...]:
        """The groups of `duplicates` whose decoded audio is identical, sample by sample."""
        return tuple(rows for rows in self.duplicates if self._is_identical(rows))

    @property
    def near_duplicates(self) -> tuple[tuple[int, ...], ...]:
        """The groups of `duplicates` with a resampled, trimmed, re-encoded or otherwise modified clip."""
        return tuple(rows for rows in self.duplicates if not self._is_identical(rows))

    @property
    def contradictions(self) -> tuple[tuple[int, ...], ...]:
        """The groups of `duplicates` whose clips have different labels."""
        return tuple(rows for rows in self.duplicates if len({self.clips[row].label for row in rows}) > 1)

    def _is_identical(self, rows: tuple[int, ...]) -> bool:
        return len({self.facts[row].content for row in rows}) == 1

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the class order and every clip's id, audio, label, speaker and attributes."""
        in_order = sorted(zip(self.clips, self.facts, strict=True), key=lambda pair: pair[0].id)
        rows = (
            [clip.id, *_audio_of(clip, facts), clip.label, clip.speaker, dict(clip.attributes)]
            for clip, facts in in_order
        )
        return digest_with_rows([self.labels], rows)


def _audio_of(clip: Clip, facts: AudioFacts) -> list[str]:
    """What is heard: the file's bytes, and the channel where it is not the mean of all."""
    return [facts.sha256, *([] if clip.channel == "mix" else [clip.channel])]
