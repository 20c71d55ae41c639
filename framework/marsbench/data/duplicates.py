"""Find near duplicates: clips of one recording that was resampled, scaled, re-encoded, shifted, or cut.

Fingerprints select candidate pairs, cross-correlation of the waveforms decides. Both thresholds come from the
2,452 clips of RAVDESS, in which 24 actors repeat two sentences, and from modified duplicates of them.

Cosine similarity of fingerprints: at least 0.88 for 1,000 modified duplicates (resampled from 48 to 16 kHz
and back, silence trimmed, half as loud, clipped 6 dB above full scale, Vorbis, MP3, shifted by 1 %, and any
two of these); at least 0.7 for 711 of 3 million pairs of different clips. Correlation of waveforms: at least
0.96 for the duplicates; at most 0.58 for different clips, sustained sung notes included, among the 4,700
pairs with the nearest fingerprints. Of 40 duplicates as Opus at 6 kbit/s, the lowest bit rate, 36 are found.

Of excerpts, from whose speech a part was cut at the beginning, the end or both, not all are found: of 100
each 91 without a tenth of it, 75 without a fifth, 66 without three tenths, 13 without half. Most others fail
by their fingerprints. An excerpt correlates with its source where the two overlap. Dividing by the energies
there, each at least half of its waveform's, raises the correlation of no two different clips above 0.58
among the 1,030 pairs with the nearest fingerprints. A duplicate played faster or slower, even by 0.5 %, is
not found: its waveform runs out of step.

Short sounds are similar by nature: different pieces of a quarter of a second reach a correlation of 0.9, of a
tenth of a second 0.96. So clips with less than half a second of sound need a higher correlation: of 11
million pairs of pieces of 0.5 s one is wrongly taken for a duplicate, of 0.25 s one, of 0.1 s none.

A fingerprint is computed from the power in eight frequency bands below 3.5 kHz, 62.5 frames a second. The
Fourier transform of each band's power over time is taken at 0.5, 1, ... 16 Hz. A time shift changes the phase
of all bands equally, so the product of one band's transform with the conjugate of the next band's does not
depend on it. Dividing each product by the square root of its magnitude keeps loud passages from dominating;
the overall scale only reflects gain and is normalised away.

Steady tones have no fingerprint: a tone correlates with itself at every period and with any other tone of its
pitch, so a duplicate could not be told from another take. No 0.1 s of RAVDESS or of noise is that steady.

Similar fingerprints are found by near_pairs.py; of many clips not every two are compared, which is said.
Each clip has at most 8 candidates among those after it. Where that limit cut candidates off, the search goes
on with twice as many, without pairs that are decided or already in one group, until none is cut off. Where it
stops at a limit of comparisons, as for thousands of similar clips, that is said. Decisions are cached by the
content of the two clips, so an unchanged corpus is not compared again.
"""

import base64
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr
from numpy.typing import NDArray

from marsbench.atomic_files import read_checksummed, write_checksummed
from marsbench.data import audio
from marsbench.data.corpus import AudioFacts, ClipSource
from marsbench.data.near_pairs import EXHAUSTIVE, EXPECTED, similar_pairs
from marsbench.data.segments import LastFile, batches_of, in_order, read_clip
from marsbench.errors import AudioError, DamagedError
from marsbench.hashing import digest
from marsbench.progress import Advance, Progress
from marsbench.versions import versions_of

if TYPE_CHECKING:  # importing SciPy's takes 0.4 s
    from scipy.cluster.hierarchy import DisjointSet

Pair = tuple[str, str]
"""`AudioFacts.content` of two clips, the lesser first."""
Waveforms = dict[ClipSource, NDArray[np.float32]]
Spectrum = NDArray[np.complex128]
Decisions = dict[Pair, bool]
"""Whether the two clips are duplicates, by pair."""

RATE = 8_000
"""Sample rate in Hz of the waveforms that are compared; narrowband codecs keep half of it."""
_FRAME, _HOP = 256, 128
_LEVEL_BLOCK = RATE // 50
"""Samples per block of `effective_seconds`."""
_BANDS = np.geomspace(100, 3_500, 9)
"""Band edges in Hz."""
_STEADY = 0.01
"""Largest power variation of a steady tone relative to its mean; 0.1 s of speech varies by 0.026 or more."""
_SILENCE = 1e-6
"""Power of a frame 96 dB below the loudest possible."""
_MODULATIONS = np.arange(0.5, 16.25, 0.5)
"""Modulation frequencies in Hz: the range of speech; 0.5 Hz is the resolution of a clip of two seconds."""
SIZE = 2 * len(_MODULATIONS) * (len(_BANDS) - 2)
"""Values per fingerprint: real and imaginary parts of 32 modulation frequencies by 7 pairs of bands."""

_SECONDS = (0.1, 0.5)
_MIN_CORRELATION = (0.98, 0.8)
"""Smallest correlation of duplicates with so many effective seconds; linear in between."""
_EXCERPT_SECONDS = 0.75
"""Effective seconds of sound from which on a clip may be an excerpt of another."""
_MIN_OVERLAP = 0.5
"""Share of each clip's energy that an excerpt and its source must have in common."""
_MOST = 8
"""Candidates per clip among those after it, in the first round; each round doubles it."""
_MOST_PAIRS = 10_000
"""Most comparisons besides `_MOST` for each clip."""
_KEPT = 20_000
"""Comparisons after which all decisions are written: a minute's, of short clips."""
_LISTS = {True: "duplicates", False: "different"}
_DIGITS = 16
"""Digits of a content hash that the cache keeps."""
_VERSION = digest([audio.DECODER, *versions_of("duplicates")])
"""Decisions of other code are not used."""
_THREADS = min(os.cpu_count() or 1, 8)
"""Comparing two clips of 300 s takes 300 MB."""


def near_duplicates(
    clips: Iterable[tuple[ClipSource, AudioFacts]], cache_file: Path, progress: Progress
) -> tuple[Pair, ...]:
    """Pairs that connect all clips of one recording with different content; cached in `cache_file`.

    `progress` is told if not every two fingerprints, or not all candidates, are compared.

    Raises:
        AudioError: a clip can no longer be decoded.
    """
    known = {
        facts.content: (source, facts.audio_fingerprint) for source, facts in clips if facts.audio_fingerprint
    }
    contents = sorted(known)
    settled, is_complete, decisions = _read_cache(cache_file, contents)
    if len(contents) > 1 and settled != digest(contents):
        vectors = np.empty((len(contents), SIZE), np.int8)
        for row, content in enumerate(contents):
            vectors[row] = fingerprint_vector(known[content][1])
        sources = {content: known[content][0] for content in contents}
        settled, is_complete = "", False
        keep = partial(_write_cache, cache_file, decisions=decisions)
        try:
            is_complete = _decide(sources, vectors, decisions, progress, partial(keep, settled, is_complete))
            settled = digest(contents)
        finally:  # also after Ctrl-C
            keep(settled, is_complete)
    if len(contents) > EXHAUSTIVE:
        progress.say(
            f"near duplicates: {len(contents):,} clips are too many to compare every two fingerprints; hash "
            f"tables find about {EXPECTED}. Changed copies have 0.88 or more, excerpts may have less"
        )
    if not is_complete:
        progress.say(
            "near duplicates: more clips sound alike than are compared; of similar pairs only "
            f"{_most_compared(len(contents)):,} were, so a duplicate among the others is not found"
        )
    return tuple(sorted(pair for pair, same in decisions.items() if same))


def _most_compared(n_clips: int) -> int:
    return _MOST_PAIRS + _MOST * n_clips


def _decide(
    sources: dict[str, ClipSource],
    vectors: NDArray[np.int8],
    decisions: Decisions,
    progress: Progress,
    keep: Callable[[], None],
) -> bool:
    """Add decisions until the positive ones connect every group; whether every candidate was compared.

    `keep` writes them, now and then.
    """
    from scipy.cluster.hierarchy import DisjointSet

    contents = list(sources)
    numbers = {content: number for number, content in enumerate(contents)}
    groups = DisjointSet(contents)
    for pair, same in decisions.items():
        if same:
            groups.merge(*pair)
    most, left, is_cut = _MOST, _most_compared(len(contents)), np.ones(len(contents), bool)
    while is_cut.any() and left > 0:
        group_of = np.array([numbers[groups[content]] for content in contents], np.int64)
        rows, columns, is_cut = similar_pairs(vectors, group_of, most, is_cut)
        pairs = [(contents[row], contents[column]) for row, column in zip(rows, columns, strict=True)]
        new = [pair for pair in pairs if pair not in decisions]
        compared = new[:left]
        with progress.track("Comparing recordings", len(compared)) as advance:
            for start in range(0, len(compared), _KEPT):
                if start:
                    keep()
                _compare_all(compared[start : start + _KEPT], sources, groups, decisions, advance)
        most, left = 2 * most, left - len(new)
    return left >= 0 and not is_cut.any()


def _compare_all(
    pairs: list[Pair],
    sources: dict[str, ClipSource],
    groups: "DisjointSet",
    decisions: Decisions,
    advance: Advance,
) -> None:
    """Compare pairs, except those that earlier comparisons have connected."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in batches_of(pairs, sources, 4 * _THREADS):
            open_pairs = [pair for pair in batch if not groups.connected(*pair)]
            kept = _segments(sources[content] for pair in open_pairs for content in pair)
            compare = partial(_are_duplicates, sources, kept)
            results = pool.map(compare, open_pairs)
            for pair, same in zip(open_pairs, results, strict=True):
                decisions[pair] = same
                if same:
                    groups.merge(*pair)
            advance(len(batch))


def _segments(sources: Iterable[ClipSource]) -> Waveforms:
    """Waveforms at `RATE` of those that are segments, each file read in one pass."""
    with LastFile() as opened:
        return {source: _at_rate(source, opened.read) for source in in_order(sources)}


def _are_duplicates(sources: dict[str, ClipSource], kept: Waveforms, pair: Pair) -> bool:
    places = [sources[content] for content in pair]
    waveforms = [kept[place] if place in kept else _at_rate(place, read_clip) for place in places]
    seconds = min(map(effective_seconds, waveforms))
    least = float(np.interp(seconds, _SECONDS, _MIN_CORRELATION))
    whole = max_correlation(*waveforms)
    if whole >= least or seconds < _EXCERPT_SECONDS or whole < _MIN_OVERLAP * least:
        return whole >= least
    return overlap_correlation(*waveforms) >= least


def _at_rate(source: ClipSource, read: Callable[[ClipSource], audio.Waveform]) -> NDArray[np.float32]:
    try:
        waveform = read(source)
    except AudioError as error:
        raise AudioError(f"{source.path} has changed since it was checked: {error}") from error
    return resample_normalised(waveform.samples, waveform.sample_rate)


def _read_cache(path: Path, contents: list[str]) -> tuple[str, bool, Decisions]:
    """Digest of the contents that were compared, whether fully, and the decisions on `contents`."""
    by_start = {content[:_DIGITS]: content for content in contents}
    try:
        cache = json.loads(read_checksummed(path))
        if cache["version"] != _VERSION:
            return "", True, {}
        pairs = [(line.split(), same) for same in (True, False) for line in cache[_LISTS[same]]]
        decisions = {
            (by_start[a], by_start[b]): same for (a, b), same in pairs if a in by_start and b in by_start
        }
        return str(cache["settled"]), bool(cache["complete"]), decisions
    except (OSError, DamagedError, ValueError, TypeError, KeyError, AttributeError):
        return "", True, {}  # only a cache: the clips are compared again


def _write_cache(path: Path, settled: str, is_complete: bool, decisions: Decisions) -> None:
    lines = {
        name: [f"{a[:_DIGITS]} {b[:_DIGITS]}" for (a, b), found in decisions.items() if found is same]
        for same, name in _LISTS.items()
    }
    about = {"version": _VERSION, "settled": settled, "complete": is_complete}
    write_checksummed(path, json.dumps(about | lines))


def compute_fingerprint(samples: NDArray[np.float32], sample_rate: int) -> str:
    """Fingerprint of mono samples (n_samples,), as base64 of `SIZE` signed bytes.

    Empty for a steady tone and for a clip without energy in the bands.
    """
    at_rate = resample_normalised(samples, sample_rate)
    power = _band_power(at_rate)
    loudness = power[2 : len(at_rate) // _HOP].sum(axis=1)  # of the frames that do not overlap the padding
    if np.ptp(loudness) <= _STEADY * loudness.mean() + _SILENCE:
        return ""
    times = np.arange(len(power)) * (_HOP / RATE)
    rotations = np.exp(-2j * np.pi * np.outer(_MODULATIONS, times)).astype(np.complex64)
    spectrum = np.einsum("mt,tb->mb", rotations, power)  # not BLAS, whose last digits differ by machine
    cross = spectrum[:, :-1] * spectrum[:, 1:].conj()
    root = np.sqrt(np.abs(cross))
    vector = np.divide(cross, root, out=np.zeros_like(cross), where=root > 0).view(np.float32).ravel()
    largest = np.abs(vector).max()
    if not largest > 0:
        return ""
    return base64.b64encode(np.rint(vector * (127 / largest)).astype(np.int8).tobytes()).decode()


def fingerprint_vector(text: str) -> NDArray[np.float32]:
    """Decode a fingerprint into integers (SIZE,); dot products of two of them are exact in float32.

    Raises:
        ValueError: `text` is not a fingerprint.
    """
    vector = np.frombuffer(base64.b64decode(text, validate=True), np.int8)
    if len(vector) != SIZE or not vector.any():
        raise ValueError(f"{len(vector)} bytes are not an audio fingerprint, which has {SIZE}")
    return vector.astype(np.float32)


def resample_normalised(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Samples scaled to a peak of 1, then resampled to `RATE`."""
    normalised = np.asarray(samples / np.abs(samples).max(), np.float32)
    return np.asarray(soxr.resample(normalised, sample_rate, RATE, quality="LQ"), np.float32)


def max_correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Largest absolute normalised cross-correlation of two waveforms at `RATE` over all shifts, 0 to 1.

    Frequencies below 100 Hz (hum, offset) are left out. Shifts have a resolution of half a sample.
    """
    size, a, b = _spectra(first, second)
    energy = np.sqrt(np.vdot(a, a).real * np.vdot(b, b).real)
    correlation = np.fft.irfft(a * b.conj(), 2 * size)
    # irfft divides by its length and counts every frequency twice.
    return min(1.0, float(max(correlation.max(), -correlation.min()) * size / energy)) if energy > 0 else 0.0


def overlap_correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The same, normalised for each shift by the energies of the parts that overlap: 1 for an excerpt.

    A part with less than `_MIN_OVERLAP` of its waveform's energy counts as if it had so much.
    """
    size, a, b = _spectra(first, second)
    sums = [
        np.concatenate([[0.0], np.cumsum(np.fft.irfft(spectrum, size)[: len(samples)] ** 2)])
        for spectrum, samples in ((a, first), (b, second))
    ]
    shifts = np.arange(2 * size) // 2
    shifts[shifts >= len(first)] -= size
    overlaps = shifts > -len(second)
    shifts = np.maximum(shifts, -len(second))
    ends = [
        (np.maximum(0, shifts), np.minimum(len(first), len(second) + shifts)),
        (np.maximum(0, -shifts), np.minimum(len(second), len(first) - shifts)),
    ]
    parts = [
        np.maximum(energy[end] - energy[start], _MIN_OVERLAP * energy[-1])
        for energy, (start, end) in zip(sums, ends, strict=True)
    ]
    correlation = np.abs(np.fft.irfft(a * b.conj(), 2 * size)) * 2 * overlaps
    norm = np.sqrt(parts[0] * parts[1])
    return min(1.0, float(np.divide(correlation, norm, out=np.zeros_like(norm), where=norm > 0).max()))


def _spectra(first: NDArray[np.float32], second: NDArray[np.float32]) -> tuple[int, Spectrum, Spectrum]:
    """A length that holds both waveforms at every shift, and their spectra, without what is below 100 Hz."""
    size = 1 << (len(first) + len(second) - 1).bit_length()
    a, b = (np.fft.rfft(waveform, size) for waveform in (first, second))
    for spectrum in (a, b):
        spectrum[: round(_BANDS[0] * size / RATE)] = 0
    return size, a, b


def effective_seconds(samples: NDArray[np.float32]) -> float:
    """Duration of a waveform at `RATE` weighted by level: (sum of levels)^2 / sum of squared levels.

    Equals the duration for constant level; silence adds nothing.
    """
    blocks = samples[: len(samples) // _LEVEL_BLOCK * _LEVEL_BLOCK].reshape(-1, _LEVEL_BLOCK)
    levels = np.sqrt((blocks**2).mean(axis=1))
    power = float((levels**2).sum())
    return float(levels.sum()) ** 2 / power * _LEVEL_BLOCK / RATE if power > 0 else 0.0


def _band_power(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power by frame and band, (n_frames, n_bands)."""
    padded = np.pad(samples, _FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    frequencies = np.arange(_FRAME // 2 + 1) * (RATE / _FRAME)
    bands = [(low <= frequencies) & (frequencies < high) for low, high in pairwise(_BANDS)]
    return np.asarray(np.einsum("tf,bf->tb", power, np.array(bands, np.float32)), np.float32)
