"""Who speaks the clips, and what scores cannot tell because of it.

Clips of one speaker resemble each other. Where speakers are unknown, an interval over clips is too narrow:
on simulated corpora of four speakers that of accuracy holds the truth in 64 % of cases instead of 95.
Where each speaker has one class, a model that has heard the speakers may recognise voices instead of classes.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from marsbench.data.reading import found_in

if TYPE_CHECKING:  # showing stored results needs the words of this module, but no arrays
    import numpy as np
    from numpy.typing import NDArray

    from marsbench.data.corpus import CheckedCorpus

FEW_SPEAKERS = 8
"""With fewer, an interval can say little of how speakers differ."""
_ALONE_TOLD = 0.1
"""Share of the clips from which on it is said that speakers have one class."""
_LEAST_CLIPS = 4
"""Clips that each value of a part of file names has, on average, if it may be the speaker."""
_NAMED = 3


class ClassVoices(NamedTuple):
    """The speakers of one class."""

    label: str
    n_speakers: int
    """Known ones."""
    n_alone: int
    """Those among them that have two clips or more, all of this class."""


@dataclass(frozen=True)
class Voices:
    """The speakers of a set of clips."""

    n_clips: int
    n_unknown: int
    """Clips without a speaker."""
    n_speakers: int
    classes: tuple[ClassVoices, ...]
    alone: float
    """Share of the clips that are by speakers with two clips or more, all of one class."""
    told: float
    """Mean over the classes of the share of clips whose class is the one that is over-represented most among
    the speaker's other clips: near 1 / n_classes or less if voices tell nothing, 1 if they tell all."""

    @property
    def are_known(self) -> bool:
        """Whether most clips have a speaker."""
        return 2 * self.n_unknown < self.n_clips

    @property
    def tell_classes(self) -> bool:
        """Whether a clip's speaker gives its class away for most clips, or half way from chance to always."""
        return self.alone > 0.5 or self.told > max(0.5, 1.5 / len(self.classes))


def voices_of(
    targets: "Sequence[int] | NDArray[np.int64]", speakers: Sequence[str | None], labels: Sequence[str]
) -> Voices:
    """The speakers of clips.

    Args:
        targets: class of each clip, an index into `labels`.
        speakers: of each clip; None where unknown.
        labels: the classes.
    """
    import numpy as np

    numbers, n_speakers = _numbers(tuple(speakers))
    is_known = numbers >= 0
    cells = numbers[is_known] * len(labels) + np.asarray(targets, np.int64)[is_known]
    # Of thousands of speakers and hundreds of classes most pairs have no clip.
    there, counts = np.unique(cells, return_counts=True)
    speaker, target = np.divmod(there, len(labels))
    alone = (np.bincount(speaker)[speaker] == 1) & (counts > 1)
    of_class, alone_of_class = (np.bincount(one, minlength=len(labels)) for one in (target, target[alone]))
    found = zip(labels, of_class.tolist(), alone_of_class.tolist(), strict=True)
    return Voices(
        n_clips=len(targets),
        n_unknown=len(targets) - len(cells),
        n_speakers=n_speakers,
        classes=tuple(ClassVoices(*entry) for entry in found),
        alone=float(counts[alone].sum() / max(1, len(targets))),
        told=_told(speaker, target, counts, len(labels)),
    )


@lru_cache(maxsize=1)
def _numbers(speakers: tuple[str | None, ...]) -> "tuple[NDArray[np.int64], int]":
    """Number of each clip's speaker, -1 where unknown, and how many there are; many runs ask for the same."""
    import numpy as np

    names: dict[str | None, int] = {name: row for row, name in enumerate(set(speakers) - {None})}
    return np.array([names.get(name, -1) for name in speakers], np.int64), len(names)


def _told(
    speaker: "NDArray[np.int64]", target: "NDArray[np.int64]", counts: "NDArray[np.int64]", n_classes: int
) -> float:
    """`Voices.told` of the clips of each speaker and class that has some, (n_pairs,) each."""
    import numpy as np

    if not len(counts):
        return 0.0
    totals = np.bincount(target, counts, n_classes)
    lifts = counts / totals[target]
    order = np.lexsort((lifts, speaker))
    best = order[np.append(speaker[order][1:] != speaker[order][:-1], True)]  # each speaker's last
    rest = np.setdiff1d(order, best)
    rivals = np.zeros(speaker.max() + 1)
    np.maximum.at(rivals, speaker[rest], lifts[rest])
    # Only the class that is over-represented most can exceed the others by a clip less.
    tells = (counts[best] - 1) / totals[target[best]] > rivals[speaker[best]]
    shares = np.bincount(target[best], counts[best] * tells, n_classes)[totals > 0] / totals[totals > 0]
    return float(shares.mean())


def limits(voices: Voices, *, by_speaker: bool, independent: bool) -> Iterator[str]:
    """Why a verdict on scores of these clips is at most undecided.

    Args:
        voices: the speakers of the tested clips.
        by_speaker: whether train and test share no speaker.
        independent: whether the user declares that no two clips without a speaker are of one.
    """
    if not voices.are_known:
        if not independent:
            yield UNKNOWN
        return
    if voices.n_speakers == 1:
        yield "all clips are of one speaker, so nothing tells how far the scores hold for others"
    elif single := [entry.label for entry in voices.classes if entry.n_speakers == 1]:
        yield f"one speaker has all clips of {listed(single)}, so nothing tells how others fare there"
    if voices.tell_classes and not by_speaker and voices.n_speakers > 1:
        yield (
            f"{_one_class(voices)}, and train and test share speakers, so voices may have been recognised "
            "instead of classes (speaker5 tells)"
        )


UNKNOWN = (
    "no speaker is known, and clips of one speaker resemble each other, so the intervals are too narrow "
    "(--speaker REGEX names speakers, --independent-clips declares that each clip has its own)"
)
"""Why a verdict is limited where most clips have no speaker."""


def voice_notes(corpus: "CheckedCorpus", *, independent: bool = False) -> Iterator[str]:
    """What users should know of a corpus's speakers before they believe a score, one line each."""
    voices = voices_of(corpus.targets.tolist(), corpus.speakers, corpus.labels)
    if not voices.are_known and independent:
        yield "no speaker is known; no two clips are of one speaker, as --independent-clips declares"
    elif not voices.are_known:
        of = f" of {voices.n_unknown:,} of {voices.n_clips:,} clips" if voices.n_speakers else ""
        yield (
            f"Warning: no speaker is known{of}: scores may be of voices that training has had, and the "
            "verdict is at most UNDECIDED. Name speakers by --speaker REGEX or a table's column speaker "
            f"(docs/trust.md), or declare --independent-clips: each clip has its own{_suggestion(corpus)}"
        )
    if not voices.are_known:
        return
    if voices.n_unknown:
        yield (
            f"{voices.n_unknown:,} of {voices.n_clips:,} clips have no speaker; each counts as a speaker of "
            "its own"
        )
    few = [entry for entry in voices.classes if entry.n_speakers < min(FEW_SPEAKERS, voices.n_speakers)]
    if few:
        named = listed([f"{entry.label} {entry.n_speakers}" for entry in few])
        yield f"few of the {voices.n_speakers} speakers have clips of: {named}; the intervals there are wide"
    if voices.tell_classes or voices.alone > _ALONE_TOLD:
        yield f"{_one_class(voices)}: a model may recognise voices instead of classes; prefer speaker5"


def _one_class(voices: Voices) -> str:
    """How many speakers have one class, and which."""
    by_class = [f"{entry.label} {entry.n_alone}" for entry in voices.classes if entry.n_alone]
    n_alone = sum(entry.n_alone for entry in voices.classes)
    which = f" ({listed(by_class)})" if by_class else ""
    mostly = "" if voices.alone > _ALONE_TOLD else "; most others have mostly one"
    return f"{n_alone} of {voices.n_speakers} speakers have clips of one class alone{which}{mostly}"


def listed(words: Sequence[str], most: int = 8, between: str = ", ") -> str:
    """Words with commas between; beyond `most` only how many more there are."""
    more = [f"{len(words) - most} more"] if len(words) > most else []
    return between.join([*words[:most], *more])


# Speakers in names


def _suggestion(corpus: "CheckedCorpus") -> str:
    """One more sentence, with the expression for what looks like speakers in clips' names, if anything does.

    Of several parts of the names the one that is called like a speaker is meant, else the first of three
    values or more: names begin with the speaker more often than with anything else that repeats.
    """
    ids = [clip.id for clip in corpus.clips]
    found: list[tuple[bool, bool, str, list[str]]] = []
    for pattern in _candidates(ids):
        try:
            speakers = found_in("speaker", pattern, ids)
        except ValueError:
            continue
        n, values = len(set(speakers)), sorted(set(speakers))
        if not 2 <= n <= min(len(ids) / _LEAST_CLIPS, 1.5 * len(ids) ** 0.5):
            continue
        if not voices_of(corpus.targets.tolist(), speakers, corpus.labels).tell_classes:
            called = all(map(_CALLED.fullmatch, values))
            found.append((not called, n == 2, _plain(pattern, speakers, ids), values))
    if not found:
        return ""
    *_, pattern, values = min(found, key=lambda one: one[:2])
    return (
        f". Names look like those of {len(values)} speakers ({listed(values, _NAMED)}); if they are: "
        f"--speaker {shlex.quote(pattern)}"
    )


def _plain(pattern: str, speakers: Sequence[str], ids: Sequence[str]) -> str:
    r"""`(s\d+)` or alike, which is easier to read than `pattern`, if it finds the same speakers."""
    heads = {name.rstrip("0123456789") for name in speakers}
    plain = rf"({re.escape(min(heads))}\d+)"
    try:
        return plain if len(heads) == 1 and found_in("speaker", plain, ids) == list(speakers) else pattern
    except ValueError:
        return pattern


_CALLED = re.compile(r"(?i:s|spk?|speaker|actor|actress|subj(?:ect)?|p|f|m|male|female)[-_ ]?\d+")
"""What speakers are often called."""


def _candidates(ids: Sequence[str]) -> Iterator[str]:
    """Expressions for each folder, and each part of a file's name, that all clips have."""
    for depth in range(min(name.count("/") for name in ids)):
        yield rf"^(?:[^/]+/){{{depth}}}([^/]+)/" if depth else "^([^/]+)/"
    stems = [name.rpartition("/")[2].rpartition(".")[0] for name in ids]
    for place in range(min(len(re.findall(_PART, stem)) for stem in stems)):
        before = rf"(?:{_PART}[-_ .]+){{{place}}}" if place else ""
        yield rf"(?:^|/){before}({_PART})[^/]*$"
    yield r"(?:^|/)(\d+)[^\W\d_][^/]*$"
    yield r"(?:^|/)([^\W\d_]+)\d[^/]*$"


_PART = "[^-_ ./]+"
