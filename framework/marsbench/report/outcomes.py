"""What a run predicted, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from marsbench.errors import ResultsError
from marsbench.results.predictions import class_names, probabilities_of, read_predictions, targets_of
from marsbench.results.store import RunFolder


@dataclass(frozen=True)
class Outcomes:
    """Out-of-fold predictions; rows are clips."""

    clips: list[str]
    speakers: list[str | None]
    targets: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    """(n_clips, n_classes)."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class, (n_clips,)."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def n_speakers(self) -> int:
        """How many speakers are known."""
        return len({speaker for speaker in self.speakers if speaker is not None})


def read_outcomes(folder: RunFolder, labels: Sequence[str]) -> Outcomes:
    """Read a run's predictions.

    Raises:
        ResultsError: missing, damaged, or not of these classes.
    """
    table = read_predictions(folder.predictions)
    if class_names(table) != list(labels):
        raise ResultsError(f"{folder.predictions} holds other classes than the run")
    try:
        probabilities = probabilities_of(table)
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{folder.predictions} holds something else than probabilities") from error
    if not len(table) or not np.isfinite(probabilities).all():
        raise ResultsError(f"{folder.predictions} has no probability for some clip")
    return Outcomes(
        clips=[str(clip) for clip in table["clip"]],
        speakers=[None if pd.isna(speaker) else str(speaker) for speaker in table["speaker"]],
        targets=targets_of(table),
        probabilities=probabilities,
    )
