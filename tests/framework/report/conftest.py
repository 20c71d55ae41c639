"""Runs with predictions and units, written without running anything."""

from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from marsbench.evaluation.criteria import Criteria
from marsbench.evaluation.scoring import Predictions, score_predictions
from marsbench.evaluation.unit_result import UnitResult
from marsbench.report.page import Options, build_page
from marsbench.report.selection import select_run
from marsbench.results.store import RunFolder

RESULTS = Path("results")
EPOCHS = [{"loss": 1.0 / epoch, "val_loss": 1.2 / epoch} for epoch in range(1, 5)]


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def tags() -> Callable[[str], list[tuple[str, dict[str, str | None]]]]:
    return lambda page: Tags(page).found


@pytest.fixture
def told_run(finished_run: Callable[..., RunFolder]) -> Callable[..., RunFolder]:
    """Write a run of twenty clips of which two are wrong, with predictions and two units."""

    def write(
        run_id: str = "a", labels: Sequence[str] = ("low", "high"), *, history: Any = EPOCHS,
        speakers: bool = True, clip: str = "clip", **changes: Any,
    ) -> RunFolder:  # fmt: skip
        targets = np.arange(20) % 2
        sure = np.where(np.arange(20) < 2, 0.1, np.linspace(0.6, 0.99, 20))
        probabilities = np.where(np.eye(2)[targets] == 1, sure[:, None], 1 - sure[:, None])
        folds = np.repeat([0, 1], 10)
        named = [f"speaker {row % 4}" if speakers else None for row in range(20)]
        metrics = score_predictions(Predictions(probabilities, targets, folds, named), labels)
        corpus = finished_run(run_id, 0.9).read_run().corpus.model_copy(update={"labels": list(labels)})
        given = {"corpus": corpus, "metrics": metrics, "criteria": Criteria()} | changes
        folder = finished_run(run_id, 0.9, **given)
        table = pd.DataFrame(
            {
                "clip": [f"{clip} {row}" for row in range(20)],
                "speaker": named,
                "fold": folds,
                "label": [labels[row % 2] for row in range(20)],
            }
        )
        for index, label in enumerate(labels):
            table[f"p_{label}"] = probabilities[:, index]
        table.to_parquet(folder.predictions, index=False)
        for fold in (0, 1):
            _write_unit(folder, fold, history)
        return folder

    return write


def _write_unit(folder: RunFolder, fold: int, history: Any) -> None:
    (folder.path / "plan.json").touch()
    folder.write_unit(
        UnitResult(
            fold=fold,
            probabilities=[],
            hyperparameters={},
            n_parameters=3,
            history=history,
            warnings=[],
            finished="",
            environment={},
            fit_seconds=0.5,
            predict_seconds=0.5,
        )
    )


@pytest.fixture
def page_of() -> Callable[..., str]:
    """The page on a run."""

    def build(folder: RunFolder, criteria: Criteria | None = None, **options: Any) -> str:
        return build_page(select_run(RESULTS, str(folder.path), criteria), Options(criteria, **options))

    return build
