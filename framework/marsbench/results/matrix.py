"""Scores by the corpora that a pipeline was trained on and the one that it was tested on.

Made of finished runs on joined corpora, of whichever protocols test one corpus in each fold.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from marsbench.config import Places, each_place, places_phrase
from marsbench.data.voices import voices_of
from marsbench.errors import ResultsError
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Score
from marsbench.evaluation.scoring import scores_of
from marsbench.results.predictions import read_predictions
from marsbench.results.row import Row, row_of
from marsbench.results.schema import Standing
from marsbench.results.store import RunFolder, run_folders

SHOWN = ("uar", "accuracy")
"""The metrics of a matrix, by name."""
_LAST = "across"
"""Its folds are those of from_NAME where only two corpora were joined; these come first."""
Place = tuple[tuple[str, ...], str]
"""Names of the corpora that were trained on, and of the one that was tested."""


@dataclass(frozen=True)
class Cell:
    """Scores on one corpus by models that were trained on some corpora."""

    trained_on: tuple[str, ...]
    tested_on: str
    protocol: str
    speakers_apart: bool
    """Whether no tested speaker was trained on."""
    n_clips: int
    n_speakers: int
    """Known ones."""
    scores: Mapping[str, Score]
    """Each of `SHOWN` with its 95 % interval; means over several seeds."""
    chance: Mapping[str, float]
    """What guessing gives: for UAR one class of all, for accuracy always the most frequent class."""

    @property
    def is_other_corpus(self) -> bool:
        """Whether the tested corpus was not trained on."""
        return self.tested_on not in self.trained_on


@dataclass(frozen=True)
class Matrix:
    """All cells of one pipeline on one joined corpus."""

    row: Row
    """One of its runs, as on a leaderboard: the pipeline and its settings."""
    cells: Mapping[Place, Cell]

    @property
    def corpora(self) -> list[str]:
        """Names of the tested corpora, sorted."""
        return sorted({tested for _, tested in self.cells})

    @property
    def trainings(self) -> list[tuple[str, ...]]:
        """What was trained on, single corpora first."""
        return sorted({trained for trained, _ in self.cells}, key=lambda names: (len(names), names))

    @property
    def chance(self) -> dict[str, Mapping[str, float]]:
        """`Cell.chance` by the corpus that is tested."""
        return {tested: cell.chance for (_, tested), cell in self.cells.items()}


def matrices(runs: Iterable[tuple[RunFolder, Standing]]) -> tuple[list[Matrix], list[str]]:
    """One matrix for each pipeline and joined corpus; runs that fill no cell are passed over.

    Where several runs fill a cell, those of one protocol count: the latest of each seed.

    Returns:
        The matrices, those with the highest mean UAR on other corpora first, and a line on each run whose
        predictions cannot be read.
    """
    found: dict[tuple[str, ...], _ByProtocol] = {}
    left_out: list[str] = []
    for folder, run in sorted(runs, key=lambda one: one[1].finished):
        if not _fills_cells(run):
            continue
        row = row_of(run, run.criteria)
        key = run.corpus.name, run.corpus.fingerprint, row.configuration
        try:
            cells = _cells(run, read_predictions(folder, run))
        except ResultsError as error:
            left_out.append(str(error))
            continue
        found.setdefault(key, {}).setdefault(run.protocol.name, {})[run.seed] = row, cells
    return sorted(map(_matrix, found.values()), key=_place), left_out


def stored_matrices(root: Path, corpus: Places = None) -> tuple[list[Matrix], list[str]]:
    """The matrices of all runs below a results folder, of one joined corpus if named, as `matrices`.

    Raises:
        ResultsError: no run fills a cell.
    """
    runs: list[tuple[RunFolder, Standing]] = []
    left_out: list[str] = []
    places = each_place(corpus)
    for folder in run_folders(root, places[0] if len(places) == 1 else None):
        try:
            run = folder.read_standing()
        except ResultsError as error:
            left_out.append(str(error))
        else:
            if run and (len(places) < 2 or run.corpus.is_meant_by(*places)):
                runs.append((folder, run))
    found, more = matrices(runs)
    if not found and not left_out + more:
        where = f"{root.absolute()}{f' on {places_phrase(corpus)}' if places else ''}"
        raise ResultsError(
            f"no runs in {where} that test one corpus in each fold; make them with: bench run --data A "
            "--data B --protocol across_pairs"
        )
    return found, left_out + more


_ByProtocol = dict[str, dict[int, tuple[Row, dict[Place, Cell]]]]
"""What runs of one pipeline on one corpus give, by protocol and seed."""


def _fills_cells(run: Standing) -> bool:
    corpora = run.protocol.corpora
    return run.metrics is not None and bool(corpora) and all(len(fold.test) == 1 for fold in corpora)


def _matrix(runs: _ByProtocol) -> Matrix:
    cells: dict[Place, Cell] = {}
    for name in sorted(runs, key=lambda name: (name == _LAST, name)):
        by_seed = [of_seed for _, of_seed in runs[name].values()]
        cells = {place: _mean([of_seed[place] for of_seed in by_seed]) for place in by_seed[0]} | cells
    rows = {seed: row for of_protocol in runs.values() for seed, (row, _) in of_protocol.items()}
    return Matrix(rows[min(rows)]._replace(seeds=tuple(sorted(rows))), cells)


def _place(matrix: Matrix) -> tuple[str, float, str]:
    """Sort key of a matrix."""
    scores = [cell.scores["uar"].value for cell in matrix.cells.values() if cell.is_other_corpus]
    return matrix.row.board.corpus, -fmean(scores) if scores else 1.0, matrix.row.configuration


def _cells(run: Standing, predictions: Predictions) -> dict[Place, Cell]:
    """Each cell that a run fills."""
    folds: dict[Place, list[int]] = {}
    for number, fold in enumerate(run.protocol.corpora):
        folds.setdefault((tuple(fold.train), fold.test[0]), []).append(number)
    return {
        place: _cell(place, run, predictions.of_rows(np.flatnonzero(np.isin(predictions.folds, numbers))))
        for place, numbers in folds.items()
    }


def _cell(place: Place, run: Standing, predictions: Predictions) -> Cell:
    counts = np.bincount(predictions.targets, minlength=predictions.n_classes)
    chance = {"uar": 1 / int((counts > 0).sum()), "accuracy": float(counts.max() / counts.sum())}
    scores = scores_of(predictions, [METRICS[name] for name in SHOWN])
    voices = voices_of(predictions.targets.tolist(), predictions.speakers, predictions.labels)
    return Cell(
        *place,
        protocol=run.protocol.name,
        speakers_apart=run.protocol.by_speaker,
        n_clips=len(predictions.clips),
        n_speakers=voices.n_speakers,
        scores={name: score for name, score in scores.items() if isinstance(score, Score)},
        chance={name: chance[name] for name in SHOWN},
    )


def _mean(cells: Sequence[Cell]) -> Cell:
    """One cell of several seeds; the ends of intervals are means too, as on a leaderboard."""
    ends = {
        name: {end: fmean(getattr(cell.scores[name], end) for cell in cells) for end in Score.model_fields}
        for name in SHOWN
    }
    return replace(cells[0], scores={name: Score(**of_name) for name, of_name in ends.items()})
