"""Metrics that were added after a run was made: computed from its predictions and kept in the cache."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from marsbench.atomic_files import home, read_checksummed, write_checksummed
from marsbench.errors import DamagedError, ResultsError
from marsbench.evaluation.metrics import METRICS, Metric
from marsbench.evaluation.scores import Scores
from marsbench.hashing import digest
from marsbench.results.schema import Standing
from marsbench.results.store import RunFolder
from marsbench.versions import versions_of

_SCORES = TypeAdapter(Scores)


def with_missing_metrics(folder: RunFolder, run: Standing) -> tuple[Standing, str | None]:
    """The run with every metric of `METRICS`, or as it was and a line if its predictions cannot be read."""
    if run.metrics is None or METRICS.keys() <= run.metrics.scores.keys():
        return run, None
    missing = [metric for name, metric in METRICS.items() if name not in run.metrics.scores]
    try:
        scores = _scores(folder, run, missing)
    except ResultsError as error:
        names = ", ".join(metric.title for metric in missing)
        return run, f"{names} of {run.run_id}: {error}"
    return run.model_copy(update={"metrics": run.metrics.model_copy(update=scores)}), None


def _scores(folder: RunFolder, run: Standing, missing: list[Metric]) -> Scores:
    """The metrics of the run's predictions, from the cache if they are there."""
    kept = _kept_in(run, missing)
    try:
        return _SCORES.validate_json(read_checksummed(kept))
    except (OSError, DamagedError, ValidationError):
        scores = _computed(folder, run, missing)
        write_checksummed(kept, _SCORES.dump_json(scores).decode())
        return scores


def _computed(folder: RunFolder, run: Standing, missing: list[Metric]) -> Scores:
    from marsbench.evaluation.scoring import scores_of
    from marsbench.results.predictions import read_predictions

    return scores_of(read_predictions(folder, run), missing)


def _kept_in(run: Standing, missing: list[Metric]) -> Path:
    key = digest([versions_of("metrics"), run.predictions_sha256, [metric.name for metric in missing]])
    return home() / "metrics" / f"{key[:32]}.json"
