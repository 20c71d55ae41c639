"""Class probabilities of clips by models that were not trained on them, and what makes them valid."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from marsbench.data.corpus import CheckedCorpus
from marsbench.protocols.protocol import Rows

_TOLERANCE = 1e-4
"""Most that the probabilities of a clip may miss a sum of 1 by."""


@dataclass(frozen=True, eq=False)
class _Tested:
    """The clips that the folds test; row i of every array is clip i."""

    clips: tuple[str, ...]
    """Id of each clip in its corpus."""
    speakers: tuple[str | None, ...]
    """Speaker of each clip, None where unknown."""
    folds: NDArray[np.int64]
    """Fold that tests the clip, from 0, (n_clips,)."""
    targets: NDArray[np.int64]
    """True class, an index into `labels`, (n_clips,)."""
    labels: tuple[str, ...]
    """Classes, in the corpus's order."""

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.labels)

    @property
    def tested(self) -> Hashable:
        """Clips, their folds and true classes, and the labels: equal for runs that were tested alike."""
        return self.clips, self.folds.tobytes(), self.targets.tobytes(), self.labels


@dataclass(frozen=True, eq=False)
class Predictions(_Tested):
    """Class probabilities of the clips that the folds test; row i of every array is clip i.

    They are float32 in memory as on disk, so that scores are the same before writing and after reading.
    """

    probabilities: NDArray[np.float32]
    """(n_clips, n_classes), a column for each of `labels`; rows sum to 1."""

    @classmethod
    def of_folds(
        cls, corpus: CheckedCorpus, tests: Sequence[Rows], probabilities: Sequence[NDArray[np.float32]]
    ) -> Self:
        """The predictions of every fold, put together in the order of the corpus.

        Args:
            corpus: where the clips are from.
            tests: rows of the corpus that each fold tests.
            probabilities: (n_tested, n_classes) for each fold.
        """
        rows = np.concatenate(tests)
        order = np.argsort(rows, kind="stable")
        in_order = rows[order].tolist()
        return cls(
            clips=tuple([corpus.clips[row].id for row in in_order]),
            speakers=tuple([corpus.speakers[row] for row in in_order]),
            folds=np.repeat(np.arange(len(tests)), [len(test) for test in tests])[order],
            targets=corpus.targets[rows[order]],
            labels=corpus.labels,
            probabilities=np.concatenate(probabilities)[order],
        )

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class, (n_clips,); of equal ones the first."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the most probable class is the true one, (n_clips,)."""
        return np.equal(self.predicted, self.targets)

    def of_fold(self, fold: int) -> Self:
        """The predictions of the clips that one fold tests."""
        return self.of_rows(np.flatnonzero(self.folds == fold))

    def of_clips(self, clips: Sequence[str]) -> Self:
        """The predictions of some clips, in their order; KeyError for a clip that is not here."""
        rows = {clip: row for row, clip in enumerate(self.clips)}
        return self.of_rows(np.array([rows[clip] for clip in clips], np.int64))

    def of_rows(self, rows: Rows) -> Self:
        """The predictions in some rows, in their order."""
        return replace(
            self,
            clips=tuple(self.clips[row] for row in rows),
            speakers=tuple(self.speakers[row] for row in rows),
            folds=self.folds[rows],
            targets=self.targets[rows],
            probabilities=self.probabilities[rows],
        )

    def with_probabilities(self, probabilities: NDArray[np.floating]) -> Self:
        """The same clips with other probabilities, (n_clips, n_classes)."""
        return replace(self, probabilities=probabilities.astype(np.float32))


def joined(parts: Sequence[Predictions]) -> Predictions:
    """All rows of several predictions, one after another; their folds are the numbers of the parts."""
    return replace(
        parts[0],
        clips=tuple(clip for part in parts for clip in part.clips),
        speakers=tuple(speaker for part in parts for speaker in part.speakers),
        folds=np.repeat(np.arange(len(parts)), [len(part.clips) for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class Decisions(_Tested):
    """The most probable classes of `Predictions`: a byte or two a clip instead of a number a class.

    Decisions on the same clips share what both have in common.
    """

    predicted: NDArray[np.unsignedinteger]
    """Most probable class, (n_clips,); of equal ones the first."""

    @classmethod
    def of(cls, predictions: Predictions, others: "Sequence[Decisions]" = ()) -> Self:
        """Those of predictions, which share their fields with one of the others of the same clips, if any."""
        alike = (one for one in others if one.tested == predictions.tested)
        facts = next(alike, predictions)
        return cls(
            facts.clips,
            facts.speakers if facts.speakers == predictions.speakers else predictions.speakers,
            facts.folds,
            facts.targets,
            facts.labels,
            predictions.predicted.astype(np.min_scalar_type(predictions.n_classes)),
        )

    @property
    def correct(self) -> NDArray[np.bool_]:
        """As `Predictions.correct`."""
        return np.asarray(self.predicted == self.targets)


def stacked(models: Sequence[Predictions]) -> NDArray[np.float32]:
    """Probabilities that several models give the same clips, (n_models, n_clips, n_classes)."""
    return np.stack([model.probabilities for model in models])


def flaw_in(probabilities: NDArray[np.floating], shape: tuple[int, int]) -> str | None:
    """What keeps values from being class probabilities of a shape (n_clips, n_classes); None if they are."""
    if probabilities.shape != shape:
        return f"probabilities of shape {probabilities.shape}; {shape} is needed"
    if not np.isfinite(probabilities).all():
        return "NaN or infinite probabilities"
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if (probabilities < 0).any() or not np.allclose(sums, 1, atol=_TOLERANCE):
        return "probabilities that are negative or do not sum to 1"
    return None
