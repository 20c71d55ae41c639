"""Experiments, searches and ensembles, and their results, as functions of Python."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Unpack

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from marsbench.api.options import (
    Data,
    EnsembleOptions,
    RunOptions,
    SearchOptions,
    asked_for,
    places_of,
    plain,
    takes,
)
from marsbench.atomic_files import write_text
from marsbench.automl import found as automl
from marsbench.automl.delivery import search_and_export
from marsbench.automl.members import ensemble as fuse
from marsbench.config import Experiment, Fusion, Search
from marsbench.data.segments import LastFile
from marsbench.deployment.bundle_files import AnyBundle
from marsbench.deployment.export import Target, source_of_run
from marsbench.errors import ConfigError, ResultsError
from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.evaluation.scores import ChosenScore, Metrics, Outcome
from marsbench.plugin.registry import discover, drop_in_folders
from marsbench.progress import progress_for
from marsbench.report.across import across_rows
from marsbench.report.columns import data_keys, data_rows
from marsbench.report.page import build_page
from marsbench.report.selection import select_all, select_run
from marsbench.results import comparison
from marsbench.results.across import across_boards
from marsbench.results.leaderboard import leaderboards
from marsbench.results.plots import plot_confusion
from marsbench.results.predictions import data_frame, read_predictions
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner import runner


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

    def _repr_html_(self) -> str:
        """What `repr` says, and the criteria with their outcomes, for notebooks."""
        line = str(Markup("<p>{}</p>").format(repr(self)[1:-1]))
        percent = "{:.1%}".format
        columns = dict.fromkeys(("score", "low", "high", "must_exceed"), percent)
        return line if self.run.metrics is None else line + self.grades.to_html(formatters=columns)

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


@takes(Experiment)
def run(*, retry_failed: bool = False, verbose: bool = False, **options: Unpack[RunOptions]) -> list[Result]:
    """Run every pair of features and model, as `bench run` does; results of earlier runs are reused.

    Args:
        **options: those of `bench run`, as `RunOptions` lists them.
        retry_failed: also repeat fits that failed earlier.
        verbose: print the progress.

    Returns:
        The runs; after each untuned one the tuned one, if there is anything to tune. A fold that fails raises
        nothing: its run has `run.status` "failed" and the reasons in `run.failures`.

    Raises:
        BenchError: an option or name that does not exist, a value or pair that does not fit, unusable audio.
    """
    asked = asked_for(Experiment, options, "marsbench.run")
    finished = runner.run(asked, progress_for(verbose), retry_failed=retry_failed)
    return [Result(folder.path, record) for folder, record in finished]


class Found(NamedTuple):
    """What a search came to."""

    winner: Result
    """The best by scores inside the training parts; `bench export` makes a bundle of it."""
    results: list[Result]
    """All runs that were made: finalists, tuned ones, the ensemble."""
    chosen: ChosenScore | None = None
    """The winner's score on test clips, corrected for having been chosen; None if there was no choice."""
    held_out: Metrics | None = None
    """Its scores, fitted on all other clips, on those that were held out; None if none were."""


@takes(Search)
def search(*, verbose: bool = False, **options: Unpack[SearchOptions]) -> Found:
    """Choose pipelines for a corpus, tune and combine the best, as `bench search` does.

    Some of the time budget is kept for an export.

    Args:
        **options: those of `bench search`, as `SearchOptions` lists them.
        verbose: print the progress.

    Raises:
        BenchError: an option or name that does not exist, unusable audio, nothing that could be fitted.
    """
    asked, progress = asked_for(Search, options, "marsbench.search"), progress_for(verbose)
    registry = discover(drop_in_folders(asked.plugins))

    def fitted(found: automl.Found) -> AnyBundle | None:
        if found.has_final_score:
            return None
        return source_of_run(found.winner[0], None, None, Target(), registry, progress, found.seconds)[0]

    found, bundle = search_and_export(asked, fitted, progress)
    if bundle is not None and not found.has_final_score:
        with LastFile() as opened:
            clips = (opened.recording(clip.source) for clip in found.corpus.held_out)
            found = found.with_final_score(bundle.class_probabilities(clips))
    made = {record.run_id: Result(folder.path, record) for folder, record in found.runs}
    winner, final = found.record.winner, found.record.final
    return Found(
        made[found.winner[1].run_id],
        list(made.values()),
        winner.chosen if winner else None,
        final.metrics if final else None,
    )


@takes(Fusion)
def ensemble(
    runs: Iterable[Result | str | Path] = (),
    *,
    retry_failed: bool = False,
    verbose: bool = False,
    **options: Unpack[EnsembleOptions],
) -> Result:
    """Fuse finished runs of one leaderboard into one more, by a weighted pool of their probabilities.

    Args:
        runs: results, run ids or folders of two runs or more; with `choose` none for all of the board.
        **options: those of `bench ensemble`, as `EnsembleOptions` lists them.
        retry_failed: also repeat inner fits that failed earlier.
        verbose: print the progress.

    Raises:
        BenchError: the runs cannot be fused, or an option does not exist or fit.
    """
    named = [str(plain(run.folder if isinstance(run, Result) else run)) for run in runs]
    asked = asked_for(Fusion, {**options, "runs": named}, "marsbench.ensemble")
    folder, record = fuse(asked, progress_for(verbose), retry_failed=retry_failed)
    return Result(folder.path, record)


def leaderboard(
    results: str | Path = "results",
    data: Data | Sequence[Data] | None = None,
    protocol: str | None = None,
    *,
    older: bool = False,
    across: bool = False,
) -> pd.DataFrame:
    """Finished runs, ranked within each protocol of each corpus, never across them.

    Args:
        results: folder of runs.
        data: only runs on the corpus of this name, path, data frame or data set; a list for one joined of
            them.
        protocol: only runs under this protocol: its name, file or the beginning of its hash.
        older: one row for each run: every seed, and runs of older code.
        across: one row for each pipeline instead, with its mean rank over the corpora that have a board of
            the protocol, as `bench leaderboard --across --csv`; for all corpora.

    Returns:
        One row for each configuration, with the columns of `bench leaderboard --csv`. `gap` is macro F1 with
        speakers on both sides of a split minus that without, where both are known. A run that cannot be read
        causes a warning.

    Raises:
        BenchError: no runs there, or none of that corpus or protocol.
    """
    if across:
        if data is not None or older:
            raise ConfigError("across shows all corpora, a row a pipeline: leave data and older out")
        shown, left_out = across_boards(Path(results), protocol)
    else:
        boards, left_out = leaderboards(Path(results), plain(places_of(data)), protocol, older=older)
    for line in left_out:
        warnings.warn(line, stacklevel=2)
    if across:
        return pd.DataFrame(across_rows(shown))
    return pd.DataFrame(data_rows(boards), columns=data_keys())


def compare(first: Result, second: Result) -> comparison.Comparison:
    """Compare two runs of one protocol on one corpus, clip by clip.

    `difference` is the difference in macro F1, with its interval and p-value; `disagreements` is a table of
    the clips that only one of the two classifies correctly.

    Raises:
        BenchError: one is not complete, or their test folds differ.
    """
    return comparison.compare(RunFolder(first.folder), RunFolder(second.folder))


def write_report(
    path: str | Path = "report.html",
    result: Result | None = None,
    *,
    results: str | Path = "results",
    audio: bool = False,
    plugins: Iterable[str | Path] = (),
) -> None:
    """Write a self-contained HTML page.

    Args:
        path: file to write.
        result: the run to report; None for all leaderboards of `results` and the best run of each.
        results: folder of runs.
        audio: include the audio of the worst misclassified clips.
        plugins: folders of plugins beside `./plugins`.

    Raises:
        BenchError: no run there, or the file cannot be written.
    """
    chosen = (
        select_all(Path(results), None)
        if result is None
        else select_run(Path(results), str(result.folder), None)
    )
    folders = drop_in_folders([*map(Path, plugins), *chosen.folders])
    write_text(Path(path), build_page(chosen, audio=audio, folders=folders))
