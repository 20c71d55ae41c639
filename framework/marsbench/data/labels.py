"""Names of classes and splits: their order, the field's synonyms, and names that may mean one class."""

import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping

from marsbench.data.corpus_options import pair_texts

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The eight classes of RAVDESS in its own order."""
SYNONYMS: Mapping[str, frozenset[str]] = {
    name: frozenset(others.split())
    for name, others in {
        "neutral": "neutre neutrale",
        "calm": "calmness relaxed",
        "happy": "happiness joy joyful cheerful freude fröhlich glücklich joie alegría felicidad gioia",
        "sad": "sadness sorrow trauer traurig tristesse tristeza tristezza",
        "angry": "anger ärger wut wütend colère ira enojo rabbia",
        "fearful": "fear afraid scared angst ängstlich peur miedo paura",
        "disgust": "disgusted ekel dégoût asco disgusto",
        "surprised": (
            "surprise surprising pleasantsurprise pleasantsurprised überraschung überrascht sorpresa"
        ),
        "bored": "boredom langeweile gelangweilt ennui",
        "excited": "excitement",
        "frustrated": "frustration",
        "anxious": "anxiety",
        "contempt": "contemptuous",
        "amused": "amusement",
        "sleepy": "sleepiness",
        "positive": "",
        "negative": "",
    }.items()
}
"""Names that corpora of emotions have for a class, by the one that is used here."""
_ABBREVIATED = {
    "neu": "neutral", "hap": "happy", "ang": "angry", "fea": "fearful", "dis": "disgust", "sur": "surprised",
    "exc": "excited", "fru": "frustrated",
}  # fmt: skip
"""As IEMOCAP and CREMA-D have them."""
_STANDARD = {word: name for name, others in SYNONYMS.items() for word in (name, *others)}
EMOTION_WORDS = frozenset(_STANDARD)
_LONG = 5
"""Letters of a word in which one may be wrong."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
_BETWEEN = re.compile(r"(?<=[^\W\d_])[\s_.-]+(?=[^\W\d_])")
"""What stands between two letters and is none."""


SPLITS: Mapping[str, str] = {
    "train": "train|training",
    "dev": "dev|devel|development|val|valid|validation",
    "test": "test|testing|eval|evaluation",
}
"""Names that published splits have, as regular expressions, by the one that is used here."""
_SPLIT_SUFFIX = r"([ _.-]?(set|data|split|clips|audio|\d+))?"


def split_of(name: str) -> str | None:
    """`train`, `dev` or `test` of a name such as `Validation`, `test_2` or `trainset`; None if it is none."""
    found = (
        split
        for split, names in SPLITS.items()
        if re.fullmatch(f"({names}){_SPLIT_SUFFIX}", name, re.IGNORECASE)
    )
    return next(found, None)


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Each label once: as RAVDESS has them if it has all, by size if all are numbers, else alphabetical."""
    found = set(labels)
    if found <= set(EMOTIONS):
        return tuple(emotion for emotion in EMOTIONS if emotion in found)
    if all(map(_NUMBER.fullmatch, found)):
        return tuple(sorted(found, key=lambda label: (float(label), label)))
    return tuple(sorted(found))


def standard_name(label: str) -> str | None:
    """The name in `SYNONYMS` of the emotion that a label means, whatever its case; None if it is none.

    In words of five letters or more one letter may be missing, wrong or too much, but the first.
    """
    word = _folded(label)
    if exact := _STANDARD.get(word) or _ABBREVIATED.get(word):
        return exact
    near = {name for known, name in _STANDARD.items() if len(known) >= _LONG and _one_wrong(word, known)}
    return near.pop() if len(near) == 1 else None


def _folded(label: str) -> str:
    """The label without case, outer spaces, and what divides its words."""
    return _BETWEEN.sub("", unicodedata.normalize("NFC", label).strip(" _").casefold())


def _one_wrong(word: str, known: str) -> bool:
    """Whether the words begin alike, and one letter more, less or other makes them equal."""
    if word[:1] != known[:1] or abs(len(word) - len(known)) > 1:
        return False
    at = next((at for at, pair in enumerate(zip(word, known, strict=False)) if pair[0] != pair[1]), None)
    if at is None:
        return True
    return known[at + 1 :] in {word[at + 1 :], word[at:]} or known[at:] == word[at + 1 :]


def alike_note(counts: Mapping[str, int]) -> str | None:
    """A line on classes of one corpus that differ by case, spaces or spelling, or are synonyms; None if none.

    Args:
        counts: clips by class. Of several names the standard one is proposed, else that with most clips.
    """
    groups: dict[str, list[str]] = {}
    for label in counts:
        groups.setdefault(standard_name(label) or _folded(label), []).append(label)
    alike = {key: labels for key, labels in groups.items() if len(labels) > 1}
    if not alike:
        return None
    table: dict[str, str] = {}
    for key, labels in alike.items():
        most = max(labels, key=lambda label: (counts[label], label.islower()))
        name = key if key in labels else most
        table |= {label: name for label in labels if label != name}
    told = "; ".join(" and ".join(f"'{label}'" for label in labels) for labels in alike.values())
    (text,) = pair_texts(table)
    return f"classes whose names look alike: {told}; if they are one class each: --map {shlex.quote(text)}"
