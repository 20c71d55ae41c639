"""Runs as experiment trackers get them; the trackers themselves in slow tests."""

import posixpath
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsbench.config import Versions
from marsbench.environment import install_hint
from marsbench.errors import ResultsError
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.scores import Grade, Score
from marsbench.plugin.registry import Recipe
from marsbench.report.tracking import TRACKERS, Tracked
from marsbench.results.store import RunFolder

Write = Callable[..., RunFolder]


def test_a_run_has_each_score_with_its_interval(predicted_run: Write) -> None:
    folder = predicted_run("a-b-s0-1", range(60))
    scored = folder.read_run().metrics
    assert scored is not None
    scores = Tracked.of(folder).scores
    assert METRICS.keys() <= scores.keys()
    for name in ("macro_f1", "accuracy"):
        low, high = scores[f"{name}_low"], scores[f"{name}_high"]
        assert (low, scores[name], high) == (scored[name].low, scored[name].value, scored[name].high)
    assert scores["recall/low"] == scored.classes[0].recall.value
    assert scores["recall/high_low"] == scored.classes[1].recall.low


def test_a_run_has_the_scores_of_each_fold(predicted_run: Write) -> None:
    folder = predicted_run("a-b-s0-1", range(60))
    scored = folder.read_run().metrics
    assert scored is not None
    assert [fold["fold/accuracy"] for fold in Tracked.of(folder).by_fold] == [
        fold.scores["accuracy"] for fold in scored.folds
    ]


def test_a_run_has_its_configuration_as_texts(predicted_run: Write) -> None:
    model = Recipe("svm", {"C": 10, "kernel": "rbf", "weights": None}, "", {})
    versions = Versions(kinds=("speed", "noise"))
    tracked = Tracked.of(predicted_run("a-b-s0-1", model=model, seed=3, versions=versions))
    wanted = {"model": "svm", "svm.C": "10", "svm.kernel": "rbf", "seed": "3", "criteria.accuracy": "0.8"}
    wanted |= {"versions.kinds": '["speed", "noise"]', "versions.averaged": "false"}
    assert wanted.items() <= tracked.parameters.items()
    assert "svm.weights" not in tracked.parameters
    assert tracked.tags["verdict"] == "undecided"
    assert tracked.tags["protocol.hash"] == "5" * 64
    assert tracked.experiment == "tones/stratified5"


@pytest.mark.parametrize("label", ["joy?", "a:b", "../up", "/top", ".", "up/", "50 %", "très gai"])
def test_names_are_such_as_trackers_take_whatever_classes_are_called(
    predicted_run: Write, label: str
) -> None:
    score = Score(value=0.5, low=0.4, high=0.6)
    grade = Grade(
        criterion=f"class_recall {label}", threshold=0.75, score=score, reached=False, outcome="fail"
    )
    folder = predicted_run("a-b-s0-1", grades=[grade])
    run = folder.read_run()
    assert run.metrics is not None
    classes = [run.metrics.classes[0].model_copy(update={"label": label}), run.metrics.classes[1]]
    renamed = run.metrics.model_copy(update={"classes": classes})
    folder.write_run(run.model_copy(update={"metrics": renamed}))
    tracked = Tracked.of(folder)
    for name in [*tracked.scores, *tracked.tags, *tracked.parameters]:
        assert re.fullmatch(r"[\w./ -]+", name)
        assert posixpath.normpath(name) == name
        assert not name.startswith("/")
    assert sum(name.startswith("recall/") for name in tracked.scores) == 6


@pytest.mark.parametrize("shared", [True, False])
def test_only_parameters_that_all_folds_share_are_of_the_run(predicted_run: Write, shared: bool) -> None:
    by_fold = [{"svm.C": 1}, {"svm.C": 1 if shared else 10}]
    tracked = Tracked.of(predicted_run("a-b-s0-1", hyperparameters=by_fold))
    assert tracked.parameters.get("svm.C") == ("1" if shared else None)


def test_every_file_of_a_run_is_there_to_be_logged(predicted_run: Write) -> None:
    files = Tracked.of(predicted_run("a-b-s0-1")).files
    assert [path.name for path in files] == ["run.json", "predictions.parquet", "confusion_matrix.png"]
    assert all(path.is_file() for path in files)


def test_a_run_that_is_not_complete_is_refused(finished_run: Write) -> None:
    with pytest.raises(ResultsError, match="a-b-s0-1 is not complete: it has no scores to log"):
        Tracked.of(finished_run("a-b-s0-1", None))


def test_every_tracker_is_a_choice_of_the_command(bench: Callable[..., Any]) -> None:
    assert f"--to {'|'.join(TRACKERS)}" in bench("log", "--help").stdout
    assert bench("log", "x", "--to", "paper").exit_code == 2


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_one_line(
    name: str, bench: Callable[..., Any], predicted_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted_run("a-b-s0-1")
    monkeypatch.setitem(sys.modules, name, None)
    result = bench("log", "a-b", "--to", name)
    assert result.exit_code == 1
    assert result.stderr == f"bench: {name} is not installed: {install_hint(name)}\n"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_mlflow_has_a_run_once_with_all_of_it(bench: Callable[..., Any], predicted_run: Write) -> None:
    mlflow = pytest.importorskip("mlflow", reason="no MLflow: pip install 'marsbench[mlflow]'")
    folder = predicted_run("a-b-s0-1", range(60), settings={})
    store = "sqlite:///tracked.db"
    first, second = (bench("log", "a-b", "--to", "mlflow", "--at", store) for _ in range(2))
    assert first.stdout == f"a-b-s0-1 is in experiment tones/stratified5 of {store}\n"
    assert second.stdout == f"a-b-s0-1 is already in experiment tones/stratified5 of {store}\n"
    client = mlflow.MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("tones/stratified5")
    (logged,) = client.search_runs([experiment.experiment_id])
    tracked = Tracked.of(folder)
    assert logged.data.metrics.items() >= tracked.scores.items()
    assert logged.data.params == tracked.parameters
    assert logged.info.status == "FINISHED"
    history = client.get_metric_history(logged.info.run_id, "fold/accuracy")
    assert [point.value for point in history] == [fold["fold/accuracy"] for fold in tracked.by_fold]
    names = {entry.path for entry in client.list_artifacts(logged.info.run_id)}
    assert names == {path.name for path in tracked.files}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_server_that_does_not_answer_is_one_line(
    bench: Callable[..., Any], predicted_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="no MLflow: pip install 'marsbench[mlflow]'")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    predicted_run("a-b-s0-1")
    result = bench("log", "a-b", "--to", "mlflow", "--at", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("bench: a-b-s0-1 cannot be logged to MLflow: ")


@pytest.mark.slow
def test_tensorboard_reads_the_scores(bench: Callable[..., Any], predicted_run: Write) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = predicted_run("a-b-s0-1", range(60))
    first, second = (bench("log", "a-b", "--to", "tensorboard", "--at", "logs") for _ in range(2))
    place = Path("logs", "tones", "stratified5", "a-b-s0-1")
    assert first.stdout == f"a-b-s0-1 is in {place}\n"
    assert second.stdout == f"a-b-s0-1 is already in {place}\n"
    read = accumulator.EventAccumulator(str(place), size_guidance={"tensors": 0}).Reload()
    tracked = Tracked.of(folder)
    assert set(read.Tags()["tensors"]) >= tracked.scores.keys() | {"fold/accuracy", "configuration"}
    assert [event.step for event in read.Tensors("fold/accuracy")] == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_one_line(bench: Callable[..., Any], predicted_run: Write) -> None:
    pytest.importorskip("tensorboard")
    predicted_run("a-b-s0-1")
    Path("logs").write_text("a file")
    result = bench("log", "a-b", "--to", "tensorboard", "--at", "logs")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(
        "bench: logs/tones/stratified5/a-b-s0-1 cannot be written: "
    )
