"""The list of metrics. Everything that computes, stores or shows metrics reads `METRICS`.

To add a metric, add an entry here and nothing else. It is then computed for every new run, and from the
stored predictions of older ones; `bench leaderboard` shows it in the terminal, Markdown, JSON and CSV, the
report and the app show it in HTML:

    Metric(
        name="true_probability", header="P(true)", title="mean probability of the true class",
        explanation="Probability given to the true class, mean over the clips.",
        from_probabilities=lambda targets, p: float(p[range(len(targets)), targets].mean()),
    )

A metric of the confusion matrix gets a 95 % interval; each has a value for all clips and for each fold.
This module imports no arrays, so that listing results stays fast.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # numpy takes a tenth of a second, which showing stored results does not need
    import numpy as np
    from numpy.typing import NDArray

    from marsbench.evaluation.formulas import Confusion, Rates

Unit = Literal["share", "nats", "none", "count", "seconds", "milliseconds", "bytes"]
"""What a number is measured in; shares are shown in %."""

RANKED_BY = "macro_f1"
"""The metric that ranks a leaderboard, and that gain, speaker gap, spreads and significance are told in."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number for a whole set of predictions."""

    name: str
    """Key in `run.json`, JSON and CSV."""
    header: str
    """A few letters for tables."""
    title: str
    """Name in full, as in a sentence."""
    explanation: str
    """What it says, in one sentence."""
    unit: Unit = "share"
    digits: int = 1
    """Decimal places that are shown, of % for shares."""
    higher_is_better: bool = True
    maximised_as: str = ""
    """Title of exp(-value), which tuning maximises where lower is better; empty: no objective of tuning."""
    from_confusion: "Callable[[Confusion], Rates] | None" = None
    """Value of each matrix, (...), from the sums of its rows and columns and its diagonal."""
    from_probabilities: "Callable[[NDArray[np.int64], NDArray[np.floating]], float] | None" = None
    """Value from true classes (n_clips,) and probabilities (n_clips, n_classes); in place of the former."""
    is_share_of_clips: bool = False
    """Whether it counts single clips, so that its interval can be no narrower than Wilson's."""

    def value(self, targets: "NDArray[np.int64]", probabilities: "NDArray[np.floating]") -> float:
        """The metric of true classes (n_clips,) and probabilities (n_clips, n_classes), rows summing to 1."""
        if self.from_probabilities is not None:
            return self.from_probabilities(targets, probabilities)
        from marsbench.evaluation.formulas import confusion

        return float(self.of(confusion(targets, probabilities)))

    def of(self, matrix: "Confusion") -> "Rates":
        """The metric of each confusion matrix, (...); only for metrics with `from_confusion`."""
        if self.from_confusion is None:
            raise TypeError(f"{self.name} is not computed from a confusion matrix")
        return self.from_confusion(matrix)


def _log_loss(targets: "NDArray[np.int64]", probabilities: "NDArray[np.floating]") -> float:
    from marsbench.evaluation.formulas import log_loss

    return log_loss(targets, probabilities)


def _calibration_error(targets: "NDArray[np.int64]", probabilities: "NDArray[np.floating]") -> float:
    from marsbench.evaluation.formulas import calibration_error, reliability

    return calibration_error(reliability(targets, probabilities))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="accuracy",
            header="accuracy",
            title="accuracy",
            explanation="Share of clips whose class is recognised.",
            from_confusion=lambda matrix: matrix.accuracy,
            is_share_of_clips=True,
        ),
        Metric(
            name="macro_f1",
            header="macro F1",
            title="macro F1",
            explanation="Mean over the classes of F1, the harmonic mean of precision and recall.",
            from_confusion=lambda matrix: matrix.macro_f1,
        ),
        Metric(
            name="uar",
            header="UAR",
            title="unweighted average recall",
            explanation="Mean over the classes of their recall.",
            from_confusion=lambda matrix: matrix.uar,
        ),
        Metric(
            name="log_loss",
            header="loss",
            title="log loss",
            explanation="Mean negative natural logarithm of the true class's probability.",
            unit="nats",
            digits=2,
            higher_is_better=False,
            maximised_as="geometric mean probability of the true class",
            from_probabilities=_log_loss,
        ),
        Metric(
            name="calibration_error",
            header="ECE",
            title="expected calibration error",
            explanation="Mean distance between confidence and accuracy, over 15 steps of confidence.",
            higher_is_better=False,
            from_probabilities=_calibration_error,
        ),
    )
}
"""Every metric by its name, in the order of tables."""


def objective_score(
    objective: str, probabilities: "NDArray[np.floating]", targets: "NDArray[np.int64]"
) -> float:
    """Score in [0, 1] of predictions, which tuning maximises; shapes as for `Metric.value`."""
    return maximised(objective, METRICS[objective].value(targets, probabilities))


def maximised(objective: str, value: float) -> float:
    """The score in [0, 1] that tuning maximises, from a metric's value: of log loss, exp(-value)."""
    return value if METRICS[objective].higher_is_better else exp(-value)


def objective_title(objective: str) -> str:
    """Name of the score that tuning maximises, as in a sentence."""
    return METRICS[objective].maximised_as or METRICS[objective].title
