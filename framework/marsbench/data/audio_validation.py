"""Check every audio file of a corpus before training: hash it, decode it, find bad files and duplicates.

Results are cached by the file's path, size and times, so an unchanged corpus is not read again.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from marsbench.atomic_files import home, read_checksummed, write_checksummed
from marsbench.data.audio import (
    DECODER,
    Waveform,
    decode_with_channels,
    is_far_beyond_full_scale,
    read_bytes,
)
from marsbench.data.corpus import AudioFacts, BadClip, CheckedCorpus, Clip, Corpus
from marsbench.data.duplicates import compute_fingerprint, fingerprint_vector, near_duplicates
from marsbench.errors import AudioError, CorpusError, DamagedError, raise_machine_fault
from marsbench.hashing import digest
from marsbench.progress import Progress, Silent
from marsbench.versions import versions_of

OnBad = Literal["skip", "fail"]
_SHOWN = 5
_VERSION = digest([DECODER, *versions_of("audio_facts")])
"""Facts that other code or another decoder found are not used."""


def check_audio(corpus: Corpus, on_bad: OnBad = "skip", progress: Progress | None = None) -> CheckedCorpus:
    """Examine every clip, keep the usable ones, ordered by clip id, and find near duplicates among them.

    Raises:
        CorpusError: bad clips and `on_bad` is "fail", or a class without a usable clip.
    """
    progress = progress or Silent()
    clips = sorted(corpus.clips, key=lambda clip: clip.id)
    facts = _examine_cached(clips, progress)
    bad = tuple(BadClip(c.id, f.problem) for c, f in zip(clips, facts, strict=True) if f.problem)
    if bad and on_bad == "fail":
        raise CorpusError(
            f"corpus '{corpus.name}': {describe_bad(bad)}; repair or remove them, or use --bad-audio skip"
        )
    good = [(c, f) for c, f in zip(clips, facts, strict=True) if not f.problem]
    if missing := set(corpus.labels) - {clip.label for clip, _ in good}:
        because = f": {describe_bad(bad)}" if bad else ""
        raise CorpusError(f"corpus '{corpus.name}': no usable clip of class '{min(missing)}'{because}")
    corpus = _with_level_note(corpus, good, progress)
    near = near_duplicates([(clip.path, f) for clip, f in good], _cache_file("duplicates", clips), progress)
    return CheckedCorpus(corpus, tuple(c for c, _ in good), tuple(f for _, f in good), bad, near)


def _with_level_note(corpus: Corpus, good: list[tuple[Clip, AudioFacts]], progress: Progress) -> Corpus:
    """The corpus with a note, which `progress` is told, if clips are far beyond full scale."""
    loud = [(clip.id, facts.peak) for clip, facts in good if is_far_beyond_full_scale(facts.peak)]
    if not loud:
        return corpus
    note = (
        f"clips far beyond full scale, probably unscaled integers stored as floats: {len(loud):,}, such as "
        f"{loud[0][0]} ({loud[0][1]:,.3g} times full scale)"
    )
    progress.say(note)
    return replace(corpus, notes=(*corpus.notes, note))


def describe_bad(bad: tuple[BadClip, ...]) -> str:
    """The number of bad clips and the first few with their reasons, in one line."""
    first = "; ".join(f"{clip.id}: {clip.reason}" for clip in bad[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return f"{len(bad)} bad audio file{'s' if len(bad) > 1 else ''} ({first}{more})"


def _cache_file(kind: str, clips: list[Clip]) -> Path:
    """Cache file for these clips, whatever their order."""
    return home() / kind / f"{digest(sorted({str(clip.path.absolute()) for clip in clips}))[:32]}.json"


def _examine_cached(clips: list[Clip], progress: Progress) -> list[AudioFacts]:
    stamps = [_stamp(clip.path) for clip in clips]
    path = _cache_file("audio", clips)
    known = _read_cache(path)
    unknown = {stamp: clip.path for stamp, clip in zip(stamps, clips, strict=True) if stamp not in known}
    if unknown:
        known |= dict(zip(unknown, _examine_all(list(unknown.values()), progress), strict=True))
        _write_cache(path, known)
    return [known[stamp] for stamp in stamps]


def _examine_all(paths: list[Path], progress: Progress) -> list[AudioFacts]:
    """Facts of each file; threads suffice, as libsndfile and sha256 release Python's interpreter lock."""
    results = []
    with progress.track("Checking audio", len(paths)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
        for facts in pool.map(examine, paths):
            results.append(facts)
            advance(1)
    return results


def examine(path: Path) -> AudioFacts:
    """Read, hash, decode and check one file; what is wrong with it is returned as `problem`.

    Raises:
        StorageError: this machine cannot read it at the moment.
    """
    sha256 = ""
    try:
        data = read_bytes(path)
        sha256 = hashlib.sha256(data).hexdigest()
        waveform, channels = decode_with_channels(data)
    except AudioError as error:
        raise_machine_fault(error)
        return AudioFacts(sha256=sha256, problem=str(error))
    return AudioFacts(
        sha256=sha256,
        content=content_of(waveform),
        sample_rate=waveform.sample_rate,
        channels=channels,
        seconds=waveform.seconds,
        audio_fingerprint=compute_fingerprint(waveform.samples, waveform.sample_rate),
        peak=waveform.peak,
    )


def content_of(waveform: Waveform) -> str:
    """`AudioFacts.content` of a decoded mono waveform."""
    rate = waveform.sample_rate.to_bytes(4, "little")
    return hashlib.sha256(rate + waveform.samples.tobytes()).hexdigest()


def _stamp(path: Path) -> str:
    """Path, size, times and mode, which change with the file; tools can restore its mtime, not its ctime."""
    try:
        status = path.stat()
        facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode)
    except OSError:
        facts = (-1, -1, -1, -1)
    return json.dumps([str(path.absolute()), *facts])


def _read_cache(path: Path) -> dict[str, AudioFacts]:
    """Facts by stamp; empty if the file is missing, damaged or of another version of the code."""
    try:
        cache = json.loads(read_checksummed(path))
        if cache["version"] != _VERSION:
            return {}
        known = {stamp: AudioFacts(**facts) for stamp, facts in cache["facts"].items()}
        for facts in known.values():
            if facts.audio_fingerprint:
                fingerprint_vector(facts.audio_fingerprint)  # raises ValueError or TypeError if malformed
    except (OSError, DamagedError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # only a cache: the audio is examined again
    return known


def _write_cache(path: Path, facts: dict[str, AudioFacts]) -> None:
    # Failures to read a file are not cached: another user may have the permission.
    entries = {stamp: asdict(entry) for stamp, entry in facts.items() if entry.sha256}
    write_checksummed(path, json.dumps({"version": _VERSION, "facts": entries}))
