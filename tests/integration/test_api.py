"""`import marsbench`: what the command line does, as functions."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import marsbench
from marsbench import BenchError, Fitted, Result
from marsbench.data.corpus import CheckedCorpus
from marsbench.plugin.registry import discover, make

HEAVY = {"numpy", "pandas", "pydantic", "sklearn", "tensorflow", "keras", "matplotlib", "dask", "optuna"}
Run = Callable[..., list[Result]]
LEVEL = """
import numpy as np
from marsbench.plugin import FeatureExtractor

class Level(FeatureExtractor):
    kind = "frames"

    def extract(self, waveform, sample_rate):
        blocks = np.array_split(np.abs(waveform), len(waveform) // 256)
        return np.array([[block.mean()] for block in blocks], np.float32)
"""
RIGID = """
import numpy as np
from marsbench.plugin import Model

class Rigid(Model):
    accepts = "frames"

    def fit(self, train, hp, context):
        self.shape_, self.n_classes_ = train.features.input_shape, context.n_classes
        return self

    def predict_proba(self, features):
        assert features.input_shape == self.shape_
        return np.full((len(features), self.n_classes_), 1 / self.n_classes_)
"""


@pytest.fixture
def tones(kit: Path) -> CheckedCorpus:
    return marsbench.load_corpus("tones", plugins=[kit])


@pytest.fixture
def run(kit: Path) -> Run:
    """Crossings and nearest means on the tones, untuned unless asked for otherwise."""

    def call(**options: Any) -> list[Result]:
        usual = {"features": "crossings", "model": "nearest_mean", "data": "tones", "trials": 0}
        return marsbench.run(**{**usual, "plugins": [kit], **options})

    return call


@pytest.fixture
def fit(kit: Path, tones: CheckedCorpus) -> Callable[..., Fitted]:
    def call(**options: Any) -> Fitted:
        return marsbench.fit(
            tones, **{"features": "crossings", "model": "nearest_mean", "plugins": [kit], **options}
        )

    return call


def test_the_import_brings_nothing_heavy() -> None:
    code = "import marsbench, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("name", marsbench.__all__)
def test_every_name_is_there_listed_and_described(name: str) -> None:
    assert getattr(marsbench, name).__doc__
    assert name in dir(marsbench)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'marsbench' has no attribute 'lod_corpus'"):
        marsbench.lod_corpus  # type: ignore[attr-defined]  # noqa: B018


def test_a_corpus_is_clips_labels_and_targets(tones: CheckedCorpus) -> None:
    assert repr(tones) == "<CheckedCorpus tones: 30 clips, 3 classes>"
    assert tones.labels == ("low", "middle", "high")
    assert [tones.labels[target] for target in tones.targets] == [clip.label for clip in tones.clips]


def test_a_datasets_parameters_are_arguments(kit: Path) -> None:
    assert len(marsbench.load_corpus("tones", plugins=[kit], n_takes=1).clips) == 15


def test_a_corpus_is_loaded_from_a_path(tones: CheckedCorpus) -> None:
    folder = Path("mine")
    for clip in tones.clips:
        (folder / clip.label).mkdir(parents=True, exist_ok=True)
        (folder / clip.label / clip.path.name).write_bytes(clip.path.read_bytes())
    assert len(marsbench.load_corpus(folder).clips) == 30


def test_bad_audio_is_skipped_or_refused_as_asked(tones: CheckedCorpus) -> None:
    for label in ("low", "high"):
        Path("mine", label).mkdir(parents=True)
        good = next(clip for clip in tones.clips if clip.label == label)
        Path("mine", label, "good.wav").write_bytes(good.path.read_bytes())
    Path("mine", "low", "bad.wav").write_bytes(b"noise")
    assert [clip.id for clip in marsbench.load_corpus("mine").bad] == ["low/bad.wav"]
    with pytest.raises(BenchError, match="1 bad audio file"):
        marsbench.load_corpus("mine", bad_audio="fail")


def test_the_clip_table_is_one_row_a_clip(tones: CheckedCorpus) -> None:
    table = marsbench.clip_table(tones)
    assert list(table) == ["clip", "label", "speaker", "seconds", "sample_rate", "take"]
    assert list(table["clip"]) == [clip.id for clip in tones.clips]
    assert list(table["label"].cat.categories) == list(tones.labels)
    assert table["seconds"].tolist() == [0.2] * 30


def test_features_are_extracted_with_the_parameters_given(tones: CheckedCorpus, kit: Path) -> None:
    once = marsbench.extract(tones, "crossings", plugins=[kit])
    twice = marsbench.extract(tones, "crossings", plugins=[kit], scale=2.0)
    assert (len(once), once.input_shape) == (30, (1,))
    assert twice.values.mean() == pytest.approx(2 * once.values.mean())  # noqa: PD011 - no data frame


def test_features_are_extracted_once_and_a_run_reads_them(
    tones: CheckedCorpus, kit: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    marsbench.extract(tones, "crossings", plugins=[kit])
    run(verbose=True)
    assert "crossings: all 30 clips from the store" in capsys.readouterr().err


def test_nothing_is_printed_unless_asked_for(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run()
    assert capfd.readouterr() == ("", "")


def test_a_run_is_the_one_that_the_command_makes(run: Run, bench: Callable[..., Any], kit: Path) -> None:
    (result,) = run()
    words = ["--features", "crossings", "--model", "nearest_mean", "--data", "tones", "--trials", "0"]
    done = bench("run", *words, "--plugins", kit)
    assert "5 of 5 folds are finished already" in done.stderr
    assert str(result.folder) in done.stdout


def test_a_result_tells_scores_verdict_and_interval(run: Run) -> None:
    (result,) = run()
    assert result.metrics["accuracy"].value == 1.0
    assert result.verdict == "undecided"
    assert result.grades.loc["class_recall low", "must_exceed"] == 0.75
    assert repr(result).startswith("<Result crossings + nearest_mean, tones, stratified5: macro F1 100.0 % (")
    shown = result._repr_html_()
    assert shown.startswith("<p>Result crossings + nearest_mean, tones, stratified5: macro F1 100.0 %")
    assert "<td>75.0%</td>" in shown


def test_a_results_tables_agree(run: Run) -> None:
    (result,) = run()
    counts = pd.crosstab(result.predictions["label"], result.predictions["fold"])
    assert result.confusion.sum(axis=1).to_dict() == counts.sum(axis=1).to_dict()
    assert list(result.confusion) == ["low", "middle", "high"]
    assert result.confusion.index.name == "true"


def test_the_confusion_matrix_is_a_figure_and_a_file(run: Run, tmp_path: Path) -> None:
    (result,) = run()
    figure = result.plot_confusion(tmp_path / "matrix.png")
    assert figure.axes[0].get_xlabel() == "predicted"
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_history_is_one_row_an_epoch_and_empty_without_epochs(run: Run) -> None:
    network, plain = run(model=["tiny_net", "nearest_mean"])
    assert network.history.groupby("fold")["epoch"].max().tolist() == [4] * 5
    assert "loss" in network.history
    assert plain.history.empty


def test_several_pipelines_protocols_and_seeds_are_run_at_once(run: Run) -> None:
    results = run(model="nearest_mean,knobs", protocol=["stratified5", "speaker5"], repeats=2)
    assert len({result.run.run_id for result in results}) == 8


def test_options_are_those_of_the_command(run: Run) -> None:
    settings = {"nearest_mean.sharpness": 2.0}
    (result,) = run(set=settings, criteria={"accuracy": 0.5}, bad_audio="fail", unit_timeout=None)
    assert result.run.settings == settings
    assert result.grades.loc["accuracy", "outcome"] == "pass"


def test_tuned_runs_stand_behind_the_untuned_ones(run: Run) -> None:
    untuned, tuned = run(model="knobs", trials=1, inner_folds=2)
    assert untuned.run.tuning is None
    assert tuned.run.tuning is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_bugdet": "1m"}, "marsbench.run: Unknown option 'time_bugdet'. Did you mean 'time_budget'?"),
        ({"model": "nearest_maen"}, "Unknown model 'nearest_maen'. Did you mean 'nearest_mean'?"),
        ({"model": []}, "marsbench.run: .*model"),
        ({"trials": -1}, "marsbench.run: trials = -1: should be"),
        ({"data": Path("nowhere")}, "Unknown dataset 'nowhere'"),
        ({"set": {"svm.C": 1.0}}, "set svm.C: plugin 'svm' is not in use here"),
    ],
)
def test_what_cannot_be_run_is_one_line(run: Run, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message) as caught:
        run(**options)
    assert "\n" not in str(caught.value)


def test_a_failed_run_is_no_error_and_its_scores_say_why(run: Run) -> None:
    (result,) = run(model="troubled")
    assert repr(result).endswith("failed>")
    assert result._repr_html_().endswith("failed</p>")
    assert result.verdict is None
    with pytest.raises(BenchError, match=r"has no scores, it failed: .*no luck today"):
        _ = result.metrics


def test_the_leaderboard_is_a_table_with_the_gap(run: Run) -> None:
    run(protocol=["stratified5", "speaker5"])
    board = marsbench.leaderboard()
    assert sorted(board["protocol"]) == ["speaker5", "stratified5"]
    assert board["gap"].tolist() == [0.0, 0.0]
    assert len(marsbench.leaderboard(protocol="speaker5")) == 1


def test_a_run_that_cannot_be_read_is_warned_of(run: Run) -> None:
    whole, broken = run(model=["nearest_mean", "knobs"])
    (broken.folder / "run.json").write_text("{}")
    with pytest.warns(UserWarning, match="damaged"):
        board = marsbench.leaderboard()
    assert board["run_id"].tolist() == [whole.run.run_id]


def test_no_runs_are_one_line() -> None:
    with pytest.raises(BenchError, match="no runs in"):
        marsbench.leaderboard()


def test_two_results_are_compared(run: Run) -> None:
    first, second = run(model=["nearest_mean", "majority"])
    comparison = marsbench.compare(first, second)
    assert comparison.difference.score.value > 0.5
    assert set(comparison.disagreements) >= {"clip", "true", "first", "second"}


def test_a_report_is_written_of_all_runs_or_of_one(run: Run, kit: Path) -> None:
    first, _ = run(model=["nearest_mean", "knobs"])
    marsbench.write_report("all.html", plugins=[kit])
    marsbench.write_report("one.html", first, plugins=[kit])
    assert "knobs" in Path("all.html").read_text("utf-8")
    assert first.run.title in Path("one.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("features", "model"),
    [
        ("crossings", "nearest_mean"),
        ("blocks", "svm"),
        ("blocks", "tiny_net"),
        ("mfcc", "logistic_regression"),
    ],
)
def test_a_fitted_model_predicts_the_same_once_saved_and_loaded(
    fit: Callable[..., Fitted], tones: CheckedCorpus, kit: Path, features: str, model: str
) -> None:
    fitted = fit(features=features, model=model)
    fitted.save("saved")
    again = marsbench.load("saved", plugins=[kit])
    for clip in tones.clips[::10]:
        expected = fitted.predict(clip.path)
        assert list(expected.by_label()) == ["low", "middle", "high"]
        assert expected.probabilities.sum() == pytest.approx(1)
        assert np.array_equal(again.predict(clip.path).probabilities, expected.probabilities)


def test_a_fitted_model_is_saved_as_one_file(fit: Callable[..., Fitted], kit: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    fitted = fit(features="blocks", model="tiny_net")
    fitted.save("saved", form="onnx")
    assert marsbench.load("saved", plugins=[kit]).record.form == "onnx"
    with pytest.raises(BenchError, match="Format 'onnx' cannot be quantised to 'float16'"):
        fitted.save("saved", form="onnx", quantised="float16")


def test_a_fitted_model_has_learnt_every_class(fit: Callable[..., Fitted], tones: CheckedCorpus) -> None:
    fitted = fit()
    assert [fitted.predict(clip.path).label for clip in tones.clips] == [c.label for c in tones.clips]


def test_what_is_saved_is_the_plugins_own_format(fit: Callable[..., Fitted], kit: Path) -> None:
    fitted = fit()
    fitted.save("saved")
    discover.cache_clear()
    model: Any = make("models", fitted.record.model, discover((kit,)).folders)
    assert np.array_equal(model.load(Path("saved/model")).means_, fitted.model.means_)  # type: ignore[attr-defined]


def test_the_record_says_what_a_prediction_needs(fit: Callable[..., Fitted]) -> None:
    fit(set={"nearest_mean.sharpness": 2.0}).save("saved")
    record = json.loads(Path("saved", "bundle.json").read_text())
    assert record["labels"] == ["low", "middle", "high"]
    assert record["sample_rate"] == 22_050
    assert record["features"]["name"] == "crossings"
    assert record["hyperparameters"] == {"sharpness": 2.0}
    golden = ["golden/0.flac", "golden/1.flac", "golden/2.flac"]
    assert list(record["files"]) == ["README.md", *golden, "model/means.npz"]
    assert [clip["label"] for clip in record["golden"]] == record["labels"]


def test_equal_seeds_give_equal_models(fit: Callable[..., Fitted], tones: CheckedCorpus) -> None:
    path = tones.clips[0].path
    first, second = (fit(features="blocks", model="tiny_net", seed=3).predict(path) for _ in range(2))
    assert np.array_equal(first.probabilities, second.probabilities)


def test_a_longer_file_than_any_of_the_fit_is_cut_for_a_model_of_frames(tones: CheckedCorpus) -> None:
    import soundfile

    for name, source in (("features/level", LEVEL), ("models/rigid", RIGID)):
        path = Path("plugins", f"{name}.py")
        path.parent.mkdir(parents=True)
        path.write_text(source)
    discover.cache_clear()
    samples, rate = soundfile.read(tones.clips[0].path)
    soundfile.write("long.wav", np.tile(samples, 20), rate)
    fitted = marsbench.fit(tones, features="level", model="rigid")
    assert fitted.predict("long.wav").probabilities.sum() == pytest.approx(1)


def test_what_stays_together_must_be_known(fit: Callable[..., Fitted]) -> None:
    assert fit(together=["speaker"]).record.corpus.n_clips > 0
    with pytest.raises(BenchError, match=r"Unknown attribute 'speakers'\. Did you mean 'speaker'"):
        fit(together=["speakers"])


def test_a_folder_that_cannot_be_written_is_one_line(fit: Callable[..., Fitted]) -> None:
    Path("saved").write_text("a file")
    with pytest.raises(BenchError, match="saved is a file; name a folder"):
        fit().save("saved")


@pytest.mark.parametrize("damage", ["record", "model", "gone"])
def test_a_damaged_model_is_one_line(fit: Callable[..., Fitted], kit: Path, damage: str) -> None:
    fit().save("saved")
    path = Path("saved", "bundle.json" if damage == "record" else "model/means.npz")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BenchError, match=r"damaged|cannot be read"):
        marsbench.load("saved", plugins=[kit])


def test_a_model_of_other_code_without_golden_clips_is_one_line(fit: Callable[..., Fitted]) -> None:
    fitted = fit()
    recipe = fitted.record.model
    changed = fitted.record.model_copy(update={"model": type(recipe)(recipe.name, {}, "other", {})})
    with pytest.raises(BenchError, match="cannot be verified: the code of nearest_mean has changed"):
        Fitted(changed, fitted.model, fitted.folders).save("saved")


def test_a_file_that_is_no_audio_is_one_line(fit: Callable[..., Fitted]) -> None:
    Path("no.wav").write_bytes(b"noise")
    with pytest.raises(BenchError, match=r"^no\.wav: "):
        fit().predict("no.wav")


def test_an_ensemble_is_made_of_results(run: Run) -> None:
    members = run(features=["crossings", "blocks"])
    fused = marsbench.ensemble(members, equal=True)
    said = [member.predictions.iloc[:, 4:].to_numpy() for member in members]
    assert fused.predictions.iloc[:, 4:].to_numpy() == pytest.approx((said[0] + said[1]) / 2)
    assert fused.history.empty
    assert repr(fused).startswith("<Result ensemble + mean, tones, stratified5: macro F1")
    assert marsbench.leaderboard()["members"].notna().sum() == 1


def test_an_exported_ensemble_is_loaded_as_any_other_bundle(
    run: Run, kit: Path, bench: Callable[..., Any], home: Path
) -> None:
    fused = marsbench.ensemble(run(features=["crossings", "blocks"]), equal=True)
    assert bench("export", fused.folder, "--plugins", kit).exit_code == 0
    bundle = marsbench.load("bundle", plugins=[kit])
    clip = next(path for path in sorted(home.rglob("*.wav")) if path.name.startswith("high"))
    assert bundle.predict(clip).label == "high"
    assert bundle.labels == ("low", "middle", "high")


def test_options_of_an_ensemble_are_those_of_the_command(run: Run, kit: Path) -> None:
    members = [result.run.run_id for result in run(features=["crossings", "blocks"])]
    fused = marsbench.ensemble(members, inner_folds=2, plugins=[kit])
    assert fused.run.ensemble is not None
    assert fused.run.ensemble.inner_folds == 2
    with pytest.raises(marsbench.BenchError, match="Unknown option 'inner_fold'"):
        marsbench.ensemble(members, inner_fold=2)  # type: ignore[call-arg]  # told by a type checker, too


def test_a_search_gives_its_winner_and_all_runs(kit: Path) -> None:
    found = marsbench.search(
        data="tones", time_budget=10, features="crossings,blocks", model="nearest_mean", plugins=[kit]
    )
    assert found.winner in found.results
    assert {result.run.run_id for result in found.results} == set(marsbench.leaderboard()["run_id"])


def test_a_search_scores_its_winner_on_speakers_that_it_was_kept_from(kit: Path) -> None:
    asked = {"data": "tones", "features": "crossings,blocks", "model": "nearest_mean", "plugins": [kit]}
    found = marsbench.search(**asked, time_budget=10, hold_out_speakers=2)  # type: ignore[arg-type]
    assert found.chosen is not None
    assert found.held_out is not None
    assert sum(scores.n_clips for scores in found.held_out.classes) == 12


def test_options_of_a_search_are_those_of_the_command() -> None:
    with pytest.raises(BenchError, match=r"^marsbench.search: Unknown option 'trials'"):
        marsbench.search(trials=3)  # type: ignore[call-arg]  # told by a type checker, too
