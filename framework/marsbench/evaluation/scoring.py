"""From out-of-fold probabilities to metrics with 95 % bootstrap intervals.

An interval says how a score varies with the choice of clips or speakers. Whole speakers are drawn where
speakers are known, since clips of one speaker resemble each other; else single clips. The percentiles are
expanded (Hesterberg 2015, The American Statistician 69, section 5): plain ones are as much too narrow for a
few speakers as a normal interval is beside Student's. Simulated corpora of 24 speakers hold the truth in 93
to 96 % of intervals so, in 92 to 94 % with plain percentiles.

Of fewer than eight speakers, percentiles reach hardly beyond the best and the worst of them: there, Student's
t interval on the scale of log odds is included, and that of single clips, since a few may be alike by chance.
Simulated corpora of four speakers hold the truth in 95 to 99 % of intervals so. What counts is the number of
speakers that a score rests on: of a class's recall those who have the class, of a mean over classes the
harmonic mean of these numbers. A rate of 0 or 1 has no spread at all: so the interval of a share of clips is
never narrower than Wilson's (1927) score interval, and a mean over classes that is equal on every draw, as
where all clips are given one class, has the interval that those of the classes' recalls make.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import hypot, sqrt
from statistics import harmonic_mean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marsbench.config import Criteria
from marsbench.data.voices import FEW_SPEAKERS, Voices, voices_of
from marsbench.evaluation.formulas import Confusion, Rates, confusion
from marsbench.evaluation.metrics import METRICS, Metric
from marsbench.evaluation.predictions import Decisions, Predictions
from marsbench.evaluation.scores import GRADED, ClassScores, FoldScores, Metrics, Score, Scores

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_DRAWS = 2000
_BLOCK, _CELLS = 250, 5_000_000
"""Most draws at a time, and clusters in all of them: bounds memory."""
_KEPT = 50_000_000
"""Most clusters in all draws that are kept: those of 25,000 speakers."""
_TAIL = 0.025
_Z = 1.959964
_EDGE = 0.01
"""Rates nearer to 0 or 1 have the log odds of this one: theirs have no end."""
_LEAST_SPEAKERS = 3
Scored = Callable[[Confusion], Rates]
"""A score of each matrix, (...)."""


@dataclass(frozen=True)
class Way:
    """Confusion matrices of resampled corpora, (n_draws,), by one way of drawing."""

    confusion: Confusion
    n_clusters: int
    """Speakers or clips that were drawn."""


@dataclass(frozen=True)
class Draws:
    """Resampled corpora, by each way of drawing."""

    ways: tuple[Way, ...]
    n_by_class: NDArray[np.int64]
    """Speakers, or clips without one, that have clips of each class, (n_classes,)."""

    def interval(self, value: float, score: Scored, n_behind: float | None = None) -> Score:
        """The interval of a score that is `value` on the corpus itself and rests on `n_behind` speakers."""
        ways = self._drawn(score, n_behind)
        found, (by_speaker, n) = interval(value, ways), ways[0]
        return t_floor(found, by_speaker, n) if 1 < n < FEW_SPEAKERS else found

    def confidence(self, score: Scored, threshold: float, n_behind: float | None = None) -> float | None:
        """How sure it is that a score exceeds a threshold, 0 to 1, by the less certain way of drawing.

        None if the score is NaN on every draw, as the recall of a class without clips is.
        """
        found = [confidence(drawn, threshold, n) for drawn, n in self._drawn(score, n_behind)]
        return min((one for one in found if one is not None), key=lambda one: abs(one - 0.5), default=None)

    def n_behind(self, metric: Metric) -> float | None:
        """How many speakers a metric rests on: None for all, of a mean over classes the harmonic mean."""
        present = self.n_by_class[self.n_by_class > 0]
        return None if metric.is_share_of_clips else float(harmonic_mean(present.tolist()))

    def _drawn(self, score: Scored, n_behind: float | None) -> list[tuple[Rates, float]]:
        """The score on each draw, and the number of speakers or clips behind it, by each way."""
        by_speaker, *by_clip = self.ways
        n_speakers = by_speaker.n_clusters if n_behind is None else n_behind
        others = [(score(way.confusion), way.n_clusters) for way in by_clip]
        return [(score(by_speaker.confusion), n_speakers), *others]


def resample(predictions: Predictions) -> Draws:
    """Draw corpora like that of the predictions; the same ones every time.

    Whole speakers are drawn; a clip without one is drawn by itself.
    """
    counted = [sums_by_cluster(predictions, one) for one in ways_to_draw(predictions.speakers)]
    n_by_class = (counted[0] > 0).sum(axis=0).reshape(3, -1)[1]
    return Draws(tuple(Way(drawn(one), one.shape[0]) for one in counted), np.asarray(n_by_class))


def ways_to_draw(speakers: Sequence[str | None]) -> list[NDArray[np.int64]]:
    """Cluster of each clip by each way of drawing: by speaker, and by clip where there are few speakers."""
    by_speaker = _by_speaker(tuple(speakers))
    by_clip = np.arange(len(speakers))
    is_few = by_speaker.max() + 1 < min(FEW_SPEAKERS, len(speakers))
    return [by_speaker, by_clip] if is_few else [by_speaker]


@lru_cache(maxsize=2)
def _by_speaker(speakers: tuple[str | None, ...]) -> NDArray[np.int64]:
    """Number of each clip's speaker, by name, behind those of the clips without one, (n_clips,)."""
    # As text, "10" before "2": random draws, and so published intervals, rest on the order of these numbers.
    nameless = sorted((row for row, name in enumerate(speakers) if name is None), key=str)
    known = sorted({name for name in speakers if name is not None})
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(known, len(nameless))}
    found = np.array([numbers.get(name, -1) for name in speakers], np.int64)
    found[nameless] = np.arange(len(nameless))
    return found


def drawn(by_cluster: "csr_array") -> Confusion:
    """The confusion matrices of corpora whose clusters are drawn with replacement, (n_draws,).

    The same draws for every call with as many clusters. `by_cluster` is that of `sums_by_cluster`.
    """
    n_clusters, n_sums = by_cluster.shape
    sums = np.concatenate([drawn_sums(block, by_cluster) for block in draw_blocks(n_clusters)])
    return Confusion(sums.reshape(_DRAWS, 3, n_sums // 3))


def drawn_sums(block: NDArray[np.integer], by_cluster: "csr_array") -> NDArray[np.int64]:
    """Sums over the clusters of each draw of a block, (n, n_sums)."""
    if by_cluster.nnz < by_cluster.shape[0] * by_cluster.shape[1] // 4:
        return np.asarray(block.astype(np.int64) @ by_cluster)
    # Sums of integers are exact in float64, whose products are several times as fast.
    return np.asarray((block.astype(np.float64) @ by_cluster.toarray().astype(np.float64)).astype(np.int64))


def draw_blocks(n_clusters: int) -> Iterable[NDArray[np.integer]]:
    """How often each cluster is in each of some draws, (n, n_clusters), until all draws are there."""
    return _kept_draws(n_clusters) if _DRAWS * n_clusters <= _KEPT else _new_draws(n_clusters)


@lru_cache(maxsize=1)
def _kept_draws(n_clusters: int) -> list[NDArray[np.integer]]:
    """All of them, a byte each, for the runs to come: drawing takes longer than scoring."""
    blocks = _new_draws(n_clusters)
    return [block.astype(np.min_scalar_type(block.max())) for block in blocks]


def _new_draws(n_clusters: int) -> Iterator[NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    even = np.full(n_clusters, 1 / n_clusters)
    most = max(1, min(_BLOCK, _CELLS // n_clusters))
    for start in range(0, _DRAWS, most):
        yield generator.multinomial(n_clusters, even, size=min(most, _DRAWS - start))


def sums_by_cluster(predictions: Predictions | Decisions, cluster_of: NDArray[np.int64]) -> "csr_array":
    """`Confusion.sums` of each cluster, sparse (n_clusters, 3 * n_classes)."""
    from scipy.sparse import csr_array

    n_classes, right = predictions.n_classes, predictions.correct
    targets, predicted = predictions.targets, predictions.predicted
    columns = np.concatenate([targets[right], n_classes + targets, 2 * n_classes + predicted])
    rows = np.concatenate([cluster_of[right], cluster_of, cluster_of])
    shape = n_clusters, n_sums = int(cluster_of.max()) + 1, 3 * n_classes
    if n_clusters * n_sums <= len(rows):
        counts = np.bincount(rows * n_sums + columns, minlength=n_clusters * n_sums)
        return csr_array(counts.reshape(shape))
    return csr_array((np.ones(len(rows), np.int64), (rows, columns)), shape)


def interval(value: float, ways: Iterable[tuple[Rates, float]]) -> Score:
    """A score with the hull of its middle 95 % by each way: values on the draws, and number of clusters."""
    bounds = [percentiles(drawn, n_clusters) for drawn, n_clusters in ways]
    low, high = min(value, *(low for low, _ in bounds)), max(value, *(high for _, high in bounds))
    return Score(value=value, low=low, high=high)


def percentiles(drawn: NDArray[np.float64], n_clusters: float) -> tuple[float, float]:
    """Ends of the middle 95 %, expanded for few clusters; draws that are NaN do not count."""
    from scipy.special import ndtr, stdtrit

    tail = _TAIL
    if n_clusters > 1:
        tail = float(ndtr(sqrt(n_clusters / (n_clusters - 1)) * stdtrit(n_clusters - 1, _TAIL)))
    low, high = np.nanpercentile(drawn, (100 * tail, 100 * (1 - tail)))
    return float(low), float(high)


def confidence(drawn: NDArray[np.float64], threshold: float, n_clusters: float) -> float | None:
    """How sure it is that a score exceeds a threshold: the inverse of `percentiles`.

    The share of draws at or below the threshold is expanded as the interval's tails are, so the result is
    above 0.975 if the whole interval is above the threshold, and below 0.025 if it is below. Draws that are
    NaN do not count; None if all are.
    """
    from scipy.special import ndtri, stdtr

    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return None
    share = float((known <= threshold).mean())
    if n_clusters > 1:
        share = float(stdtr(n_clusters - 1, sqrt((n_clusters - 1) / n_clusters) * ndtri(share)))
    return 1 - share


def t_floor(score: Score, drawn: NDArray[np.float64], n_clusters: float) -> Score:
    """A rate, its interval widened to Student's on the scale of log odds where that reaches further.

    The bootstrap's standard deviation, times the root of n / (n - 1), is the standard error (delta method).
    """
    from scipy.special import expit, logit, stdtrit

    deviation = float(np.nanstd(drawn))
    if not deviation:
        return score
    rate = min(max(score.value, _EDGE), 1 - _EDGE)
    error = sqrt(n_clusters / (n_clusters - 1)) * deviation / (rate * (1 - rate))
    half = float(-stdtrit(n_clusters - 1, _TAIL)) * error
    low, high = float(expit(logit(rate) - half)), float(expit(logit(rate) + half))
    return Score(value=score.value, low=min(score.low, low), high=max(score.high, high))


def new_speaker(predictions: Predictions) -> Score | None:
    """Mean accuracy of a speaker, with the interval that one more speaker's accuracy is in with 95 %.

    Student's prediction interval over speakers, mean ± t(n - 1) s sqrt(1 + 1/n) (Hahn & Meeker 1991,
    Statistical Intervals, section 4.7), cut to 0 and 1; None for fewer than three known speakers. The
    deviation s counts as no smaller than that of clips of equal speakers, by Agresti and Coull's (1998) rate:
    few speakers may be alike by chance.
    """
    from scipy.special import stdtrit

    n_nameless = predictions.speakers.count(None)
    speaker_of = _by_speaker(predictions.speakers)
    n_clips = np.bincount(speaker_of)[n_nameless:]
    n_correct = np.bincount(speaker_of, predictions.correct)[n_nameless:]
    if (n := len(n_clips)) < _LEAST_SPEAKERS:
        return None
    accuracy = n_correct / n_clips
    rate = (n_correct.sum() + 2) / (n_clips.sum() + 4)
    by_chance = sqrt(rate * (1 - rate) / float(np.median(n_clips)))
    mean, deviation = float(accuracy.mean()), max(by_chance, float(accuracy.std(ddof=1)))
    half = float(-stdtrit(n - 1, _TAIL)) * deviation * sqrt(1 + 1 / n)
    return Score(value=mean, low=max(0.0, mean - half), high=min(1.0, mean + half))


def wilson_floor(score: Score, n_clips: int) -> Score:
    """A share of `n_clips` clips, its interval widened to Wilson's where that reaches further."""
    share, z2 = score.value, _Z * _Z
    centre = (share + z2 / (2 * n_clips)) / (1 + z2 / n_clips)
    half = _Z / (1 + z2 / n_clips) * sqrt(share * (1 - share) / n_clips + z2 / (4 * n_clips**2))
    low, high = max(0.0, min(score.low, centre - half)), min(1.0, max(score.high, centre + half))
    return Score(value=share, low=low, high=high)


def recalls_floor(score: Score, pooled: Confusion) -> Score:
    """A mean over classes; without any spread, its interval is as wide as that of the mean recall.

    From Wilson's intervals of the recalls by the method of variance estimates recovery (Zou & Donner 2008,
    Statistics in Medicine 27, 1693-1702): distances of ends add up as standard errors do.
    """
    if score.low < score.high:
        return score
    known = pooled.n_clips > 0
    recalls = [
        wilson_floor(Score(value=recall, low=recall, high=recall), n_clips)
        for recall, n_clips in zip(pooled.recall[known].tolist(), pooled.n_clips[known].tolist(), strict=True)
    ]
    below = hypot(*(one.value - one.low for one in recalls)) / len(recalls)
    above = hypot(*(one.high - one.value for one in recalls)) / len(recalls)
    low, high = max(0.0, score.value - below), min(1.0, score.value + above)
    return Score(value=score.value, low=low, high=high)


def confidences(draws: Draws, criteria: Criteria, labels: Sequence[str]) -> dict[str, float | None]:
    """How sure it is that each criterion is met, by its name; see `Draws.confidence`."""
    found = {
        name: draws.confidence(metric.of, getattr(criteria, name), draws.n_behind(metric))
        for name, metric in METRICS.items()
        if name in GRADED
    }
    for index, label in enumerate(labels):
        n_behind = draws.n_by_class[index]
        recall = draws.confidence(_recall_of(index), criteria.class_recall, n_behind)
        found[f"class_recall {label}"] = recall
    return found


def score_predictions(predictions: Predictions, draws: Draws | None = None) -> Metrics:
    """Every metric of out-of-fold predictions, pooled, with intervals, and by fold; see `scores_of`."""
    pooled = confusion(predictions.targets, predictions.probabilities)
    draws = draws or resample(predictions)
    scores: dict[str, Any] = {**scores_of(predictions, METRICS.values(), draws)}
    return Metrics(
        classes=_by_class(pooled, draws, speakers_of(predictions)),
        confusion=_counts(predictions),
        folds=list(_fold_scores(predictions)),
        **scores,
    )


def scores_of(predictions: Predictions, metrics: Iterable[Metric], draws: Draws | None = None) -> Scores:
    """Each metric of the pooled predictions; `draws` are those of `resample`, if they are there already."""
    pooled = confusion(predictions.targets, predictions.probabilities)
    scores: Scores = {}
    for metric in metrics:
        if metric.from_confusion is None:
            scores[metric.name] = metric.value(predictions.targets, predictions.probabilities)
            continue
        draws = draws or resample(predictions)
        score = draws.interval(float(metric.of(pooled)), metric.of, draws.n_behind(metric))
        share = metric.is_share_of_clips
        n_clips = len(predictions.targets)
        scores[metric.name] = wilson_floor(score, n_clips) if share else recalls_floor(score, pooled)
    return scores


def _counts(predictions: Predictions) -> list[list[int]]:
    """Clips by true and by predicted class."""
    n_classes = predictions.n_classes
    cells = np.bincount(predictions.targets * n_classes + predictions.predicted, minlength=n_classes**2)
    counts: list[list[int]] = cells.reshape(n_classes, n_classes).tolist()
    return counts


def _recall_of(index: int) -> Scored:
    return lambda matrix: matrix.recall[..., index]


def speakers_of(predictions: Predictions) -> Voices:
    """Who speaks the tested clips."""
    return voices_of(predictions.targets, predictions.speakers, predictions.labels)


def _by_class(pooled: Confusion, draws: Draws, voices: Voices) -> list[ClassScores]:
    n_clips = pooled.n_clips
    return [
        ClassScores(
            label=entry.label,
            n_clips=int(n_clips[index]),
            n_speakers=entry.n_speakers,
            recall=wilson_floor(
                draws.interval(float(pooled.recall[index]), _recall_of(index), draws.n_by_class[index]),
                int(n_clips[index]),
            ),
            precision=float(pooled.precision[index]),
            f1=float(pooled.f1[index]),
        )
        for index, entry in enumerate(voices.classes)
        if n_clips[index]
    ]


def _fold_scores(predictions: Predictions) -> Iterator[FoldScores]:
    order = np.argsort(predictions.folds, kind="stable")
    folds, starts = np.unique(predictions.folds[order], return_index=True)
    for fold, rows in zip(folds.tolist(), np.split(order, starts[1:]), strict=True):
        targets, probabilities = predictions.targets[rows], predictions.probabilities[rows]
        scores: dict[str, Any] = {
            name: metric.value(targets, probabilities) for name, metric in METRICS.items()
        }
        yield FoldScores(fold=fold, n_clips=len(rows), **scores)
