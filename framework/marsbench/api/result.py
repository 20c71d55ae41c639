"""A finished run as an object of Python."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from marsbench.errors import ResultsError
from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.evaluation.scores import Metrics, Outcome
from marsbench.results.plots import plot_confusion
from marsbench.results.predictions import data_frame, read_predictions
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder


@dataclass(frozen=True, repr=False)
class Result:
    """A run of a pipeline or an ensemble. Scores are from 0 to 1; folds are counted from 0."""

    folder: Path
    """The folder with the run's files."""
    run: Run
    """Everything that `run.json` holds: configuration, origin, metrics, failures, environment."""

    def __repr__(self) -> str:
        if self.run.metrics is None:
            return f"<Result {self.run.title}: failed>"
        score = self.run.metrics[RANKED_BY]
        interval = f"{100 * score.low:.1f} to {100 * score.high:.1f}"
        scored = f"{METRICS[RANKED_BY].title} {100 * score.value:.1f} % ({interval})"
        return f"<Result {self.run.title}: {scored}, {self.run.verdict}>"

    @property
    def metrics(self) -> Metrics:
        """Scores with their 95 % intervals, such as `metrics["macro_f1"].low`, by class and by fold.

        Raises:
            ResultsError: a fold failed, with the reason.
        """
        if self.run.metrics is None:
            reason = self.run.failures[0].message if self.run.failures else "unknown"
            raise ResultsError(f"{self.run.run_id} has no scores, it failed: {reason}")
        return self.run.metrics

    @property
    def verdict(self) -> Outcome | None:
        """`pass`, `fail` or `undecided`; None if a fold failed."""
        return self.run.verdict

    @property
    def grades(self) -> pd.DataFrame:
        """For each criterion: score, low and high end of its 95 % interval, must_exceed, outcome."""
        rows = {
            grade.criterion: [
                grade.score.value, grade.score.low, grade.score.high, grade.threshold, grade.outcome,
            ]
            for grade in self.run.grades
        }  # fmt: skip
        columns = ["score", "low", "high", "must_exceed", "outcome"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("criterion")

    @property
    def predictions(self) -> pd.DataFrame:
        """Out-of-fold predictions: clip, speaker, fold, label, and p_CLASS, the probability of each class.

        Raises:
            ResultsError: a fold failed, or the file is missing or damaged.
        """
        return data_frame(read_predictions(RunFolder(self.folder), self.run))

    @property
    def confusion(self) -> pd.DataFrame:
        """Confusion matrix: numbers of clips, true classes as rows, predicted ones as columns."""
        labels = [scores.label for scores in self.metrics.classes]
        table = pd.DataFrame(self.metrics.confusion, labels, labels)
        return table.rename_axis(index="true", columns="predicted")

    @property
    def history(self) -> pd.DataFrame:
        """Learning curves: fold, epoch (from 1), training metrics, and `val_` ones on validation clips.

        Empty for a model without epochs.
        """
        folder = RunFolder(self.folder)
        rows = [
            {"fold": fold, "epoch": epoch, **metrics}
            for fold in range(self.run.protocol.n_folds)
            for epoch, metrics in enumerate(folder.read_unit(fold).history, 1)
        ]
        return pd.DataFrame(rows, columns=None if rows else ["fold", "epoch"])

    def plot_confusion(self, path: str | Path | None = None) -> Figure:
        """The confusion matrix as a matplotlib figure, written as a PNG if a path is given."""
        return plot_confusion(self.run, None if path is None else Path(path))
