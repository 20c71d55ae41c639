"""How far the searches in a results folder are, from their files alone."""

from dataclasses import dataclass
from pathlib import Path

from marsbench.atomic_files import is_locked, read_record
from marsbench.automl.selection import SearchRecord
from marsbench.errors import ResultsError
from marsbench.results.keys import SEARCH_FILES
from marsbench.results.studies import StudyFolder


@dataclass(frozen=True)
class SearchState:
    """One search and what there is of it."""

    path: Path
    """Its record, in RESULTS/CORPUS/PROTOCOL/search-ID."""
    record: SearchRecord
    is_live: bool
    """Whether a process is at work on it now."""
    seconds: float
    """Spent so far."""

    @property
    def is_finished(self) -> bool:
        """Whether it has a winner."""
        return self.record.winner is not None

    @property
    def state(self) -> str:
        """One word or two for a table."""
        return "running" if self.is_live else "finished" if self.is_finished else "cut off"

    @property
    def done(self) -> str:
        """The steps that it has come through."""
        record = self.record
        if record.winner is not None:
            return f"winner {record.winner.run_id}"
        counts = {
            "pipelines screened": record.looked and sum(one.score is not None for one in record.looked),
            "held out": record.held_out and len(record.held_out),
            "chosen for runs": record.finalists and len(record.finalists),
            "with trials": sum(seconds > 0 for seconds in record.trials.values()),
        }
        return ", ".join(f"{count} {step}" for step, count in counts.items() if count) or "screening"


def searches(root: Path) -> tuple[list[SearchState], list[str]]:
    """Every search below a results folder, and what could not be read of them."""
    found: list[SearchState] = []
    unreadable: list[str] = []
    for path in sorted(root.glob(SEARCH_FILES)):
        try:
            record = read_record(path, SearchRecord)
        except ResultsError as error:
            unreadable.append(str(error))
            continue
        spent = StudyFolder(path.parent / "study").seconds_spent
        found.append(SearchState(path, record, is_locked(path.parent), spent))
    return found, unreadable
