"""What known voices are worth: a pipeline under random splits against splits by speaker."""

from collections.abc import Iterable
from dataclasses import dataclass

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
        (row.corpus, row.fingerprint, row.configuration): _gap(row) for row in rows if row.gap is not None
    }
    return sorted(found.values(), key=lambda pair: -pair.known.value)


def _gap(row: Row) -> Gap:
    own = _score(row.macro_f1, row.macro_f1_low, row.macro_f1_high), row.protocol
    other = (
        _score(row.other_macro_f1, row.other_macro_f1_low, row.other_macro_f1_high),
        str(row.other_protocol),
    )
    (known, known_protocol), (unknown, unknown_protocol) = (
        (other, own) if row.speakers_apart else (own, other)
    )
    return Gap(row.corpus, _pipeline(row), known, known_protocol, unknown, unknown_protocol)


def _score(value: float | None, low: float | None, high: float | None) -> Score:
    assert value is not None  # noqa: S101 - a row with a gap has all of these
    assert low is not None  # noqa: S101
    assert high is not None  # noqa: S101
    return Score(value=value, low=low, high=high)


def _pipeline(row: Row) -> str:
    """With what was set by hand, on one line."""
    words = [f"{name}={value}" for name, value in row.settings.items()]
    words += [f"{len(row.seeds)} seeds"] if len(row.seeds) > 1 else []
    words += ["tuned"] if row.tuner else []
    words += [f"{len(row.members)} members"] if row.members else []
    return ", ".join([f"{row.features} + {row.model}", *words])
