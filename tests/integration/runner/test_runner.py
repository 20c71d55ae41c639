import datetime as dt
import json
import re
from pathlib import Path

import pytest

from marsbench.config import Experiment
from marsbench.errors import BenchError, StorageError
from marsbench.evaluation.fit import Unit, fit_unit
from marsbench.evaluation.fit_result import UnitResult
from marsbench.planning.plans import make_plans
from marsbench.plugin.model import OnEpoch
from marsbench.progress import Silent
from marsbench.results.predictions import data_frame, read_predictions
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner.runner import run


def experiment(kit: Path, **changes: object) -> Experiment:
    values = {"features": "crossings", "model": "nearest_mean", "data": "tones", "plugins": [kit]}
    return Experiment.model_validate(values | changes)


def only(runs: list[tuple[RunFolder, Run]]) -> tuple[RunFolder, Run]:
    assert len(runs) == 1
    return runs[0]


def watched(monkeypatch: pytest.MonkeyPatch) -> list[Unit]:
    """The units that are fitted from now on."""
    units: list[Unit] = []

    def fit(unit: Unit, on_epoch: OnEpoch) -> UnitResult:
        units.append(unit)
        return fit_unit(unit, on_epoch)

    monkeypatch.setattr("marsbench.runner.pipeline_job.fit_unit", fit)
    return units


def test_a_run_ends_with_metrics_and_a_verdict(kit: Path) -> None:
    _, done = only(run(experiment(kit)))
    assert done.status == "complete"
    assert done.metrics is not None
    assert done.metrics["accuracy"].value == 1.0
    assert done.verdict == "undecided"  # ten clips a class, all right, are not enough to be sure of 75 %
    assert done.n_parameters == 3


def test_every_clip_is_predicted_once_by_a_fold_that_did_not_train_on_it(kit: Path) -> None:
    folder, done = only(run(experiment(kit, protocol="speaker5")))
    table = data_frame(read_predictions(folder, done))
    assert table["clip"].is_unique
    assert len(table) == done.corpus.n_clips == 30
    assert (table.groupby("speaker")["fold"].nunique() == 1).all()
    assert list(table.columns[4:]) == ["p_low", "p_middle", "p_high"]


def test_a_run_on_one_split_predicts_only_its_test_part(kit: Path) -> None:
    folder, done = only(run(experiment(kit, protocol="holdout80")))
    assert len(read_predictions(folder, done).clips) == 6
    assert done.protocol.n_folds == 1


def test_equal_seeds_give_equal_predictions(kit: Path, tmp_path: Path) -> None:
    first, _ = only(run(experiment(kit, results=tmp_path / "a")))
    second, _ = only(run(experiment(kit, results=tmp_path / "b")))
    assert first.predictions.read_bytes() == second.predictions.read_bytes()
    assert first.path.name == second.path.name


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"protocol": "speaker5"},
        {"set": {"crossings.scale": 2.0}},
        {"set": {"nearest_mean.sharpness": 2.0}},
        {"set": {"tones.n_takes": 3}},
    ],
)
def test_whatever_could_change_a_score_makes_another_run(kit: Path, change: dict[str, object]) -> None:
    first, _ = only(run(experiment(kit)))
    second, _ = only(run(experiment(kit, **change)))
    assert first.path.name != second.path.name


def test_other_criteria_grade_the_same_run_again_without_training(
    kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = only(run(experiment(kit)))
    monkeypatch.setattr("marsbench.runner.pipeline_job.fit_unit", None)
    second, done = only(run(experiment(kit, criteria={"accuracy": 1.0})))
    assert first.path == second.path
    assert done.verdict == "fail"


def test_a_rerun_fits_only_the_folds_that_are_missing(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, before = only(run(experiment(kit)))
    (folder.path / "units" / "fold-3.json").unlink()
    fitted = watched(monkeypatch)
    _, after = only(run(experiment(kit)))
    assert [unit.fold for unit in fitted] == [3]
    assert after.metrics == before.metrics


def test_a_damaged_unit_file_is_set_aside_and_computed_again(kit: Path) -> None:
    folder, before = only(run(experiment(kit)))
    unit = folder.path / "units" / "fold-0.json"
    unit.write_text(unit.read_text()[:100])
    _, after = only(run(experiment(kit)))
    assert after.metrics == before.metrics
    assert unit.with_suffix(".damaged").exists()


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("raises", "RuntimeError: no luck today"),
        ("nan", "NaN or infinite probabilities"),
        ("shape", "probabilities of shape"),
        ("sum", "do not sum to 1"),
        ("negative", "negative"),
    ],
)
def test_a_model_that_goes_wrong_is_a_failed_run_with_its_reason(
    kit: Path, trouble: str, reason: str
) -> None:
    _, done = only(run(experiment(kit, model="troubled", set={"troubled.trouble": trouble})))
    assert done.status == "failed"
    assert done.metrics is None
    assert done.verdict is None
    assert len(done.failures) == 5
    assert reason in done.failures[0].message
    assert "Traceback" in done.failures[0].traceback


def test_a_failing_model_disturbs_no_other(kit: Path) -> None:
    runs = run(experiment(kit, model="troubled,nearest_mean"))
    assert [done.status for _, done in runs] == ["failed", "complete"]


def test_a_failing_extractor_is_a_failed_run_that_names_the_clip(kit: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugins" / "features" / "breaks_on_high.py"
    plugin.parent.mkdir(parents=True)
    source = (kit / "features" / "crossings.py").read_text().replace("Crossings(", "BreaksOnHigh(")
    plugin.write_text(source.replace("        return", "        assert crossings < 300\n        return"))
    runs = run(experiment(kit, features="breaks_on_high,crossings", model="nearest_mean,majority"))
    assert [done.status for _, done in runs] == ["failed", "failed", "complete", "complete"]
    assert "breaks_on_high.extract failed: " in runs[0][1].failures[0].message
    assert "AssertionError" in runs[0][1].failures[0].message
    assert "high-0-0.wav)" in runs[0][1].failures[0].message


def test_pairs_that_make_no_sense_are_named_and_the_others_run(kit: Path) -> None:
    heard = Heard()
    asked = experiment(kit, features="crossings,blocks", model="nearest_mean,cnn_lstm", protocol="holdout80")
    (plan,) = make_plans(asked, heard)
    assert [pipeline.name for pipeline in plan.pipelines] == [
        "crossings + nearest_mean", "blocks + nearest_mean", "blocks + cnn_lstm",
    ]  # fmt: skip
    assert (
        "crossings + cnn_lstm skipped: cnn_lstm needs frames, crossings gives one vector a clip"
        in heard.lines
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": "crossing"}, "Unknown feature extractor 'crossing'. Did you mean 'crossings'?"),
        ({"model": "nearest_meen"}, "Did you mean 'nearest_mean'?"),
        ({"data": "tone"}, "Unknown dataset 'tone'. Did you mean 'tones'?"),
        ({"protocol": "stratified"}, "Did you mean 'stratified5'?"),
        ({"set": {"crossings.scal": 1}}, "crossings: Unknown parameter 'scal'. Did you mean 'scale'?"),
        ({"set": {"svm.C": 1}}, "set svm.C: plugin 'svm' is not in use here"),
        ({"model": "cnn_lstm"}, "cnn_lstm needs frames"),
        ({"set": {"tones.n_speakers": 3}, "protocol": "speaker5"}, "speaker5 needs 5 speakers"),
        ({"set": {"tones.n_speakers": 2, "tones.n_takes": 1}}, "stratified5 needs 5 clips of every class"),
    ],
)
def test_what_cannot_be_planned_is_one_line_before_anything_is_done(
    kit: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(BenchError) as error:
        run(experiment(kit, **change))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"sharpnes": 2.0}, "nearest_mean: Unknown parameter 'sharpnes'. Did you mean 'sharpness'?"),
        ({"sharpness": "high"}, "sharpness = 'high': a number is needed; 0.1 to 10"),
    ],
)
def test_a_wrong_hyperparameter_ends_the_run_and_leaves_no_row(
    kit: Path, setting: dict[str, object], message: str
) -> None:
    settings = {f"nearest_mean.{name}": value for name, value in setting.items()}
    with pytest.raises(BenchError, match=re.escape(message)):
        run(experiment(kit, set=settings))
    assert not list(Path("results").rglob("run.json"))


def test_a_results_folder_that_cannot_be_written_is_told_before_any_work(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written to: Not a directory"):
        run(experiment(kit, results=tmp_path / "file" / "results"))
    assert not (tmp_path / "home").exists()


def test_test_labels_never_reach_a_unit(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = watched(monkeypatch)
    run(experiment(kit))
    assert len(units) == 5
    for unit in units:
        assert len(unit.train_targets) == len(unit.train)
        assert set(unit.test).isdisjoint(unit.train)
        assert not hasattr(unit, "test_targets")


def test_a_reused_unit_keeps_the_environment_it_was_fitted_in(
    kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = only(run(experiment(kit)))
    monkeypatch.setattr("marsbench.runner.record.environment", lambda: {"numpy": "99"})
    monkeypatch.setattr("marsbench.evaluation.fit.environment", lambda: {"numpy": "99"})
    folder, again = only(run(experiment(kit)))
    assert (again.environment, again.finished) == (first.environment, first.finished)
    (folder.path / "units" / "fold-1.json").unlink()
    assert only(run(experiment(kit)))[1].environment["numpy"] == f"{first.environment['numpy']} and 99"


def test_a_worker_that_dies_during_extraction_costs_only_its_own_runs(
    kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise ChildProcessError("a worker was killed")

    monkeypatch.setattr("marsbench.features.store.FeatureStore.features_of", dies)
    _, done = only(run(experiment(kit)))
    assert done.failures[0].message == "ChildProcessError: a worker was killed"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), dt.date(2020, 1, 1)])
def test_a_setting_that_no_file_could_hold_is_refused(value: object) -> None:
    values = {"features": "crossings", "model": "nearest_mean", "set": {"crossings.scale": value}}
    with pytest.raises(BenchError, match=r"crossings\.scale = .*: text, a finite number"):
        Experiment.parse(values, "bench run")


@pytest.mark.parametrize(
    ("model", "setting", "message"),
    [
        ("svm", {"blocks.n_frames": "abc"}, "blocks.n_frames = 'abc': a whole number is needed, such as 8"),
        ("svm", {"tones.n_takes": 2.5}, "tones.n_takes = 2.5: a whole number is needed, such as 2"),
        ("svm", {"svm.balanced": "no"}, "svm.balanced = 'no': true or false is needed, such as True"),
        ("cnn_lstm", {"cnn_lstm.epochs": 0}, "cnn_lstm: epochs must be at least 1, not 0"),
    ],
)
def test_a_parameter_of_the_wrong_kind_is_refused_before_anything_is_done(
    kit: Path, model: str, setting: dict[str, object], message: str
) -> None:
    with pytest.raises(BenchError, match=re.escape(message)):
        run(experiment(kit, features="blocks", model=model, set=setting))


@pytest.mark.parametrize("damage", ["another fold", "too few rows", "a folder"])
def test_a_unit_file_that_is_not_the_folds_own_is_set_aside(kit: Path, damage: str) -> None:
    folder, before = only(run(experiment(kit)))
    unit = folder.path / "units" / "fold-2.json"
    text = unit.read_text()
    unit.unlink()
    if damage == "another fold":
        unit.write_text(text.replace('"fold":2', '"fold":1'))
    elif damage == "too few rows":
        unit.write_text(json.dumps(json.loads(text) | {"probabilities": [[1.0, 0.0, 0.0]]}))
    else:
        unit.mkdir()
    assert only(run(experiment(kit)))[1].metrics == before.metrics
    assert unit.with_suffix(".damaged").exists()


def test_a_run_says_what_made_its_corpus(kit: Path) -> None:
    _, done = only(run(experiment(kit, set={"tones.n_takes": 3})))
    assert (done.corpus.dataset.name, done.corpus.dataset.parameters["n_takes"]) == ("tones", 3)


LEAVES = """
import sys
from marsbench.plugin import FeatureExtractor
AT_IMPORT
class Leaves(FeatureExtractor):
    "Ends the program."
    kind = "vector"
    def extract(self, waveform, sample_rate):
        sys.exit(3)
"""


def test_a_plugin_that_exits_takes_only_its_own_run_with_it(kit: Path, tmp_path: Path) -> None:
    drop(tmp_path, "features", "leaves", LEAVES.replace("AT_IMPORT", ""))
    runs = run(experiment(kit, features="leaves,crossings"))
    assert [done.status for _, done in runs] == ["failed", "complete"]
    assert "SystemExit: 3" in runs[0][1].failures[0].message


def test_a_plugin_that_exits_when_imported_is_one_line(kit: Path, tmp_path: Path) -> None:
    drop(tmp_path, "features", "leaves_at_once", LEAVES.replace("AT_IMPORT", "sys.exit(5)"))
    with pytest.raises(BenchError, match=r"leaves_at_once\.py cannot be imported: SystemExit: 5"):
        run(experiment(kit, features="leaves_at_once"))


DATASET = """
from marsbench.plugin import Dataset
class Broken(Dataset):
    "Broken."
    def load(self):
        BODY
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return {}['x']", "broken_0.load failed: KeyError: 'x'"),
        ("return 3", "broken_1.load returned int; a Corpus is needed"),
    ],
)
def test_a_broken_dataset_is_one_line(kit: Path, tmp_path: Path, body: str, message: str) -> None:
    name = message.partition(".")[0]
    drop(tmp_path, "datasets", name, DATASET.replace("BODY", body))
    with pytest.raises(BenchError, match=re.escape(message)):
        run(experiment(kit, data=name))


def test_a_refused_file_of_a_name_in_use_is_told(kit: Path, tmp_path: Path) -> None:
    path = drop(tmp_path, "features", "mfcc", "")
    heard = Heard()
    make_plans(experiment(kit, features="mfcc"), heard)
    assert (
        f"not used: {path}: 'mfcc' is already a feature extractor of marsbench; rename the file"
        in heard.lines
    )


def drop(folder: Path, kind: str, name: str, source: str) -> Path:
    path = folder / "plugins" / kind / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


class Heard(Silent):
    """Keeps the lines that were said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)
