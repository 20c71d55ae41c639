"""Which configuration a fold takes: what an engine found, or the untuned one if that is not clearly worse.

The best of several scores is high partly by chance. So the best trial has to beat the untuned configuration,
on the same clips of the fold's training part, by a standard error of the difference.
"""

from collections.abc import Sequence
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus import CheckedCorpus
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.formulas import log_likelihoods
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.predictions import Predictions
from marsbench.protocols.protocol import Rows
from marsbench.protocols.splitting import groups_of
from marsbench.results.studies import Study, Trial
from marsbench.tuning.cached_fits import CachedFits


class Gain(NamedTuple):
    """By how much predictions are better than others of the same clips."""

    mean: float
    """Mean over clips: share of clips that are right, for log loss nats."""
    error: float
    """Standard error of the mean; infinite if a single group was predicted."""
    n_groups: int
    """Groups of clips that the standard error is from."""

    @property
    def is_real(self) -> bool:
        """Whether it is above 0 by at least a standard error."""
        return self.mean > 0 and self.mean >= self.error

    @property
    def is_clear(self) -> bool:
        """Whether its 95 % interval, by Student's t, is above 0."""
        from scipy.special import stdtrit  # slow to import

        return (
            self.mean > 0
            and self.n_groups > 1
            and self.mean >= stdtrit(self.n_groups - 1, 0.975) * self.error
        )


def paired_gain(better: Predictions, worse: Predictions, objective: str, groups: Rows) -> Gain:
    """How much `better` gains over `worse`, clip by clip: in correct clips, for log loss in log likelihood.

    Macro F1 and UAR count classes alike, so clips count by the inverse of their class's size. Clips of one
    group, such as a speaker's, are not independent: the groups' sums are what varies.

    Args:
        better: predictions of some clips.
        worse: other predictions of the same clips.
        objective: name of the metric that is tuned.
        groups: number of each clip's group, (n_clips,).
    """
    gains = _merits(better, objective) - _merits(worse, objective)
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=gains)
    n = len(sums)
    error = float(sums.std(ddof=1)) * sqrt(n) / len(gains) if n > 1 else inf
    return Gain(float(gains.mean()), error, n)


def _merits(predictions: Predictions, objective: str) -> NDArray[np.float64]:
    """What each clip adds to the objective, up to a constant factor, (n_clips,)."""
    metric, targets = METRICS[objective], predictions.targets
    if metric.from_probabilities:
        return log_likelihoods(targets, predictions.probabilities)
    right = predictions.correct.astype(np.float64)
    if metric.is_share_of_clips:
        return right
    sizes = np.bincount(targets)
    return np.asarray(right * len(targets) / (np.count_nonzero(sizes) * sizes[targets]), np.float64)


def decide(
    study: Study, fits: CachedFits, corpus: CheckedCorpus, together: Sequence[str]
) -> tuple[Study, str]:
    """The study with the trial that the fold takes, and why it is not the best one, or "".

    Where that is the untuned configuration, since none is better, "why" goes on after the number of the fold.

    Args:
        study: an ended one.
        fits: of the fold's inner splits; those that a study made elsewhere are made again.
        corpus: of their rows.
        together: attributes; the splits keep clips together that are equal in all of them.
    """
    fold = study.fold + 1
    if study.untuned_waits:
        return study.model_copy(update={"taken": 0}), ""
    if study.best is None:
        first = next((trial.reason for trial in study.trials if trial.reason), "there was no trial")
        return study, f"fold {fold}: no trial is complete ({first}); the untuned configuration is taken"
    taken, why = _compared(study, study.best, fits, corpus, together)
    return study.model_copy(update={"taken": taken}), why


def _compared(
    study: Study, best: Trial, fits: CachedFits, corpus: CheckedCorpus, together: Sequence[str]
) -> tuple[int, str]:
    """Number of the trial that is taken, and what `decide` tells."""
    untuned, fold = study.trials[0], study.fold + 1
    if untuned.state != "complete":
        return best.number, f"fold {fold}: trial {best.number} is taken; trial 0 failed ({untuned.reason})"
    if best.configuration == untuned.configuration:
        return 0, ""
    results = [fits.fit_all(trial.configuration) for trial in (best, untuned)]
    pair = [fits.predictions(one, corpus) for one in results if not isinstance(one, Failure)]
    if len(pair) < len(results):
        return 0, " (a fit failed when it was made again)"
    gain = paired_gain(pair[0], pair[1], study.objective, groups_of(corpus, fits.rows, together))
    if gain.is_real:
        return best.number, ""
    told = _told(gain, study.objective)
    return 0, f" (trial {best.number} is not better by a standard error: {told})"


def _told(gain: Gain, objective: str) -> str:
    if gain.error == inf:
        return "clips of one group have none"
    if METRICS[objective].from_probabilities:
        return f"log loss {-gain.mean:+.3f}, standard error {gain.error:.3f}"
    return f"{100 * gain.mean:+.1f} points of correct clips, standard error {100 * gain.error:.1f}"
