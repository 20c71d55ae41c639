"""The export of a search's winner, or of the next best run where it cannot be exported."""

import time
from collections.abc import Callable
from typing import TypeVar

from marsbench.automl.found import Found
from marsbench.automl.search import search
from marsbench.config import Search
from marsbench.errors import StorageError, telling_machine_faults
from marsbench.execution.base import failure
from marsbench.progress import Progress, Silent

_Exported = TypeVar("_Exported")


def search_and_export(
    asked: Search,
    export: Callable[[Found], _Exported],
    progress: Progress | None = None,
    *,
    before: float = 0.0,
) -> tuple[Found, _Exported]:
    """Search, and export the winner; whatever keeps a run from being exported, the next best one is tried.

    Each failure is told, and kept in the search's record. A call begins with the best run again: what was
    missing may be there by then.

    Args:
        asked: what to search for.
        export: fits and writes the winner, or raises anything.
        progress: shows messages and bars.
        before: seconds of the time that were spent before this call.

    Returns:
        What was found, whose winner is the run that was exported; and what `export` returned.

    Raises:
        ExportError: no run could be exported.
        BenchError: as `search`.
        StorageError: this machine is at fault, such as by a full disk: no other run would fare better.
    """
    progress = progress or Silent()
    refused: dict[str, str] = {}
    while True:
        found = search(asked, progress, before=before, refused=refused)
        start = time.monotonic()
        try:
            with telling_machine_faults():
                return found, export(found)
        except StorageError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything as it saves a model
            reason = failure(error).message
            refused |= {found.winner[1].run_id: reason}
            progress.say(f"{found.winner[1].run_id} cannot be exported, the next best run is tried: {reason}")
        before = time.monotonic() - start
