"""Find near duplicates: clips of one recording that was resampled, scaled, trimmed, re-encoded or shifted.

Fingerprints (`audio_fingerprint`) select candidate pairs, cross-correlation of the waveforms decides. Both
thresholds come from the 2,452 clips of RAVDESS, in which 24 actors repeat two sentences, and from modified
duplicates of them.

Cosine similarity of fingerprints: at least 0.88 for 1,000 modified duplicates (resampled from 48 to 16 kHz
and back, silence trimmed, half as loud, clipped 6 dB above full scale, Vorbis, MP3, shifted by 1 %, and any
two of these); at least 0.8 for 63 of 3 million pairs of different clips. Correlation of waveforms: at least
0.96 for the duplicates; at most 0.58 for different clips, sustained sung notes included, among the 4,700
pairs with the nearest fingerprints. Of 40 duplicates as Opus at 6 kbit/s, the lowest bit rate, 36 are found.
A duplicate played faster or slower is not found.

Short sounds are similar by nature: different pieces of a quarter of a second reach a correlation of 0.9, of a
tenth of a second 0.96. So clips with less than half a second of sound need a higher correlation: of 11
million pairs of pieces of 0.5 s one is wrongly taken for a duplicate, of 0.25 s one, of 0.1 s none.

Each clip has at most 8 candidates among those after it, which bounds the cost for many similar clips. Where
that limit cut candidates off and duplicates were found, the search is repeated without the pairs that are
already in one group. Decisions are cached by the content of the two clips, so an unchanged corpus is not
compared again.
"""

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marsbench.atomic_files import read_checksummed, write_checksummed
from marsbench.data import audio, audio_fingerprint
from marsbench.data.audio import AudioFacts
from marsbench.errors import AudioError, DamagedError
from marsbench.hashing import digest
from marsbench.progress import Progress
from marsbench.versions import versions_of

if TYPE_CHECKING:  # importing SciPy's takes 0.4 s
    from scipy.cluster.hierarchy import DisjointSet

Pair = tuple[str, str]
"""`AudioFacts.content` of two clips, the lesser first."""
Decisions = dict[Pair, bool]
"""Whether the two clips are duplicates, by pair."""

_MIN_COSINE = 0.8
"""Smallest cosine similarity of two fingerprints whose clips are compared."""
_SECONDS = (0.1, 0.5)
_MIN_CORRELATION = (0.98, 0.8)
"""Smallest correlation of duplicates with so many effective seconds; linear in between."""
_MOST = 8
"""Candidates per clip among those after it."""
_BLOCK = 2048
"""Fingerprints multiplied at a time with as many others: 16 MiB of similarities."""
_LISTS = {True: "duplicates", False: "different"}
_DIGITS = 16
"""Digits of a content hash that the cache keeps."""
_VERSION = digest([audio.DECODER, *versions_of("duplicates")])
"""Decisions of other code are not used."""
_THREADS = min(os.cpu_count() or 1, 8)
"""Comparing two clips of 300 s takes 300 MB."""


def near_duplicates(
    clips: Iterable[tuple[Path, AudioFacts]], cache_file: Path, progress: Progress
) -> tuple[Pair, ...]:
    """Pairs that connect all clips of one recording with different content; cached in `cache_file`.

    Raises:
        AudioError: a clip can no longer be decoded.
    """
    known = {
        facts.content: (path, facts.audio_fingerprint) for path, facts in clips if facts.audio_fingerprint
    }
    contents = sorted(known)
    settled, decisions = _read_cache(cache_file, contents)
    if len(contents) > 1 and settled != digest(contents):
        vectors = np.array([audio_fingerprint.fingerprint_vector(known[content][1]) for content in contents])
        paths = {content: path for content, (path, _) in known.items()}
        _decide(contents, vectors, decisions, lambda pair: _compare(paths[pair[0]], paths[pair[1]]), progress)
        _write_cache(cache_file, digest(contents), decisions)
    return tuple(sorted(pair for pair, same in decisions.items() if same))


def _decide(
    contents: list[str],
    vectors: NDArray[np.float32],
    decisions: Decisions,
    compare: Callable[[Pair], bool],
    progress: Progress,
) -> None:
    """Add decisions until the positive ones connect every group of duplicates."""
    from scipy.cluster.hierarchy import DisjointSet

    groups = DisjointSet(contents)
    for pair, same in decisions.items():
        if same:
            groups.merge(*pair)
    complete, found = False, True
    while found and not complete:
        numbers = {content: number for number, content in enumerate(contents)}
        group_of = np.array([numbers[groups[content]] for content in contents], np.int64)
        rows, columns, complete = _candidates(vectors, group_of)
        pairs = [(contents[row], contents[column]) for row, column in zip(rows, columns, strict=True)]
        new = [pair for pair in pairs if pair not in decisions]
        found = _compare_all(new, groups, decisions, compare, progress)


def _compare_all(
    pairs: list[Pair],
    groups: "DisjointSet",
    decisions: Decisions,
    compare: Callable[[Pair], bool],
    progress: Progress,
) -> bool:
    """Compare pairs, except those that earlier comparisons have connected; whether any are duplicates."""
    if not pairs:
        return False
    before = sum(decisions.values())
    with progress.track("Comparing recordings", len(pairs)) as advance, ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(pairs), 4 * _THREADS):
            batch = pairs[start : start + 4 * _THREADS]
            open_pairs = [pair for pair in batch if not groups.connected(*pair)]
            for pair, same in zip(open_pairs, pool.map(compare, open_pairs), strict=True):
                decisions[pair] = same
                if same:
                    groups.merge(*pair)
            advance(len(batch))
    return sum(decisions.values()) > before


def _compare(first: Path, second: Path) -> bool:
    waveforms = _waveform(first), _waveform(second)
    seconds = min(map(audio_fingerprint.effective_seconds, waveforms))
    least = np.interp(seconds, _SECONDS, _MIN_CORRELATION)
    return bool(audio_fingerprint.max_correlation(*waveforms) >= least)


def _waveform(path: Path) -> NDArray[np.float32]:
    try:
        waveform = audio.decode(audio.read_bytes(path))
    except AudioError as error:
        raise AudioError(f"{path} has changed since it was checked: {error}") from error
    return audio_fingerprint.resample_normalised(waveform.samples, waveform.sample_rate)


def _candidates(
    vectors: NDArray[np.float32], group_of: NDArray[np.int64]
) -> tuple[list[int], list[int], bool]:
    """Pairs of similar fingerprints from different groups, most similar first.

    Returns:
        The first clip of each pair, the second, which comes later, and whether no pair was cut off.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    found = [_block_candidates(vectors, lengths, group_of, top) for top in range(0, len(vectors), _BLOCK)]
    rows, columns, cosines = (np.concatenate([part[0][n] for part in found]) for n in range(3))
    order = np.lexsort((columns, rows, -cosines))
    return rows[order].tolist(), columns[order].tolist(), all(part[1] for part in found)


Hits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Rows, columns, cosine similarities."""


def _block_candidates(
    vectors: NDArray[np.float32], lengths: NDArray[np.float32], group_of: NDArray[np.int64], top: int
) -> tuple[Hits, bool]:
    """Candidates of `_BLOCK` rows from `top` on, and whether none was cut off."""
    block, tiles, complete = slice(top, top + _BLOCK), [], True
    for left in range(top, len(vectors), _BLOCK):
        tile = slice(left, left + _BLOCK)
        cosines = vectors[block] @ vectors[tile].T  # exact: sums of small integers
        cosines /= lengths[block, None]
        cosines /= lengths[tile]
        cosines[group_of[block, None] == group_of[tile]] = -1
        if left == top:
            cosines[np.tri(len(cosines), dtype=bool)] = -1
        complete = not _mask_all_but_nearest(cosines) and complete
        rows, columns = np.nonzero(cosines >= _MIN_COSINE)
        tiles.append(_nearest((rows + top, columns + left, cosines[rows, columns])))
    rows, columns, found = (np.concatenate([hits[n] for hits in tiles]) for n in range(3))
    nearest = _nearest((rows, columns, found))
    return nearest, complete and len(nearest[0]) == len(rows)


def _mask_all_but_nearest(cosines: NDArray[np.float32]) -> bool:
    """Where many are similar, set all but the `_MOST` largest of each row to -1; whether that was done."""
    if np.count_nonzero(cosines >= _MIN_COSINE) <= _MOST * len(cosines) or cosines.shape[1] <= _MOST:
        return False
    least = np.partition(cosines, -_MOST, axis=1)[:, -_MOST]
    cosines[cosines < least[:, None]] = -1
    return True


def _nearest(hits: Hits) -> Hits:
    """The `_MOST` most similar of each row."""
    rows, columns, cosines = hits
    order = np.lexsort((columns, -cosines, rows))
    ordered = rows[order]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    kept = order[rank < _MOST]
    return rows[kept], columns[kept], cosines[kept]


def _read_cache(path: Path, contents: list[str]) -> tuple[str, Decisions]:
    """Digest of the contents that were fully compared, and the decisions on `contents`."""
    by_start = {content[:_DIGITS]: content for content in contents}
    try:
        cache = json.loads(read_checksummed(path))
        if cache["version"] != _VERSION:
            return "", {}
        pairs = [(line.split(), same) for same in (True, False) for line in cache[_LISTS[same]]]
        decisions = {
            (by_start[a], by_start[b]): same for (a, b), same in pairs if a in by_start and b in by_start
        }
        return str(cache["settled"]), decisions
    except (OSError, DamagedError, ValueError, TypeError, KeyError, AttributeError):
        return "", {}  # only a cache: the clips are compared again


def _write_cache(path: Path, settled: str, decisions: Decisions) -> None:
    lines = {
        name: [f"{a[:_DIGITS]} {b[:_DIGITS]}" for (a, b), found in decisions.items() if found is same]
        for same, name in _LISTS.items()
    }
    write_checksummed(path, json.dumps({"version": _VERSION, "settled": settled, **lines}))
