"""Leaderboards: runs ranked, only ever among runs of one protocol on one corpus."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import dist, inf, sqrt
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from marsbench.errors import ResultsError, unknown
from marsbench.evaluation.criteria import Criteria, Outcome, grade, verdict
from marsbench.evaluation.scores import Metrics
from marsbench.files import canonical_json
from marsbench.results.schema import Standing, Status, TuningRecord
from marsbench.results.store import find_runs, run_folders


class Row(NamedTuple):
    """One run on the leaderboard; scores are None for a run without all its folds."""

    rank: int | None
    run_id: str
    finished: str
    """UTC, ISO 8601."""
    corpus: str
    synthetic: bool
    protocol: str
    protocol_hash: str
    features: str
    model: str
    settings: dict[str, object]
    seed: int
    status: Status
    train_seconds: float
    parameters: int | None
    reason: str | None = None
    """Why a failed run failed."""
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
    tuner: str | None = None
    """None for the untuned configuration."""
    trials: int | None = None
    """Configurations tried, over all folds."""
    gain: float | None = None
    """Macro F1 above that of the untuned run of the same pipeline, settings and seed on this board."""
    optimism: float | None = None
    """Inner minus outer score by the tuner's objective, mean over folds."""
    asked: str | None = None
    """Digest of how tuning was asked for."""


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
        The boards, and lines on what is left out: each run that cannot be read, and how many are unfinished.

    Raises:
        ResultsError: no runs there, or none of that corpus or protocol.
    """
    asked = criteria or Criteria()
    groups: dict[tuple[str, str, str], list[Row]] = {}
    left_out: list[str] = []
    n_unfinished = 0
    for folder in run_folders(root, corpus, protocol):
        try:
            run = folder.read_standing()
        except ResultsError as error:
            left_out.append(str(error))
            continue
        if run is not None:
            board = groups.setdefault((run.corpus.name, run.protocol.name, run.protocol.hash), [])
            board.append(_row(run, asked))
        else:
            n_unfinished += folder.is_planned
    if n_unfinished:
        left_out.append(f"{n_unfinished} run(s) that are not finished; bench status shows them")
    if not groups and not left_out:
        _raise_what_there_is(root, corpus, protocol)
    return [_board(group, asked, older) for _, group in sorted(groups.items())], left_out


def _raise_what_there_is(root: Path, corpus: str | None, protocol: str | None) -> None:
    folders = [folder.path for folder in find_runs(root)]
    known = {path.parents[1].name for path in folders}, {path.parents[0].name for path in folders}
    for what, wanted, names in (("corpus", corpus, known[0]), ("protocol", protocol, known[1])):
        if wanted is not None and names and wanted not in names:
            raise ResultsError(f"{unknown(what, wanted, names)} in {root.absolute()}")
    where = f"{root.absolute()}{f' on {corpus}' if corpus else ''}{f' under {protocol}' if protocol else ''}"
    raise ResultsError(f"no runs in {where}; make one with: bench run")


def _board(rows: list[Row], criteria: Criteria, older: bool) -> Board:
    first, shown = rows[0], _with_gains(rows if older else _latest(rows))
    return Board(
        corpus=first.corpus,
        protocol=first.protocol,
        hash=first.protocol_hash,
        synthetic=first.synthetic,
        criteria=criteria,
        rows=ranked(shown),
        n_older=len(rows) - len(shown),
    )


def _latest(rows: list[Row]) -> list[Row]:
    """Of each pipeline with its settings and seed, the run that was finished last."""
    latest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row.finished):
        latest[canonical_json([*_pipeline(row), row.asked])] = row
    return list(latest.values())


def _with_gains(rows: list[Row]) -> list[Row]:
    """Rows that know what tuning gained: against the untuned run that was finished last."""
    untuned = {
        canonical_json(_pipeline(row)): row.macro_f1
        for row in sorted(rows, key=lambda row: row.finished)
        if row.tuner is None
    }
    if len(untuned) == len(rows):
        return rows
    return [_with_gain(row, untuned.get(canonical_json(_pipeline(row)))) for row in rows]


def _with_gain(row: Row, untuned: float | None) -> Row:
    if row.tuner is None or row.macro_f1 is None or untuned is None:
        return row
    return row._replace(gain=row.macro_f1 - untuned)


def _pipeline(row: Row) -> list[Any]:
    return [row.features, row.model, row.settings, row.seed]


def ranked(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows by macro F1, then accuracy, then id; equal scores share a rank; failed runs, last, have none."""
    ordered: list[Row] = []
    for position, row in enumerate(sorted(rows, key=_place), 1):
        rank = ordered[-1].rank if ordered and _place(ordered[-1])[:2] == _place(row)[:2] else position
        ordered.append(row if row.macro_f1 is None else row._replace(rank=rank))
    return tuple(ordered)


def _place(row: Row) -> tuple[float, float, str]:
    if row.macro_f1 is None or row.accuracy is None:
        return inf, inf, row.run_id
    return -row.macro_f1, -row.accuracy, row.run_id


def _row(run: Standing, criteria: Criteria) -> Row:
    return Row(
        rank=None,
        run_id=run.run_id,
        finished=run.finished,
        corpus=run.corpus.name,
        synthetic=run.corpus.synthetic,
        protocol=run.protocol.name,
        protocol_hash=run.protocol.hash,
        features=run.features.name,
        model=run.model.name,
        settings=run.settings,
        seed=run.seed,
        status=run.status,
        train_seconds=run.fit_seconds,
        parameters=run.n_parameters,
        reason=run.failures[0].message if run.failures else None,
        **(_scores(run.metrics, criteria) if run.metrics else {}),
        verdict=_verdict(run, criteria),
        **(_tuning(run.tuning) if run.tuning else {}),
    )


def _tuning(tuning: TuningRecord) -> dict[str, Any]:
    asked = tuning.asked
    return {"tuner": asked.tuner, "trials": tuning.n_trials, "optimism": tuning.optimism, "asked": asked.key}


def _verdict(run: Standing, criteria: Criteria) -> Outcome | None:
    # Grading takes as long as reading, and most runs were graded by the same criteria when they were made.
    if run.metrics is None or run.criteria == criteria:
        return run.verdict
    return verdict(grade(run.metrics, criteria))


def _scores(metrics: Metrics, criteria: Criteria) -> dict[str, Any]:
    accuracy, macro_f1, worst = metrics.accuracy.value, metrics.macro_f1.value, metrics.worst
    return {
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "uar": metrics.uar.value,
        "worst_recall": worst.recall.value,
        "worst_class": worst.label,
        "accuracy_reached": accuracy > criteria.accuracy,
        "macro_f1_reached": macro_f1 > criteria.macro_f1,
        "class_recall_reached": worst.recall.value > criteria.class_recall,
        "fold_spread": _spread([fold.macro_f1 for fold in metrics.folds]),
    }


def _spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation; that of `statistics`, exact to the last bit, takes forty times as long."""
    if len(values) < 2:
        return None
    return dist(values, [fmean(values)] * len(values)) / sqrt(len(values) - 1)
