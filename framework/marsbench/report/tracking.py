"""A finished run as a run of an experiment tracker: MLflow, or TensorBoard.

What is logged is the same for all of them (`Tracked`); a tracker is one entry of `TRACKERS`. A run that a
tracker has already is left alone.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from marsbench.environment import import_extra
from marsbench.errors import ExportError, ResultsError
from marsbench.evaluation.scores import Metrics, Score
from marsbench.results.plots import plot_confusion
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder

_Value = TypeVar("_Value")
_RUN_ID = "marsbench.run_id"
_MOST_METRICS, _MOST_PARAMETERS, _LONGEST = 1000, 100, 6000
"""Limits of one request to MLflow, and of a value's characters."""


@dataclass(frozen=True)
class Tracked:
    """What a tracker gets of a run."""

    experiment: str
    """Corpus and protocol: runs of one leaderboard."""
    name: str
    parameters: dict[str, str]
    """Configuration: features, model, parameters, seed, criteria, tuning."""
    tags: dict[str, str]
    """Verdict, hashes, versions and hardware."""
    scores: dict[str, float]
    """Each score, its interval as NAME_low and NAME_high; recall by class; seconds and sizes."""
    by_fold: list[dict[str, float]]
    files: list[Path]
    """The record, the predictions, the confusion matrix."""
    finished: datetime

    @classmethod
    def of(cls, folder: RunFolder) -> "Tracked":
        """Read a run; its confusion matrix is drawn if it was not yet.

        Raises:
            ResultsError: it is damaged, or not complete.
        """
        run = folder.read_run()
        if run.metrics is None:
            raise ResultsError(f"{run.run_id} is not complete: it has no scores to log")
        if not folder.confusion_plot.exists():
            plot_confusion(run, folder.confusion_plot)
        return cls(
            experiment=f"{run.corpus.name}/{run.protocol.name}",
            name=run.run_id,
            parameters=_named((name, _text(value)) for name, value in _parameters(run) if value is not None),
            tags=_named((name, value) for name, value in _tags(run) if value),
            scores=_named(_scores(run, run.metrics)),
            by_fold=[
                {f"fold/{name}": value for name, value in fold.scores.items()} for fold in run.metrics.folds
            ],
            files=[folder.path / "run.json", folder.predictions, folder.confusion_plot],
            finished=datetime.fromisoformat(run.finished),
        )


def _named(values: Iterable[tuple[str, _Value]]) -> dict[str, _Value]:
    """Values by names of the characters that trackers take; labels of classes may have others."""
    forbidden = r"[^\w. -]|^\.+$|^$"
    return {
        "/".join(re.sub(forbidden, "_", part) for part in name.split("/")): value for name, value in values
    }


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _parameters(run: Run) -> Iterator[tuple[str, Any]]:
    yield from {"features": run.features.name, "model": run.model.name, "seed": run.seed}.items()
    yield from {"threads": run.threads, "normalise": run.normalise}.items()
    if run.versions is not None:
        yield from _prefixed("versions.", dict(run.versions)).items()
    for recipe in (run.features, run.model):
        yield from _prefixed(f"{recipe.name}.", recipe.parameters).items()
    yield from _prefixed("criteria.", dict(run.criteria)).items()
    if run.hyperparameters and all(one == run.hyperparameters[0] for one in run.hyperparameters):
        yield from run.hyperparameters[0].items()
    if run.tuning is not None:
        yield from _prefixed("tuning.", dict(run.tuning.asked)).items()
    if run.ensemble is not None:
        yield "members", [member.run_id for member in run.ensemble.members]


def _tags(run: Run) -> Iterator[tuple[str, str]]:
    yield from {_RUN_ID: run.run_id, "title": run.title, "verdict": run.verdict or ""}.items()
    yield from {"corpus": run.corpus.name, "corpus.fingerprint": run.corpus.fingerprint}.items()
    yield from {"protocol": run.protocol.name, "protocol.hash": run.protocol.hash}.items()
    yield "synthetic", "true" if run.corpus.synthetic else ""
    yield "predictions.sha256", run.predictions_sha256 or ""
    yield from ((f"criterion.{grade.criterion}", grade.outcome) for grade in run.grades)
    yield from _prefixed("environment.", run.environment).items()


def _scores(run: Run, metrics: Metrics) -> Iterator[tuple[str, float]]:
    scored = metrics.scores | {f"recall/{one.label}": one.recall for one in metrics.classes}
    for name, score in scored.items():
        if isinstance(score, Score):
            yield from {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}.items()
        else:
            yield name, score
    sizes = {"n_parameters": run.n_parameters, "model_bytes": run.model_bytes}
    seconds = {"fit_seconds": run.fit_seconds, "predict_seconds": run.predict_seconds}
    yield from ((name, float(value)) for name, value in (seconds | sizes).items() if value is not None)


def _to_mlflow(run: Tracked, place: str | None) -> str:
    """Log to a tracking server or store, MLflow's own default if no place is named."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is told to others unasked
    mlflow = import_extra("mlflow", "mlflow")
    try:
        client = mlflow.MlflowClient(tracking_uri=place)
        found = client.get_experiment_by_name(run.experiment)
        experiment = found.experiment_id if found else client.create_experiment(run.experiment)
        digest = run.tags.get("predictions.sha256", "")
        wanted = f"tags.`{_RUN_ID}` = '{run.name}' AND tags.`predictions.sha256` = '{digest}'"
        known = client.search_runs([experiment], f"{wanted} AND attributes.status = 'FINISHED'")
        if not known:
            _log_to_mlflow(client, experiment, run)
    except Exception as error:
        raise ExportError(f"{run.name} cannot be logged to MLflow: {_line(error)}") from error
    return f"{'already ' * bool(known)}in experiment {run.experiment} of {client.tracking_uri}"


def _log_to_mlflow(client: Any, experiment: str, run: Tracked) -> None:
    entities = import_extra("mlflow.entities", "mlflow")
    moment = int(1000 * run.finished.timestamp())
    made = client.create_run(experiment, start_time=moment, tags=run.tags, run_name=run.name).info.run_id
    points = [
        entities.Metric(name, value, moment, step)
        for step, scores in enumerate([run.scores, *run.by_fold])
        for name, value in scores.items()
    ]
    parameters = [entities.Param(name, value[:_LONGEST]) for name, value in run.parameters.items()]
    for some in _blocks(points, _MOST_METRICS):
        client.log_batch(made, metrics=some)
    for some in _blocks(parameters, _MOST_PARAMETERS):
        client.log_batch(made, params=some)
    for path in run.files:
        client.log_artifact(made, str(path))
    client.set_terminated(made, end_time=moment)


def _blocks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _to_tensorboard(run: Tracked, place: str | None) -> str:
    """Write an event file below a folder, `tensorboard` if none is named."""
    import_extra("tensorboard", "tensorboard")  # without it TensorFlow's summaries are not whole
    from marsbench.plugin.keras import import_tensorflow

    folder = Path(place or "tensorboard", *run.experiment.split("/"), run.name)
    if folder.exists():
        return f"already in {folder}"
    summary = import_tensorflow().summary
    unfinished = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        writer = summary.create_file_writer(str(unfinished))
        with writer.as_default():
            for step, scores in enumerate([run.scores, *run.by_fold]):
                for name, value in scores.items():
                    summary.scalar(name, value, step=step)
            summary.text("configuration", _markdown(run.parameters), step=0)
            summary.text("tags", _markdown(run.tags), step=0)
            image = import_tensorflow().io.decode_png(run.files[-1].read_bytes(), channels=3)
            summary.image("confusion matrix", image[None], step=0)
        writer.close()
        unfinished.replace(folder)
    except Exception as error:  # TensorFlow has errors of its own for files
        raise ExportError(f"{folder} cannot be written: {_line(error)}") from error
    return f"in {folder}"


def _markdown(values: Mapping[str, str]) -> str:
    rows = (f"| {name} | {value.replace('|', '&#124;')} |" for name, value in values.items())
    return "\n".join(["| name | value |", "|---|---|", *rows])


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


TRACKERS: dict[str, Callable[[Tracked, str | None], str]] = {
    "mlflow": _to_mlflow,
    "tensorboard": _to_tensorboard,
}
"""What logs a run to a place, and says where it is; by the name that `bench log --to` takes."""
