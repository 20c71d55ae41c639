"""What known voices are worth: a pipeline under random splits against splits by speaker."""

from collections.abc import Iterable
from dataclasses import dataclass

from marsbench.evaluation.metrics import RANKED_BY
from marsbench.evaluation.scores import Score
from marsbench.results.row import Row

MOST_GAPS = 30


@dataclass(frozen=True)
class Gap:
    """One pipeline under both kinds of protocol, on the same clips; scores are macro F1."""

    corpus: str
    pipeline: str
    known: Score
    """With the test clips' speakers among the training clips."""
    known_protocol: str
    unknown: Score
    """Without."""
    unknown_protocol: str

    @property
    def difference(self) -> float:
        """What is lost with unknown speakers."""
        return self.known.value - self.unknown.value


def gaps(rows: Iterable[Row]) -> list[Gap]:
    """Both views of every row that has them, best first; one that stands on both boards once."""
    found = {
        (row.board.corpus, row.board.fingerprint, row.configuration): _gap(row, row.other)
        for row in rows
        if row.other is not None and row.speaker_gap is not None
    }
    return sorted(found.values(), key=lambda pair: -pair.known.value)


def _gap(row: Row, other: Row) -> Gap:
    unknown, known = (row, other) if row.board.speakers_apart else (other, row)
    return Gap(
        corpus=row.board.corpus,
        pipeline=_pipeline(row),
        known=_score(known),
        known_protocol=known.board.protocol,
        unknown=_score(unknown),
        unknown_protocol=unknown.board.protocol,
    )


def _score(row: Row) -> Score:
    value, low, high = (row.scores[f"{RANKED_BY}{end}"] for end in ("", "_low", "_high"))
    return Score(value=value, low=low, high=high)


def _pipeline(row: Row) -> str:
    """With what was set by hand, on one line."""
    words = [f"{name}={value}" for name, value in row.settings.items()]
    words += [f"{len(row.seeds)} seeds"] if len(row.seeds) > 1 else []
    words += ["tuned"] if row.tuner else []
    words += [f"{len(row.members)} members"] if row.members else []
    return ", ".join([f"{row.features} + {row.model}", *words])
