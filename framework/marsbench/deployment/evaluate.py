"""How good a bundle is on a labelled corpus, beside what its run promised.

Every clip is predicted as `bench predict` does, among all classes of the bundle. A class of the corpus that
is one of the bundle's by another word of the field counts as that one. Clips of classes that the bundle lacks
are left out; a class of the bundle that the corpus lacks can still be predicted, which is wrong.
The promise, where the corpus lacks classes, is that of the others: scores of the run's confusion matrix
without the clips of those classes, with the interval's width times the root of all clips over those that are
left.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt
from typing import Literal

import numpy as np

from marsbench.data.corpus import BadClip, CheckedCorpus, Clip
from marsbench.data.labels import standard_name
from marsbench.data.segments import LastFile, content_of
from marsbench.deployment.bundle_files import AnyBundle, Sample
from marsbench.deployment.bundle_record import BaseRecord, Origin
from marsbench.deployment.prediction import Prediction
from marsbench.errors import BenchError, CorpusError, DamagedError
from marsbench.evaluation.formulas import Confusion, confusion
from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Metrics, Score
from marsbench.evaluation.scoring import score_predictions
from marsbench.progress import Progress, Silent
from marsbench.protocols.splitting import value_of

HELD = ("accuracy", "macro_f1", "uar")
"""Metrics that are held against the promise."""
_JUDGED_BY = "uar"
"""Does not depend on how frequent each class is, which differs between corpora."""
_LEAST_CLASSES = 2
Place = Literal["inside", "above", "below"]


@dataclass(frozen=True)
class Promise:
    """What the bundle's run says of the classes that are evaluated."""

    origin: Origin
    scores: dict[str, Score]
    """By metric."""
    n_left_out: int
    """Classes of the run that are not evaluated; the scores are those of the others."""

    @property
    def judged_by(self) -> str:
        """The metric that decides whether a score is inside the promise; older runs lack UAR."""
        return _JUDGED_BY if _JUDGED_BY in self.scores else RANKED_BY


@dataclass(frozen=True)
class Evaluation:
    """A bundle's predictions of a corpus, and what they come to."""

    record: BaseRecord
    corpus: str
    """Its name."""
    predictions: Predictions
    """All evaluated clips in one fold; `labels` are the bundle's."""
    clips: tuple[Clip, ...]
    """These clips, with the bundle's words for their classes."""
    renamed: dict[str, str]
    """Classes of the bundle by the corpus's word for them, where that is another."""
    left_out: dict[str, int]
    """Clips by class that the bundle lacks."""
    bad: tuple[BadClip, ...]
    """Clips that cannot be used, with the reason."""
    n_narrowband: int
    """Clips of a lower sample rate than any training clip has."""
    n_unlike: int | None
    """Clips that are unlike the training clips, see `Prediction.is_unlike`; None if it is not measured."""
    seen: str | None
    """Why clips are known to be those that the model was trained on; None if nothing says so."""

    def __repr__(self) -> str:
        return f"<Evaluation of {self.record.title} on {self.corpus}: {self.n_clips} clips>"

    @property
    def n_clips(self) -> int:
        """How many clips were predicted."""
        return len(self.predictions.clips)

    @cached_property
    def metrics(self) -> Metrics:
        """Scores with their 95 % intervals, over the classes that both have."""
        return score_predictions(self.predictions)

    @property
    def absent(self) -> list[str]:
        """Classes of the bundle that no evaluated clip has."""
        there = {entry.label for entry in self.metrics.classes}
        return [label for label in self.predictions.labels if label not in there]

    @property
    def n_of_absent(self) -> int:
        """How many clips were predicted to be of such a class."""
        return int(np.isin(self.predictions.labels, self.absent)[self.predictions.predicted].sum())

    @property
    def most_predicted(self) -> tuple[str, int]:
        """The class that is predicted most often, and how often."""
        counts = np.bincount(self.predictions.predicted, minlength=self.predictions.n_classes)
        return self.predictions.labels[int(counts.argmax())], int(counts.max())

    @property
    def among_common(self) -> dict[str, float]:
        """Scores if the classes that the corpus lacks could not be predicted."""
        there = ~np.isin(self.predictions.labels, self.absent)
        probabilities = np.where(there, self.predictions.probabilities, -1)
        matrix = confusion(self.predictions.targets, probabilities)
        return {name: float(METRICS[name].of(matrix)) for name in HELD}

    @cached_property
    def promised(self) -> Promise | None:
        """What the bundle's run promised; None for one that was not exported from a run."""
        origin = self.record.origin
        if origin is None:
            return None
        return Promise(origin, promised_scores(origin.metrics, self.absent), len(self.absent))

    @property
    def place(self) -> Place | None:
        """Where the score lies to the interval of the promise; None without one or with training clips."""
        if self.promised is None or self.seen:
            return None
        name = self.promised.judged_by
        value, promise = self.metrics[name].value, self.promised.scores[name]
        return "below" if value < promise.low else "above" if value > promise.high else "inside"

    @property
    def inside(self) -> bool | None:
        """Whether the score lies inside the interval of the promise; None as `place`."""
        return None if self.place is None else self.place == "inside"

    @property
    def sentence(self) -> str:
        """Whether the score lies inside the promise, and whether chance may explain that it does not."""
        promised = self.promised
        if promised is None:
            return "There is no promise to hold this against: the bundle was not exported from a run."
        name, origin = promised.judged_by, promised.origin
        score, promise = self.metrics[name], promised.scores[name]
        whom = "new speakers" if origin.by_speaker else "speakers that training had"
        said = (
            f"{METRICS[name].title} {score.phrase} % here, {promise.phrase} % promised by "
            f"{origin.protocol} for {whom}"
        )
        if self.seen:
            return f"Not comparable with the promise, as training had clips of this corpus: {said}."
        if self.inside:
            return f"Inside the promise: {said}."
        overlap = score.low <= promise.high and promise.low <= score.high
        rest = "overlap: chance may explain it" if overlap else "do not overlap"
        return f"{str(self.place).capitalize()} the promise: {said}; the intervals {rest}."

    def values_of(self, attribute: str) -> list[str | None]:
        """The value of `speaker`, `label` or another attribute for each clip, None where unknown."""
        return [value_of(clip, attribute) for clip in self.clips]


def promised_scores(metrics: Metrics, absent: Collection[str]) -> dict[str, Score]:
    """Scores of a run without the clips of some classes, as the module says."""
    held = {name: metrics[name] for name in HELD if name in metrics.scores}
    if not absent:
        return held
    # `classes` has those alone that were tested: rows without clips are of the others.
    tested = [row for row, counts in enumerate(metrics.confusion) if any(counts)]
    kept = [row for row, one in zip(tested, metrics.classes, strict=False) if one.label not in absent]
    counts = np.zeros((len(metrics.confusion),) * 2, np.int64)
    try:
        counts[kept] = [metrics.confusion[row] for row in kept]
    except ValueError:
        kept = []
    if not kept or len(tested) != len(metrics.classes):
        raise DamagedError("the record of the bundle's run has a confusion matrix that is not of its classes")
    matrix = Confusion(np.array([counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)]))
    wider = sqrt(metrics.n_clips / counts.sum())
    return {name: _moved(score, float(METRICS[name].of(matrix)), wider) for name, score in held.items()}


def _moved(score: Score, value: float, wider: float) -> Score:
    """The interval of a score around another value, so many times as wide, from 0 to 1."""
    low, high = value - wider * (score.value - score.low), value + wider * (score.high - score.value)
    return Score(value=value, low=max(0.0, low), high=min(1.0, high))


def evaluate(
    bundle: AnyBundle,
    corpus: CheckedCorpus,
    samples: Sequence[Sample] = (),
    progress: Progress | None = None,
) -> Evaluation:
    """Predict every clip of a corpus whose class the bundle knows.

    Args:
        bundle: what predicts.
        corpus: labelled clips.
        samples: golden clips of the bundle: training clips, that are looked for in the corpus.
        progress: told how far it is.

    Raises:
        CorpusError: fewer than two classes in common, or none of their clips can be predicted.
    """
    progress = progress or Silent()
    words = bundle_words(corpus.labels, bundle.labels)
    clips = [
        replace(clip, label=words.get(clip.label, clip.label))
        for clip in corpus.clips
        if words.get(clip.label, clip.label) in bundle.labels
    ]
    _require_classes(bundle, corpus, clips)
    answers: list[tuple[Clip, Prediction]] = []
    bad = list(corpus.bad)
    tracked = progress.track(f"Predicting {corpus.name}", len(clips))
    with tracked as advance, LastFile() as opened:
        sources = (opened.recording(clip.source) for clip in clips)
        for clip, answer in zip(clips, bundle.predict_each(sources), strict=True):
            if isinstance(answer, BenchError):
                bad.append(BadClip(clip.id, str(answer)))
            else:
                answers.append((clip, answer))
            advance(1)
    if not answers:
        raise CorpusError(f"corpus '{corpus.name}': no clip can be predicted; {bad[0].id}: {bad[0].reason}")
    return Evaluation(
        record=bundle.record,
        corpus=corpus.name,
        predictions=_predictions(bundle.labels, answers),
        clips=tuple(clip for clip, _ in answers),
        renamed=words,
        left_out=dict(
            Counter(clip.label for clip in corpus.clips if clip.label not in {*words, *bundle.labels})
        ),
        bad=tuple(bad),
        n_narrowband=sum(answer.is_narrowband for _, answer in answers),
        n_unlike=_n_unlike([answer for _, answer in answers]),
        seen=_seen(bundle.record, corpus, samples),
    )


def _n_unlike(answers: Sequence[Prediction]) -> int | None:
    known = [answer.is_unlike for answer in answers if answer.is_unlike is not None]
    return sum(known) if known else None


def bundle_words(labels: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """For labels that a bundle does not know, those that it knows by another word of the field for the same.

    A label that could be several of the known ones, or one of these that several labels could be, is left
    alone: what is meant is for the user to say.
    """
    words = {label: standard_name(label) or label.strip().casefold() for label in {*labels, *known}}
    unknown_ones = [label for label in labels if label not in known]
    free = [label for label in known if label not in labels]
    pairs = [(label, one) for label in unknown_ones for one in free if words[label] == words[one]]
    counts = Counter(name for pair in pairs for name in pair)
    return {label: one for label, one in pairs if counts[label] == counts[one] == 1}


def _require_classes(bundle: AnyBundle, corpus: CheckedCorpus, clips: Sequence[Clip]) -> None:
    shared = {clip.label for clip in clips}
    if len(shared) >= _LEAST_CLASSES:
        return
    n = f"only {min(shared)}" if shared else "no class"
    raise CorpusError(
        f"the bundle and the corpus '{corpus.name}' have {n} in common, and {_LEAST_CLASSES} are needed "
        f"(--map OLD=NEW renames classes). The bundle has {', '.join(bundle.labels)}; the corpus has "
        f"{', '.join(corpus.labels)}"
    )


def _predictions(labels: Sequence[str], answers: Sequence[tuple[Clip, Prediction]]) -> Predictions:
    return Predictions(
        clips=tuple(clip.id for clip, _ in answers),
        speakers=tuple(clip.speaker for clip, _ in answers),
        folds=np.zeros(len(answers), np.int64),
        targets=np.array([labels.index(clip.label) for clip, _ in answers], np.int64),
        labels=tuple(labels),
        probabilities=np.array([answer.probabilities for _, answer in answers], np.float32),
    )


def _seen(record: BaseRecord, corpus: CheckedCorpus, samples: Sequence[Sample]) -> str | None:
    """Why the corpus is known to have training clips of the bundle."""
    if corpus.fingerprint == record.corpus.fingerprint:
        part = "" if record.fold is None else f" (on all but those of fold {record.fold + 1})"
        return f"the corpus is the one that the model was trained on{part}"
    there = {facts.content for facts in corpus.facts}
    found = [sample.clip for sample in samples if content_of(sample.waveform) in there]
    if not found:
        return None
    return f"{len(found)} of the {len(samples)} training clips that the bundle keeps are in the corpus"
