"""Matrices of training and test corpora: for a terminal, as JSON, and the words for both and the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from marsbench.config import is_transductive
from marsbench.evaluation.scores import Score
from marsbench.report.phrases import pipeline_phrase
from marsbench.report.terminal.console import table
from marsbench.report.terminal.runs import interval, percent
from marsbench.results.matrix import SHOWN, Cell, Matrix
from marsbench.results.schema import NORMALISED

NOTE = (
    "UAR, below it accuracy, in % with 95 % intervals over the speakers of the tested corpus. Where both "
    "corpora are one: new speakers of that corpus. Elsewhere: new speakers of a corpus that was not trained "
    "on; a mean over few corpora says little about another one. Chance: equal recalls; always the most "
    "frequent class."
)


def title_of(matrix: Matrix) -> str:
    """The pipeline and the corpus, on one line."""
    return f"{pipeline_phrase(matrix.row)}, {matrix.row.board.corpus}"


def trained_phrase(trained: Sequence[str], corpora: Sequence[str]) -> str:
    """What was trained on, of all tested `corpora`."""
    if len(trained) > 1 and len(trained) == len(corpora) - 1:
        (tested,) = set(corpora).difference(trained)
        return f"all but {tested}"
    return " + ".join(trained)


def meaning_of(cell: Cell) -> str:
    """For whom a cell's scores hold."""
    if cell.is_other_corpus:
        return f"new speakers of a corpus that was not trained on ({cell.protocol})"
    whom = "new speakers" if cell.speakers_apart else "speakers that were trained on"
    return f"{whom} of the corpus that was trained on ({cell.protocol})"


def terminal_matrices(matrices: Sequence[Matrix]) -> RenderableType:
    """A table for each pipeline, and what their numbers mean; nothing without a matrix."""
    notes = [Text(NOTE, "dim")] if matrices else []
    said = dict.fromkeys(NORMALISED[by] for one in matrices if (by := one.row.normalise))
    notes += [Text(f"{line}.", "dim") for line in said]
    return Group(*map(_table, matrices), *notes)


def _table(matrix: Matrix) -> RenderableType:
    """Scores by what was trained on (rows) and tested on (columns), with chance in the last row."""
    corpora = matrix.corpora
    rows = [
        (trained_phrase(trained, corpora), *(_cell(matrix.cells.get((trained, one))) for one in corpora))
        for trained in matrix.trainings
    ]
    chance = (_chance(matrix.chance[one]) for one in corpora)
    title = Text(f"\nTrained on (rows), tested on (columns): {title_of(matrix)}", "bold")
    return Group(title, table("trained on", numbers=corpora, rows=[*rows, ("chance", *chance)]))


def _cell(cell: Cell | None) -> Text:
    """A line for each metric, with its interval."""
    if cell is None:
        return Text("-", "dim")
    uar, *others = (_score(cell.scores[name]) for name in SHOWN)
    return Text("\n").join([Text(uar, "bold"), *(Text(line, "dim") for line in others)])


def _score(score: Score) -> str:
    return f"{percent(score.value)} ({interval(score)})"


def _chance(chance: Mapping[str, float]) -> Text:
    return Text("\n".join(percent(chance[name]) for name in SHOWN), "dim")


def matrix_values(matrix: Matrix) -> dict[str, Any]:
    """A matrix as JSON has it."""
    row = matrix.row
    return {
        "corpus": row.board.corpus,
        "features": row.features,
        "model": row.model,
        "settings": row.settings,
        "tuned": row.tuner is not None,
        "normalise": row.normalise,
        "transductive": is_transductive(row.normalise),
        "versions": row.versions and row.versions.phrase,
        "seeds": list(row.seeds),
        "cells": [_values(cell) for _, cell in sorted(matrix.cells.items())],
    }


def _values(cell: Cell) -> dict[str, Any]:
    facts = {
        "trained_on": list(cell.trained_on),
        "tested_on": cell.tested_on,
        "holds_for": meaning_of(cell),
        "protocol": cell.protocol,
        "n_clips": cell.n_clips,
        "n_speakers": cell.n_speakers,
    }
    return facts | {name: cell.scores[name].model_dump() | {"chance": cell.chance[name]} for name in SHOWN}
