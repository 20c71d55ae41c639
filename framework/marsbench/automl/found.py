"""The result of a search."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.atomic_files import write_record
from marsbench.automl.holdout import held_out_score
from marsbench.automl.selection import SearchRecord
from marsbench.data.corpus import CheckedCorpus
from marsbench.evaluation.metrics import RANKED_BY
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import ChosenScore
from marsbench.evaluation.selection_bias import bias_of_chosen
from marsbench.results.predictions import read_predictions
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder


class Found(NamedTuple):
    """The result of a search."""

    winner: tuple[RunFolder, Run]
    runs: list[tuple[RunFolder, Run]]
    """All runs that were made: finalists, tuned ones, the ensemble."""
    record: SearchRecord
    path: Path
    """The record's file."""
    corpus: CheckedCorpus
    """What was searched on; its `held_out` clips were kept away."""
    seconds: float = 0.0
    """For fits that find the best configuration of the winner over all folds, beside the fit on all clips."""

    @property
    def has_final_score(self) -> bool:
        """Whether no held-out clips wait for the winner's predictions."""
        final = self.record.final
        known = final is not None and (final.run_id, final.clips) == (self.winner[1].run_id, self._held_out)
        return known or not self._held_out

    @property
    def _held_out(self) -> list[str]:
        return [clip.id for clip in self.corpus.held_out]

    def with_final_score(self, probabilities: NDArray[np.floating]) -> "Found":
        """Score the winner's bundle on the held-out clips, and keep that in the record.

        Args:
            probabilities: of these clips, in order, (n_clips, n_classes).
        """
        clips, labels = self.corpus.held_out, self.corpus.labels
        final = held_out_score(self.winner[1].run_id, clips, labels, probabilities)
        record = self.record.model_copy(update={"final": final})
        write_record(self.path, record)
        return self._replace(record=record)


def corrected(
    objective: str, runs: Sequence[tuple[RunFolder, Run]], inner: Sequence[list[Predictions]], winner: int
) -> ChosenScore | None:
    """The score of the run at a position, corrected for having been chosen; None if nothing was chosen.

    `inner` are the predictions that the complete ones of the runs, in their order, and then all other
    candidates were chosen by.
    """
    metrics = runs[winner][1].metrics
    if len(inner) < 2 or metrics is None:
        return None
    outer = {place: read_predictions(*one) for place, one in enumerate(runs) if one[1].metrics}
    bias = bias_of_chosen(inner, outer, winner, objective)
    return ChosenScore.of(metrics[RANKED_BY], bias, len(inner), len(outer[winner].clips))
