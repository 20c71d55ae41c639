"""Made corpora: no audio, only what protocols look at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marsbench.audio import AudioFacts
from marsbench.corpus import EMOTIONS, CheckedCorpus, Clip, Corpus

LABELS = ("b", "a", "c")
Make = Callable[..., CheckedCorpus]


def checked(
    clips: Sequence[Clip], labels: Sequence[str] = LABELS, copies: Sequence[tuple[int, int]] = ()
) -> CheckedCorpus:
    """Clips as a corpus; `copies` are pairs of rows with the same audio."""
    facts = [AudioFacts(sha256=clip.id, content=clip.id) for clip in clips]
    for first, second in copies:
        facts[second] = replace(facts[second], content=facts[first].content)
    return CheckedCorpus(Corpus("made", tuple(labels), tuple(clips)), tuple(clips), tuple(facts))


def made_corpus(
    n_speakers: int | None = 6,
    n_takes: int = 4,
    copies: Sequence[tuple[int, int]] = (),
    attributes: Callable[[int], Mapping[str, str]] = lambda _take: {},
) -> CheckedCorpus:
    """Clips of every class by every speaker, with attributes by take."""
    clips = [
        Clip(
            f"{speaker:02}-{label}-{take}",
            Path(),
            label,
            f"s{speaker}" if n_speakers else None,
            attributes(take),
        )
        for speaker in range(n_speakers or 6)
        for label in LABELS
        for take in range(n_takes)
    ]
    return checked(clips, copies=copies)


def made_ravdess(actors: Sequence[int] = range(1, 25)) -> CheckedCorpus:
    """Actors who speak two statements and sing one, named as those of RAVDESS."""
    clips = [
        Clip(
            f"{channel}/Actor_{actor:02}/{label}-{statement}",
            Path(),
            label,
            f"Actor_{actor:02}",
            {"channel": channel, "statement": statement},
        )
        for actor in actors
        for label in EMOTIONS
        for channel, statement in (("speech", "kids"), ("speech", "dogs"), ("song", "kids"))
    ]
    return checked(clips, EMOTIONS)


@pytest.fixture(scope="session")
def corpus() -> Make:
    """Make a corpus; see `made_corpus`."""
    return made_corpus


@pytest.fixture(scope="session")
def ravdess() -> Make:
    """Make a corpus like RAVDESS; see `made_ravdess`."""
    return made_ravdess


@pytest.fixture(scope="session")
def of_clips() -> Make:
    """Make a corpus of clips; see `checked`."""
    return checked


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a protocol file of some keys and give its path."""
    import json

    def written(file: str = "own.json", /, **values: Any) -> str:
        (tmp_path / file).write_text(json.dumps({"name": "own", "by": "speaker"} | values))
        return str(tmp_path / file)

    return written
