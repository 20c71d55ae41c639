"""Check every audio file of a corpus before training: hash it, decode it, find bad files and duplicates.

Results are cached by the file's path, size and times, so an unchanged corpus is not read again.
"""

import gc
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Literal, NamedTuple

from marsbench.atomic_files import home, read_checksummed, write_checksummed
from marsbench.data.audio import (
    DECODER,
    Waveform,
    decode_with_channels,
    is_far_beyond_full_scale,
    read_bytes,
)
from marsbench.data.compressed import HEAD, decoder_of, pyav
from marsbench.data.corpus import AudioFacts, BadClip, CheckedCorpus, Clip, ClipSource, Corpus
from marsbench.data.corpus_options import Channel
from marsbench.data.duplicates import compute_fingerprint, fingerprint_vector, near_duplicates
from marsbench.data.segments import SegmentedFile, content_of
from marsbench.environment import no_search_for_cycles
from marsbench.errors import AudioError, CorpusError, DamagedError, raise_machine_fault
from marsbench.hashing import digest
from marsbench.progress import Advance, Progress, Silent
from marsbench.versions import versions_of

OnBad = Literal["skip", "fail"]
_SHOWN = 5
_PART = 20_000
"""Clips of a cache file."""
_VERSION = digest([DECODER, *versions_of("audio_facts")])
"""Facts that other code or another decoder found are not used."""


Sources = Sequence[ClipSource]
"""One file, or segments of one."""
Heard = Callable[[ClipSource, AudioFacts, Waveform, float], None]
"""Is given a usable clip, what was found of it, its waveform, and the seconds that reading it took."""


class Examiner(NamedTuple):
    """How files are examined, and what screens call that."""

    label: str
    examine_all: Callable[[Sequence[Sources]], Iterable[list[AudioFacts]]]
    """Facts of the clips of each file, in the order of the files."""


def examined_here(files: Sequence[Sources]) -> Iterator[list[AudioFacts]]:
    """Facts of each file; threads suffice, as libsndfile and sha256 release Python's interpreter lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(examine_file, files)


EXAMINED_HERE = Examiner("Checking audio", examined_here)


def check_audio(
    corpus: Corpus,
    on_bad: OnBad = "skip",
    progress: Progress | None = None,
    examiner: Examiner = EXAMINED_HERE,
) -> CheckedCorpus:
    """Examine every clip, keep the usable ones, ordered by clip id, and find near duplicates among them.

    Segments of one file are ordered by their times. `examiner` gets the files that are not known yet.

    Raises:
        CorpusError: bad clips and `on_bad` is "fail", or a class without a usable clip.
    """
    progress = progress or Silent()
    clips = sorted(corpus.clips, key=_place)
    with progress.track(examiner.label, len(clips)) as advance:
        facts = [found for part in _parts(clips) for found in _examine_cached(part, advance, examiner)]
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
    near = near_duplicates([(clip.source, f) for clip, f in good], _cache_file("duplicates", clips), progress)
    near = tuple(sorted({*near, *_overlapping(good)}))
    return CheckedCorpus(corpus, tuple(c for c, _ in good), tuple(f for _, f in good), bad, near)


def _place(clip: Clip) -> tuple[str, float, str]:
    if clip.start is None:
        return clip.id, 0.0, clip.id
    return clip.id.rpartition("#")[0], clip.start, clip.id


def _overlapping(good: list[tuple[Clip, AudioFacts]]) -> Iterator[tuple[str, str]]:
    """Contents of segments that share samples: pairs that connect all that do, directly or by others."""
    furthest: dict[str, tuple[float, str]] = {}
    for clip, facts in sorted(good, key=lambda one: one[0].start or 0.0):
        end = inf if clip.end is None else clip.end
        reached, content = furthest.get(facts.sha256, (0.0, ""))
        if (clip.start or 0.0) < reached and content != facts.content:
            yield min(content, facts.content), max(content, facts.content)
        if end > reached:
            furthest[facts.sha256] = end, facts.content


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


def _cache_file(kind: str, clips: Sequence[Clip]) -> Path:
    """Cache file for these clips, whatever their order."""
    return home() / kind / f"{digest(sorted({str(clip.path.absolute()) for clip in clips}))[:32]}.json"


def known_facts(clips: Iterable[Clip]) -> dict[str, AudioFacts]:
    """What `check_audio` found of usable clips whose files have not changed since, by id; opens no audio."""
    found: dict[str, AudioFacts | None] = {}
    for part in _parts(sorted(clips, key=_place)):
        known = _read_cache(_cache_file("audio", part))
        found |= {clip.id: known.get(_stamp(clip.source)) for clip in part} if known else {}
    return {clip: facts for clip, facts in found.items() if facts and not facts.problem}


def _parts(clips: Sequence[Clip]) -> Iterator[Sequence[Clip]]:
    """Clips that share a cache file: what is found of so many is written before others are looked at."""
    return (clips[start : start + _PART] for start in range(0, len(clips), _PART))


@no_search_for_cycles()
def _examine_cached(clips: Sequence[Clip], advance: Advance, examiner: Examiner) -> list[AudioFacts]:
    stamps = [_stamp(clip.source) for clip in clips]
    path = _cache_file("audio", clips)
    found_by = {"", pyav()}  # another version of PyAV may decode otherwise
    known = {stamp: facts for stamp, facts in _read_cache(path).items() if facts.decoder in found_by}
    unknown = {clip.source: stamp for stamp, clip in zip(stamps, clips, strict=True) if stamp not in known}
    advance(len(clips) - len(unknown))
    if unknown:
        files = _files_of(unknown)
        try:
            for file, found in zip(files, examiner.examine_all(files), strict=True):
                known |= {unknown[source]: facts for source, facts in zip(file, found, strict=True)}
                advance(len(file))
        finally:  # also after Ctrl-C
            _write_cache(path, known)
        gc.collect(0)  # PyAV's containers are cycles
    return [known[stamp] for stamp in stamps]


def _files_of(sources: Iterable[ClipSource]) -> list[list[ClipSource]]:
    """Clips that are whole files one by one, then the segments of each file."""
    whole: list[list[ClipSource]] = []
    segments: dict[Path, list[ClipSource]] = {}
    for source in sources:
        if source.start is None:
            whole.append([source])
        else:
            segments.setdefault(source.path, []).append(source)
    return [*whole, *segments.values()]


def _ignore(_source: ClipSource, _facts: AudioFacts, _waveform: Waveform, _seconds: float) -> None:
    pass


def examine_file(sources: Sources, heard: Heard = _ignore) -> list[AudioFacts]:
    """Facts of one file, or of segments of one, whose usable clips are given to `heard`.

    Raises:
        StorageError: this machine cannot read it at the moment.
    """
    if sources[0].start is None:
        return [_examine_whole(sources[0], heard)]
    return _examine_segments(sources, heard)


def examine(path: Path, channel: Channel = "mix") -> AudioFacts:
    """Read, hash, decode and check one file; what is wrong with it is returned as `problem`.

    Raises:
        StorageError: this machine cannot read it at the moment.
    """
    return examine_file([ClipSource(path, None, None, channel)])[0]


def _examine_whole(source: ClipSource, heard: Heard) -> AudioFacts:
    sha256 = decoder = ""
    start = time.perf_counter()
    try:
        data = read_bytes(source.path)
        sha256 = hashlib.sha256(data).hexdigest()
        decoder = decoder_of(data[:HEAD])
        waveform, channels = decode_with_channels(data, channel=source.channel)
        seconds = time.perf_counter() - start
        facts = replace(_facts(sha256, waveform, channels), decoder=decoder)
    except AudioError as error:
        raise_machine_fault(error)
        return AudioFacts(sha256=sha256, problem=str(error), decoder=decoder)
    heard(source, facts, waveform, seconds)
    return facts


def _examine_segments(sources: Sources, heard: Heard) -> list[AudioFacts]:
    """Facts of segments of one file, which is read once; `sha256` is that of the whole file."""
    path, channel = sources[0].path, sources[0].channel
    facts = [AudioFacts()] * len(sources)
    sha256 = ""
    try:
        with SegmentedFile(path, channel) as file:
            sha256 = file.sha256()
            for number in sorted(range(len(sources)), key=lambda number: sources[number].start or 0.0):
                facts[number] = _examine_segment(file, sha256, sources[number], heard)
    except AudioError as error:
        raise_machine_fault(error)
        facts = [AudioFacts(sha256=sha256, problem=str(error))] * len(sources)
    return facts


def _examine_segment(file: SegmentedFile, sha256: str, source: ClipSource, heard: Heard) -> AudioFacts:
    start = time.perf_counter()
    try:
        waveform = file.read(source.start or 0.0, source.end)
        seconds = time.perf_counter() - start
        facts = replace(_facts(sha256, waveform, file.channels), decoder=file.decoder)
    except AudioError as error:
        raise_machine_fault(error)
        return AudioFacts(sha256=sha256, problem=str(error), decoder=file.decoder)
    heard(source, facts, waveform, seconds)
    return facts


def _facts(sha256: str, waveform: Waveform, channels: int) -> AudioFacts:
    return AudioFacts(
        sha256=sha256,
        content=content_of(waveform),
        sample_rate=waveform.sample_rate,
        channels=channels,
        seconds=waveform.seconds,
        audio_fingerprint=compute_fingerprint(waveform.samples, waveform.sample_rate),
        peak=waveform.peak,
        rms=waveform.rms,
    )


def _stamp(source: ClipSource) -> str:
    """Path, size, times and mode, which change with the file; tools can restore its mtime, not its ctime."""
    try:
        status = source.path.stat()
        facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode)
    except OSError:
        facts = (-1, -1, -1, -1)
    part = () if source.start is None else (source.start, source.end)
    channel = () if source.channel == "mix" else (source.channel,)
    return json.dumps([str(source.path.absolute()), *facts, *part, *channel])


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
    entries = {
        stamp: {name: getattr(entry, name) for name in AudioFacts.__slots__}
        for stamp, entry in facts.items()
        if entry.sha256
    }
    write_checksummed(path, json.dumps({"version": _VERSION, "facts": entries}))
