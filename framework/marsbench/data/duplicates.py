"""Near copies: clips that are one recording, resampled, louder, trimmed, re-encoded or shifted in time.

Fingerprints (`audio_fingerprint`) name candidates, waveforms decide. Both thresholds come from the 2,452
clips of RAVDESS, where 24 actors say and sing two sentences over and over, and from changed copies of them.

Cosine of prints: 0.88 and more for 1,000 changed copies (resampled from 48 to 16 kHz and back, silence
trimmed, half as loud, cut off 6 dB above full scale, Vorbis, MP3, shifted by 1 %, and any two of these); 0.8
and more for 63 of 3 million pairs of clips. Likeness of waveforms: 0.96 and more for the copies; at most 0.58
for different clips, held notes of songs included, among the 4,700 pairs of the nearest prints. Of 40 copies
as Opus at 6 kbit/s, the least there is, 36 are found. A copy played faster or slower is not.

Where little is heard, one held vowel is like another: pieces of a quarter of a second that are no copies
reach 0.9, of a tenth 0.96. So clips that sound for less than half a second must be more alike: of 11 million
pairs of pieces of 0.5 s one is taken for copies, of 0.25 s one, of 0.1 s none.

Each clip has at most 8 candidates among those after it, so that many similar clips cost no more than that.
Where this leaves candidates out and copies were found, those found stop counting and the next are asked.
Verdicts are kept by the content of the two clips, so that an unchanged corpus is not compared again.
"""

import json
import os
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from marsbench.atomic_files import write_text
from marsbench.data import audio, audio_fingerprint
from marsbench.data.audio import AudioFacts
from marsbench.errors import AudioError
from marsbench.hashing import digest
from marsbench.progress import Progress

Pair = tuple[str, str]
"""Contents of two clips (`AudioFacts.content`), the lesser first."""
Verdicts = dict[Pair, bool]

_CANDIDATES = 0.8
"""Least cosine of two prints whose clips are compared."""
_SOUNDING = (0.1, 0.5)
_SAME = (0.98, 0.8)
"""Least likeness of the waveforms of one recording that sounds for so many seconds; linear in between."""
_MOST = 8
"""Candidates of a clip among those after it."""
_BLOCK = 2048
"""Prints multiplied at a time with as many others: 16 MiB of cosines."""
_NAMES = {True: "copies", False: "others"}
_KEPT = 16
"""Digits of a content that the ledger keeps."""
_THREADS = min(os.cpu_count() or 1, 8)
"""Comparing two clips of 300 s takes 300 MB."""


def near_duplicates(
    clips: Iterable[tuple[Path, AudioFacts]], ledger: Path, progress: Progress
) -> tuple[Pair, ...]:
    """Pairs that join all clips of one recording but different content; `ledger` remembers what was compared.

    Raises:
        AudioError: a clip can no longer be decoded.
    """
    known = {facts.content: (path, facts.sound_print) for path, facts in clips if facts.sound_print}
    contents = sorted(known)
    settled, verdicts = _read_ledger(ledger, contents)
    if len(contents) > 1 and settled != digest(contents):
        vectors = np.array([audio_fingerprint.print_vector(known[content][1]) for content in contents])
        paths = {content: path for content, (path, _) in known.items()}
        _settle(contents, vectors, verdicts, lambda pair: _compare(paths[pair[0]], paths[pair[1]]), progress)
        _write_ledger(ledger, digest(contents), verdicts)
    return tuple(sorted(pair for pair, same in verdicts.items() if same))


def _settle(
    contents: list[str],
    vectors: NDArray[np.float32],
    verdicts: Verdicts,
    compare: Callable[[Pair], bool],
    progress: Progress,
) -> None:
    """Add verdicts until every group of copies is joined by them."""
    groups = Groups(pair for pair, same in verdicts.items() if same)
    all_asked, joined = False, True
    while joined and not all_asked:
        numbers = {content: number for number, content in enumerate(contents)}
        group_of = np.array([numbers[groups.of(content)] for content in contents], np.int64)
        rows, columns, all_asked = _candidates(vectors, group_of)
        pairs = [(contents[row], contents[column]) for row, column in zip(rows, columns, strict=True)]
        new = [pair for pair in pairs if pair not in verdicts]
        joined = _verify(new, groups, verdicts, compare, progress)


def _verify(
    pairs: list[Pair],
    groups: "Groups[str]",
    verdicts: Verdicts,
    compare: Callable[[Pair], bool],
    progress: Progress,
) -> bool:
    """Compare the pairs that no comparison before them has joined; whether any two were joined."""
    if not pairs:
        return False
    before = sum(verdicts.values())
    with progress.track("Comparing recordings", len(pairs)) as advance, ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(pairs), 4 * _THREADS):
            asked = pairs[start : start + 4 * _THREADS]
            apart = [pair for pair in asked if groups.of(pair[0]) != groups.of(pair[1])]
            for pair, same in zip(apart, pool.map(compare, apart), strict=True):
                verdicts[pair] = same
                if same:
                    groups.join(*pair)
            advance(len(asked))
    return sum(verdicts.values()) > before


def _compare(first: Path, second: Path) -> bool:
    waveforms = _waveform(first), _waveform(second)
    seconds = min(map(audio_fingerprint.sounding_seconds, waveforms))
    return bool(audio_fingerprint.likeness(*waveforms) >= np.interp(seconds, _SOUNDING, _SAME))


def _waveform(path: Path) -> NDArray[np.float32]:
    try:
        waveform = audio.decode(audio.read_bytes(path))
    except AudioError as error:
        raise AudioError(f"{path} has changed since it was checked: {error}") from error
    return audio_fingerprint.at_print_rate(waveform.samples, waveform.sample_rate)


def _candidates(
    vectors: NDArray[np.float32], group_of: NDArray[np.int64]
) -> tuple[list[int], list[int], bool]:
    """Rows and later columns of similar prints of two groups, nearest first; whether that is all."""
    lengths = np.linalg.norm(vectors, axis=1)
    found = [_of_block(vectors, lengths, group_of, start) for start in range(0, len(vectors), _BLOCK)]
    rows, columns, cosines = (np.concatenate([part[0][n] for part in found]) for n in range(3))
    order = np.lexsort((columns, rows, -cosines))
    return rows[order].tolist(), columns[order].tolist(), all(part[1] for part in found)


Hits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Rows, columns, cosines."""


def _of_block(
    vectors: NDArray[np.float32], lengths: NDArray[np.float32], group_of: NDArray[np.int64], top: int
) -> tuple[Hits, bool]:
    """The candidates of one block of rows, and whether none was left out."""
    block, tiles, whole = slice(top, top + _BLOCK), [], True
    for left in range(top, len(vectors), _BLOCK):
        tile = slice(left, left + _BLOCK)
        cosines = vectors[block] @ vectors[tile].T  # exact: whole numbers, small enough
        cosines /= lengths[block, None]
        cosines /= lengths[tile]
        cosines[group_of[block, None] == group_of[tile]] = -1
        if left == top:
            cosines[np.tri(len(cosines), dtype=bool)] = -1
        whole = not _leave_most_alike(cosines) and whole
        rows, columns = np.nonzero(cosines >= _CANDIDATES)
        tiles.append(_nearest((rows + top, columns + left, cosines[rows, columns])))
    rows, columns, of_tiles = (np.concatenate([hits[n] for hits in tiles]) for n in range(3))
    best = _nearest((rows, columns, of_tiles))
    return best, whole and len(best[0]) == len(rows)


def _leave_most_alike(cosines: NDArray[np.float32]) -> bool:
    """Blot out what cannot be among the best few of a row, where much is alike; whether anything was."""
    if np.count_nonzero(cosines >= _CANDIDATES) <= _MOST * len(cosines) or cosines.shape[1] <= _MOST:
        return False
    least = np.partition(cosines, -_MOST, axis=1)[:, -_MOST]
    cosines[cosines < least[:, None]] = -1
    return True


def _nearest(hits: Hits) -> Hits:
    """The best few of each row."""
    rows, columns, cosines = hits
    order = np.lexsort((columns, -cosines, rows))
    ordered = rows[order]
    place = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    kept = order[place < _MOST]
    return rows[kept], columns[kept], cosines[kept]


@cache
def _version() -> str:
    """Verdicts found by other code are not this one's."""
    sources = [Path(str(module.__file__)) for module in (audio, audio_fingerprint)]
    return digest([audio.DECODER, *(path.read_text("utf-8") for path in (Path(__file__), *sources))])


def _read_ledger(path: Path, contents: list[str]) -> tuple[str, Verdicts]:
    """Digest of the contents that were settled, and the verdicts on these contents."""
    whole = {content[:_KEPT]: content for content in contents}
    try:
        ledger = json.loads(path.read_text("utf-8"))
        if ledger["version"] != _version():
            return "", {}
        pairs = [(line.split(), same) for same in (True, False) for line in ledger[_NAMES[same]]]
        verdicts = {(whole[a], whole[b]): same for (a, b), same in pairs if a in whole and b in whole}
        return str(ledger["settled"]), verdicts
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return "", {}  # only a cache


def _write_ledger(path: Path, settled: str, verdicts: Verdicts) -> None:
    lines = {
        name: [f"{a[:_KEPT]} {b[:_KEPT]}" for (a, b), found in verdicts.items() if found is same]
        for same, name in _NAMES.items()
    }
    write_text(path, json.dumps({"version": _version(), "settled": settled, **lines}))


T = TypeVar("T", bound=Hashable)


class Groups(Generic[T]):
    """Each thing is on its own until it is joined with another (union-find with halved paths)."""

    def __init__(self, pairs: Iterable[tuple[T, T]] = ()) -> None:
        self._above: dict[T, T] = {}
        for first, second in pairs:
            self.join(first, second)

    def of(self, thing: T) -> T:
        """The one thing that stands for the group of `thing`."""
        above = self._above
        while (parent := above.get(thing, thing)) != thing:
            above[thing] = above.get(parent, parent)
            thing = parent
        return thing

    def join(self, first: T, second: T) -> None:
        """Make one group of two."""
        self._above[self.of(first)] = self.of(second)
