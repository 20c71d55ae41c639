"""Leaderboards: runs ranked, only ever among runs of one protocol on one corpus."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev

from pydantic import BaseModel, ConfigDict

from marsbench.errors import ResultsError, unknown
from marsbench.evaluation.criteria import Outcome
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
    rows: tuple[Row, ...]


def leaderboards(root: Path, corpus: str | None = None, protocol: str | None = None) -> list[Board]:
    """One board for each protocol hash below a results folder, restricted by name where asked.

    Raises:
        ResultsError: no runs there, or none of that corpus or protocol.
    """
    runs = [folder.read_run() for folder in find_runs(root)]
    if not runs:
        raise ResultsError(f"no runs in {root.absolute()}; make one with: bench run")
    for what, wanted, known in (
        ("corpus", corpus, {run.corpus.name for run in runs}),
        ("protocol", protocol, {run.protocol.name for run in runs}),
    ):
        if wanted is not None and wanted not in known:
            raise ResultsError(f"{unknown(what, wanted, known)} in {root.absolute()}")
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        if corpus in (None, run.corpus.name) and protocol in (None, run.protocol.name):
            groups.setdefault((run.corpus.name, run.protocol.name, run.protocol.hash), []).append(run)
    return [_board(group) for _, group in sorted(groups.items(), key=lambda item: item[0])]


def _board(runs: list[Run]) -> Board:
    first = runs[0]
    rows = ranked(runs)
    return Board(first.corpus.name, first.protocol.name, first.protocol.hash, first.corpus.synthetic, rows)


def ranked(runs: Iterable[Run]) -> tuple[Row, ...]:
    """Rows by macro F1, then accuracy, then id; equal scores share a rank; failed runs have none."""
    complete = [run for run in runs if run.metrics is not None]
    complete.sort(key=lambda run: (*(-score for score in _scores(run)), run.run_id))
    scores = [_scores(run) for run in complete]
    failed = sorted((run for run in runs if run.metrics is None), key=lambda run: run.run_id)
    return tuple(_row(run, scores.index(_scores(run)) + 1) for run in complete) + tuple(
        _row(run, None) for run in failed
    )


def _scores(run: Run) -> tuple[float, float]:
    assert run.metrics is not None  # noqa: S101 - callers keep to complete runs
    return run.metrics.macro_f1.value, run.metrics.accuracy.value


def _row(run: Run, rank: int | None) -> Row:
    scores: dict[str, object] = {}
    if run.metrics is not None:
        worst = run.metrics.worst
        folds = [fold.macro_f1 for fold in run.metrics.folds]
        scores = {
            "accuracy": run.metrics.accuracy.value,
            "macro_f1": run.metrics.macro_f1.value,
            "uar": run.metrics.uar.value,
            "worst_recall": worst.recall.value,
            "worst_class": worst.label,
            "fold_spread": stdev(folds) if len(folds) > 1 else None,
            **_reached(run),
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
            "verdict": run.verdict,
            "train_seconds": run.fit_seconds,
            "parameters": run.n_parameters,
            "reason": run.failures[0].message if run.failures else None,
            **scores,
        }
    )


def _reached(run: Run) -> dict[str, object]:
    """Whether each criterion's score exceeds its threshold; for recall, that of every class."""
    reached: dict[str, bool] = {}
    for entry in run.grades:
        kind = entry.criterion.partition(" ")[0]
        reached[f"{kind}_reached"] = reached.get(f"{kind}_reached", True) and entry.reached
    return dict(reached)
