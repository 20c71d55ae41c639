"""Leaderboards: runs ranked, only ever among runs of one protocol on one corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev

from pydantic import BaseModel, ConfigDict

from marsbench.errors import ResultsError, unknown
from marsbench.evaluation.criteria import Criteria, Grade, Outcome, grade, verdict
from marsbench.files import digest
from marsbench.results.schema import Run, Status
from marsbench.results.store import find_runs


class Row(BaseModel):
    """One run on the leaderboard; scores are None for a run without all its folds."""

    model_config = ConfigDict(frozen=True)

    rank: int | None
    run_id: str
    corpus: str
    synthetic: bool
    protocol: str
    protocol_hash: str
    features: str
    model: str
    settings: dict[str, object]
    seed: int
    status: Status
    accuracy: float | None = None
    macro_f1: float | None = None
    uar: float | None = None
    worst_recall: float | None = None
    worst_class: str | None = None
    accuracy_reached: bool | None = None
    macro_f1_reached: bool | None = None
    class_recall_reached: bool | None = None
    verdict: Outcome | None = None
    fold_spread: float | None = None
    """Standard deviation of macro F1 over folds; None for a single fold."""
    train_seconds: float
    parameters: int | None
    reason: str | None = None
    """Why a failed run failed."""


@dataclass(frozen=True)
class Board:
    """The runs of one protocol on one corpus, best macro F1 first, failed runs last."""

    corpus: str
    protocol: str
    hash: str
    synthetic: bool
    criteria: Criteria
    rows: tuple[Row, ...]
    n_older: int
    """Runs left out because the same pipeline was run later with newer code."""


def leaderboards(
    root: Path,
    corpus: str | None = None,
    protocol: str | None = None,
    criteria: Criteria | None = None,
    *,
    older: bool = False,
) -> tuple[list[Board], list[str]]:
    """One board for each protocol hash below a results folder, restricted by name where asked.

    Every run of a board is held against the same `criteria`, whatever it was graded by when it was made. Of
    runs that differ in the code of their plugins alone, the latest stands for all, unless `older` ones are
    asked for.

    Returns:
        The boards, and a line for each run that could not be read.

    Raises:
        ResultsError: no runs there, or none of that corpus or protocol.
    """
    runs, unreadable = _read_runs(root, corpus, protocol)
    if not runs and not unreadable:
        _raise_what_there_is(root, corpus, protocol)
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.corpus.name, run.protocol.name, run.protocol.hash), []).append(run)
    asked = criteria or Criteria()
    boards = [_board(group, asked, older) for _, group in sorted(groups.items(), key=lambda item: item[0])]
    return boards, unreadable


def _read_runs(root: Path, corpus: str | None, protocol: str | None) -> tuple[list[Run], list[str]]:
    runs: list[Run] = []
    unreadable: list[str] = []
    for folder in find_runs(root, corpus or "*", protocol or "*"):
        try:
            runs.append(folder.read_run())
        except ResultsError as error:
            unreadable.append(str(error))
    return runs, unreadable


def _raise_what_there_is(root: Path, corpus: str | None, protocol: str | None) -> None:
    folders = [folder.path for folder in find_runs(root)]
    known = {path.parents[1].name for path in folders}, {path.parents[0].name for path in folders}
    for what, wanted, names in (("corpus", corpus, known[0]), ("protocol", protocol, known[1])):
        if wanted is not None and names and wanted not in names:
            raise ResultsError(f"{unknown(what, wanted, names)} in {root.absolute()}")
    where = f"{root.absolute()}{f' on {corpus}' if corpus else ''}{f' under {protocol}' if protocol else ''}"
    raise ResultsError(f"no runs in {where}; make one with: bench run")


def _board(runs: list[Run], criteria: Criteria, older: bool) -> Board:
    first, shown = runs[0], runs if older else _latest(runs)
    return Board(
        corpus=first.corpus.name,
        protocol=first.protocol.name,
        hash=first.protocol.hash,
        synthetic=first.corpus.synthetic,
        criteria=criteria,
        rows=ranked(shown, criteria),
        n_older=len(runs) - len(shown),
    )


def _latest(runs: list[Run]) -> list[Run]:
    """Of each pipeline with its settings and seed, the run that was finished last."""
    latest: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: run.finished):
        latest[digest([run.features.name, run.model.name, run.settings, run.seed])] = run
    return list(latest.values())


def ranked(runs: Sequence[Run], criteria: Criteria) -> tuple[Row, ...]:
    """Rows by macro F1, then accuracy, then id; equal scores share a rank; failed runs have none."""
    complete = sorted(
        ((run.metrics.macro_f1.value, run.metrics.accuracy.value, run) for run in runs if run.metrics),
        key=lambda entry: (-entry[0], -entry[1], entry[2].run_id),
    )
    rows: list[Row] = []
    rank, before = 0, None
    for position, (macro_f1, accuracy, run) in enumerate(complete, 1):
        rank = rank if (macro_f1, accuracy) == before else position
        before = macro_f1, accuracy
        rows.append(_row(run, rank, criteria))
    failed = sorted((run for run in runs if run.metrics is None), key=lambda run: run.run_id)
    return (*rows, *(_row(run, None, criteria) for run in failed))


def _row(run: Run, rank: int | None, criteria: Criteria) -> Row:
    scores: dict[str, object] = {}
    if run.metrics is not None:
        worst = run.metrics.worst
        grades = grade(run.metrics, criteria)
        folds = [fold.macro_f1 for fold in run.metrics.folds]
        scores = {
            "accuracy": run.metrics.accuracy.value,
            "macro_f1": run.metrics.macro_f1.value,
            "uar": run.metrics.uar.value,
            "worst_recall": worst.recall.value,
            "worst_class": worst.label,
            "fold_spread": stdev(folds) if len(folds) > 1 else None,
            "verdict": verdict(grades),
            **_reached(grades),
        }
    return Row.model_validate(
        {
            "rank": rank,
            "run_id": run.run_id,
            "corpus": run.corpus.name,
            "synthetic": run.corpus.synthetic,
            "protocol": run.protocol.name,
            "protocol_hash": run.protocol.hash,
            "features": run.features.name,
            "model": run.model.name,
            "settings": run.settings,
            "seed": run.seed,
            "status": run.status,
            "train_seconds": run.fit_seconds,
            "parameters": run.n_parameters,
            "reason": run.failures[0].message if run.failures else None,
            **scores,
        }
    )


def _reached(grades: Sequence[Grade]) -> dict[str, bool]:
    """Whether each criterion's score exceeds its threshold; for recall, that of every class."""
    reached: dict[str, bool] = {}
    for entry in grades:
        kind = entry.criterion.partition(" ")[0]
        reached[f"{kind}_reached"] = reached.get(f"{kind}_reached", True) and entry.reached
    return reached
