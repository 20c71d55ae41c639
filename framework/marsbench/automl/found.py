"""The result of a search."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.atomic_files import write_record
from marsbench.automl.holdout import held_out_score
from marsbench.automl.selection import SearchRecord
from marsbench.data.corpus import CheckedCorpus
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
