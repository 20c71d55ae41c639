"""Names of classes: their order."""

import re
from collections.abc import Iterable

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The eight classes of RAVDESS in its own order."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Each label once: as RAVDESS has them if it has all, by size if all are numbers, else alphabetical."""
    found = set(labels)
    if found <= set(EMOTIONS):
        return tuple(emotion for emotion in EMOTIONS if emotion in found)
    if all(map(_NUMBER.fullmatch, found)):
        return tuple(sorted(found, key=lambda label: (float(label), label)))
    return tuple(sorted(found))
