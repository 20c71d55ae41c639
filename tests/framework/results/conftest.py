"""Runs with predictions, written without running anything."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pandas as pd
import pytest

from marsbench.evaluation.scoring import Predictions, score_predictions
from marsbench.results.store import RunFolder

N_CLIPS, LABELS = 240, ("low", "high")
TARGETS = np.arange(N_CLIPS) // 12 % 2
FOLDS = np.arange(N_CLIPS) % 5
SPEAKERS = [f"speaker {row % 12}" for row in range(N_CLIPS)]


@pytest.fixture
def predicted_run(finished_run: Callable[..., RunFolder]) -> Callable[..., RunFolder]:
    """Write a run with predictions that are right but for some rows."""

    def write(run_id: str, wrong: Collection[int] = (), **changes: Any) -> RunFolder:
        is_wrong = np.isin(np.arange(N_CLIPS), list(wrong))
        probabilities = np.where(np.eye(2)[np.where(is_wrong, 1 - TARGETS, TARGETS)] == 1, 0.9, 0.1)
        metrics = score_predictions(Predictions(probabilities, TARGETS, FOLDS, SPEAKERS), LABELS)
        folder = finished_run(run_id, 0.5, **{"metrics": metrics, **changes})
        table = pd.DataFrame(
            {
                "clip": [f"clip {row}" for row in range(N_CLIPS)],
                "speaker": SPEAKERS,
                "fold": FOLDS,
                "label": [LABELS[target] for target in TARGETS],
                "p_low": probabilities[:, 0],
                "p_high": probabilities[:, 1],
            }
        )
        table.to_parquet(folder.predictions, index=False)
        return folder

    return write
