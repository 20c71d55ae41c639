"""Clips that a search never sees, and the winner's one answer to them.

Nothing is chosen, fitted or tuned on them, so the score of the winner there is not flattered by the search.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marsbench.automl.selection import HeldOutScore
from marsbench.config import Search
from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import ConfigError, unknown
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scoring import score_predictions
from marsbench.hashing import derived_seed

_DRAWS = 500
"""Sets of speakers, of which the one whose classes are most like the corpus's is held out."""
_LEAST_SPEAKERS = 2
"""That must be left."""


def without_held_out(corpus: CheckedCorpus, asked: Search) -> CheckedCorpus:
    """The corpus without the speakers or clips to be held out; copies of these are held out too.

    Raises:
        ConfigError: no such speaker, too few would be left, or a class would have no clip.
    """
    if asked.hold_out_speakers is not None:
        chosen = set(_speakers(corpus, asked.hold_out_speakers, asked.seed))
        rows = [row for row, speaker in enumerate(corpus.speakers) if speaker in chosen]
        what = f"hold-out-speakers {','.join(sorted(chosen))}"
    elif asked.hold_out_clips is not None:
        rows = _drawn_clips(corpus, asked.hold_out_clips, asked.seed)
        what = f"hold-out-clips {asked.hold_out_clips:g}"
    else:
        return corpus
    copies = {row for group in corpus.duplicates if not set(group).isdisjoint(rows) for row in group}
    held_out = copies.union(rows)
    left = {clip.label for row, clip in enumerate(corpus.clips) if row not in held_out}
    if lost := [label for label in corpus.labels if label not in left]:
        raise ConfigError(
            f"{what}: no clip of '{lost[0]}' would be left to train on; hold out fewer, or others"
        )
    return corpus.without(held_out)


def held_out_line(corpus: CheckedCorpus) -> str:
    """Which clips are held out of a corpus, for users to see before anything is computed."""
    names = sorted({clip.speaker for clip in corpus.held_out if clip.speaker is not None})
    speakers = f" of {len(names)} speakers ({', '.join(names)})" if names else ""
    return (
        f"Held out: {len(corpus.held_out):,} clips{speakers}. No fit, choice or score of the search sees "
        "them; the winner predicts them once, at the end."
    )


def _speakers(corpus: CheckedCorpus, words: Sequence[str], seed: int) -> list[str]:
    """The speakers that were named, or, for a number that is no speaker's name, as many that are drawn."""
    known = sorted({speaker for speaker in corpus.speakers if speaker is not None})
    if not known:
        raise ConfigError(
            f"hold-out-speakers: the corpus '{corpus.name}' names no speakers; hold-out-clips 0.2 keeps a "
            "fifth of the clips away"
        )
    is_number = len(words) == 1 and words[0].isdecimal() and words[0] not in known
    if missing := [word for word in words if word not in known and not is_number]:
        raise ConfigError(f"hold-out-speakers: {unknown('speaker', missing[0], known)}")
    n_held_out = int(words[0]) if is_number else len(words)
    if not 0 < n_held_out <= len(known) - _LEAST_SPEAKERS:
        raise ConfigError(
            f"hold-out-speakers: {n_held_out} of {len(known)} speakers; hold out at least 1, and leave at "
            f"least {_LEAST_SPEAKERS}"
        )
    return _drawn_speakers(corpus, known, n_held_out, seed) if is_number else list(words)


def _drawn_speakers(corpus: CheckedCorpus, known: list[str], n: int, seed: int) -> list[str]:
    """Speakers whose clips have about the same shares of classes as the corpus, and all if possible."""
    number = {speaker: position for position, speaker in enumerate(known)}
    counts = np.zeros((len(known), len(corpus.labels)))
    for speaker, target in zip(corpus.speakers, corpus.targets, strict=True):
        if speaker is not None:
            counts[number[speaker], target] += 1
    generator = np.random.default_rng(derived_seed(seed, "held out"))
    drawn = [generator.choice(len(known), n, replace=False) for _ in range(_DRAWS)]
    inside = np.array([counts[one].sum(axis=0) for one in drawn])
    missing = ((inside == 0) | (inside == counts.sum(axis=0))).sum(axis=1)
    shares = inside / inside.sum(axis=1, keepdims=True)
    uneven = np.abs(shares - counts.sum(axis=0) / counts.sum()).sum(axis=1)
    return [known[position] for position in sorted(drawn[int((missing + uneven / 2).argmin())])]


def _drawn_clips(corpus: CheckedCorpus, amount: float, seed: int) -> list[int]:
    """Rows of so many clips, or of such a share of all, the classes in proportion."""
    n_clips = len(corpus.clips)
    n_held_out = round(amount * n_clips) if amount < 1 else int(amount)
    if not 0 < n_held_out < n_clips:
        raise ConfigError(
            f"hold-out-clips {amount:g}: {n_held_out} of {n_clips} clips; hold out at least 1, and leave some"
        )
    generator = np.random.default_rng(derived_seed(seed, "held out"))
    shuffled = generator.permutation(n_clips)
    by_class = shuffled[np.argsort(corpus.targets[shuffled], kind="stable")]
    evenly = (np.arange(n_held_out) + generator.random()) * n_clips / n_held_out
    return sorted(by_class[evenly.astype(int)].tolist())


def held_out_score(
    run_id: str, clips: Sequence[Clip], labels: Sequence[str], probabilities: NDArray[np.floating]
) -> HeldOutScore:
    """What a winner's probabilities of the held-out clips, (n_clips, n_classes), come to."""
    predictions = Predictions(
        clips=tuple(clip.id for clip in clips),
        speakers=tuple(clip.speaker for clip in clips),
        folds=np.zeros(len(clips), np.int64),
        targets=np.array([labels.index(clip.label) for clip in clips], np.int64),
        labels=tuple(labels),
        probabilities=probabilities.astype(np.float32),
    )
    return HeldOutScore(
        run_id=run_id,
        speakers=sorted({clip.speaker for clip in clips if clip.speaker is not None}),
        clips=[clip.id for clip in clips],
        metrics=score_predictions(predictions),
    )
