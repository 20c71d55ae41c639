"""Words of the field for one and the same emotion."""

from collections import Counter
from collections.abc import Iterable

_WORDS = {
    "neutral": "neutrality neu",
    "calm": "calmness",
    "happy": "happiness joy joyful hap",
    "sad": "sadness",
    "angry": "anger ang",
    "fearful": "fear afraid scared fea",
    "disgust": "disgusted dis",
    "surprised": "surprise pleasant_surprise sur",
    "bored": "boredom bor",
    "excited": "excitement exc",
    "frustrated": "frustration fru",
}
"""Further words for each, as corpora and papers have them; the eight of RAVDESS by its own names."""
_COMMON = {other: word for word, others in _WORDS.items() for other in (word, *others.split())}


def common_word(label: str) -> str:
    """The common word for a label, whatever its case; the label itself if none is known."""
    return _COMMON.get("_".join(label.casefold().replace("-", " ").split()), label)


def common_words(labels: Iterable[str]) -> dict[str, str]:
    """The common word for each of a corpus's labels.

    Labels that would become one class keep their names: whether they mean the same is for the user to say.
    """
    words = {label: common_word(label) for label in labels}
    counts = Counter(words.values())
    return {label: word if counts[word] == 1 else label for label, word in words.items()}
