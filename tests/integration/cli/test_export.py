import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fixtures.results import rewrite
from marsbench.atomic_files import read_checksummed
from marsbench.errors import PluginError
from marsbench.features.extraction import extracted
from marsbench.results.predictions import read_predictions
from marsbench.results.store import RunFolder, find_runs

Bench = Callable[..., Any]


@pytest.fixture
def clip(ran: Any, home: Path) -> Path:
    """A clip of class `high`."""
    assert ran.exit_code == 0
    return next(path for path in sorted((home / "tones").glob("high-*.wav")))


@pytest.fixture
def bundle(bench: Bench, kit: Path, clip: Path, made_once: Callable[..., Any]) -> Path:
    """The best run's bundle."""
    assert clip.is_file()
    result = made_once("bundle", lambda: bench("export", "--best", "--plugins", kit, "-o", "bundle"))
    assert result.exit_code == 0, result.stderr
    return Path("bundle")


def test_the_best_run_is_exported(bench: Bench, kit: Path, ran: Any) -> None:
    assert ran.exit_code == 0
    result = bench("export", "--best", "--plugins", kit)
    assert result.stderr.count("\n") < 9
    for expected in (
        "nearest_mean",
        "Trained on all 30 clips of tones; licence: none.",
        "Classes: low, middle, high.",
        "The training audio is synthetic: it will not recognise people.",
        "under stratified5: accuracy 100.0 %",
        "Verified on 3 golden clips: probabilities as of the model in memory, to 1e-05.",
        "Written: bundle",
    ):
        assert expected in result.stdout


def test_a_run_is_exported_by_its_name(bench: Bench, kit: Path, ran: Any) -> None:
    assert ran.exit_code == 0
    assert bench("export", "blocks", "--plugins", kit, "-o", "mine").exit_code == 0
    record = json.loads(read_checksummed(Path("mine/bundle.json")))
    assert record["features"]["name"] == "blocks"
    assert record["origin"]["protocol"] == "stratified5"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name a RUN, or --best"),
        (("blocks", "--best"), "name a RUN, or --best"),
        (("nobody",), "Unknown run 'nobody'"),
        (("--best", "--protocol", "loso"), "Unknown protocol 'loso'"),
        (("blocks", "--data", "sorted"), "is not the one that blocks-nearest_mean"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    bench: Bench, kit: Path, clip: Path, words: tuple[str, ...], message: str
) -> None:
    make_folders(clip.parent)
    result = bench("export", *words, "--plugins", kit)
    assert result.exit_code in {1, 2}
    assert message in result.stderr
    assert not Path("bundle").exists()


def test_several_leaderboards_have_no_best_run(bench: Bench, kit: Path, ran: Any) -> None:
    assert ran.exit_code == 0
    grid = ("--features", "crossings", "--model", "nearest_mean", "--data", "tones", "--plugins", kit)
    bench("run", *grid, "--protocol", "speaker5")
    result = bench("export", "--best", "--plugins", kit)
    assert "there are 2 leaderboards (tones, speaker5, " in result.stderr
    assert bench("export", "--best", "--protocol", "speaker5", "--plugins", kit).exit_code == 0


def test_files_folders_and_patterns_are_predicted(bench: Bench, kit: Path, bundle: Path, clip: Path) -> None:
    for words in ((clip,), (clip.parent,), (f"{clip.parent}/high-*.wav",)):
        result = bench("predict", bundle, *words, "--plugins", kit)
        assert result.exit_code == 0
        assert "high" in result.stdout


@pytest.mark.parametrize(
    ("protocol", "whom"),
    [
        ("stratified5", "speakers it was trained on \\(expect less on new ones\\)"),
        ("speaker5", "new speakers"),
    ],
)
def test_predictions_end_with_what_the_bundle_is_worth(
    bench: Bench, kit: Path, clip: Path, protocol: str, whom: str
) -> None:
    grid = ("--features", "crossings", "--model", "nearest_mean", "--data", "tones", "--plugins", kit)
    assert bench("run", *grid, "--protocol", protocol).exit_code == 0
    exported = bench("export", "--best", "--protocol", protocol, "--plugins", kit, "-o", "mine")
    assert exported.exit_code == 0, exported.stderr
    last = " ".join(bench("predict", "mine", clip, "--plugins", kit).stdout.split())
    assert re.search(
        rf"When tested \({protocol}\), [0-9.]+ % of clips \([0-9.]+ to [0-9.]+\) of {whom} were recognised: "
        r"(PASS|FAIL|UNDECIDED)\.$",
        last,
    )
    (found,) = json.loads(bench("predict", "mine", clip, "--plugins", kit, "--json").stdout)
    tested = found["tested"]
    assert (tested["protocol"], tested["new_speakers"]) == (protocol, protocol == "speaker5")
    assert f"{100 * tested['accuracy']:.1f} % of clips" in last
    assert f"({100 * tested['low']:.1f} to {100 * tested['high']:.1f})" in last
    (row,) = csv.DictReader(io.StringIO(bench("predict", "mine", clip, "--plugins", kit, "--csv").stdout))
    assert [row[f"tested_{name}"] for name in tested] == [str(value) for value in tested.values()]


def test_json_holds_every_probability(bench: Bench, kit: Path, bundle: Path, clip: Path) -> None:
    (found,) = json.loads(bench("predict", bundle, clip, "--json", "--plugins", kit).stdout)
    assert found["label"] == "high"
    assert list(found["probabilities"]) == ["low", "middle", "high"]
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert len(found["windows"]) == 1


def test_csv_has_a_line_a_file(bench: Bench, kit: Path, bundle: Path, clip: Path) -> None:
    printed = bench("predict", bundle, clip.parent, "--csv", "--plugins", kit).stdout
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert len(rows) == 30
    assert all(row["label"] == Path(row["file"]).name.partition("-")[0] for row in rows)
    assert list(rows[0])[:6] == ["file", "label", "confidence", "p_low", "p_middle", "p_high"]
    assert [rows[0][name] for name in ("novelty", "is_unlike")] == ["", ""]
    assert rows[0]["tested_verdict"]
    assert rows[0]["right_when_this_sure"] == "1.0"


def test_a_long_file_has_a_timeline(bench: Bench, kit: Path, bundle: Path, clip: Path) -> None:
    samples, rate = soundfile.read(clip)
    soundfile.write("long.wav", np.tile(samples, 10), rate)
    shown = bench("predict", bundle, "long.wav", "--plugins", kit).stdout
    assert "long.wav: 2.0 s" in shown
    assert "1.8 s  2.0 s  high" in shown


def test_bad_files_are_told_of_and_passed_over(bench: Bench, kit: Path, bundle: Path, clip: Path) -> None:
    Path("bad.wav").write_text("I am no audio")
    Path("empty.wav").touch()
    result = bench("predict", bundle, "bad.wav", clip, "empty.wav", "--plugins", kit)
    assert result.exit_code == 1
    assert "bad.wav: cannot be decoded" in result.stderr
    assert "empty.wav: empty: 0 bytes" in result.stderr
    assert "2 of 3 files could not be used" in result.stderr
    assert "high" in result.stdout
    assert bench("predict", bundle, "bad.wav", "--plugins", kit).stdout == ""


def test_a_name_with_control_characters_cannot_pose_as_more(
    bench: Bench, kit: Path, bundle: Path, clip: Path
) -> None:
    names = ("good\n\x1b[2Jangry.wav", "bad\nhappy.wav")
    Path(names[0]).write_bytes(clip.read_bytes())
    Path(names[1]).touch()
    result = bench("predict", bundle, *names, "--plugins", kit)
    assert "\\n" in result.stdout
    assert "bad\\nhappy.wav: empty: 0 bytes" in result.stderr
    assert "\x1b[2J" not in result.stdout


def test_files_that_lack_high_tones_are_counted(bench: Bench, kit: Path, bundle: Path, clip: Path) -> None:
    samples, rate = soundfile.read(clip)
    soundfile.write("low.wav", np.tile(samples, 2)[::2], rate // 2)
    result = bench("predict", bundle, clip, "low.wav", "--json", "--plugins", kit)
    assert result.exit_code == 0
    assert [row["is_narrowband"] for row in json.loads(result.stdout)] == [False, True]
    assert "1 of 2 files have a lower sample rate than any training clip" in result.stderr


def test_a_plugin_that_fails_on_one_file_costs_that_file(
    bench: Bench, kit: Path, bundle: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter([False] * 3 + [True])  # the golden clips, then the first file

    def sometimes(extractor: Any, waveform: Any) -> Any:
        if next(calls, False):
            raise PluginError("crossings.extract failed: IndexError")
        return extracted(extractor, waveform)

    monkeypatch.setattr("marsbench.deployment.bundle.extracted", sometimes)
    result = bench("predict", bundle, clip, clip.parent, "--plugins", kit)
    assert result.exit_code == 1
    assert "crossings.extract failed: IndexError" in result.stderr
    assert "1 of 30 files could not be used" in result.stderr
    assert "high" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bundle", "gone.wav"), "there is no file or folder"),
        (("bundle", "none-*.wav"), "none-*.wav matches no file"),
        (("bundle", "tests-of-nothing"), "there is no file or folder"),
        (("elsewhere", "x.wav"), "elsewhere is not a bundle: there is no such folder"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(
    bench: Bench, kit: Path, bundle: Path, words: tuple[str, ...], message: str
) -> None:
    assert bundle.is_dir()
    result = bench("predict", *words, "--plugins", kit)
    assert result.exit_code == 1
    assert message in result.stderr


def test_one_onnx_file_answers_as_the_pipeline(bench: Bench, clip: Path) -> None:
    pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    pytest.importorskip("skl2onnx", reason="the extra 'export' is not installed")
    make_folders(clip.parent)
    words = ("--features", "mfcc", "--model", "logistic_regression", "--data", "sorted", "--trials", "0")
    assert bench("run", *words, "--results", "other").exit_code == 0
    for form in (("--format", "onnx", "--end-to-end"), ()):
        result = bench("export", "--best", *form, "--results", "other")
        assert result.exit_code == 0, result.stderr
    session = runtime.InferenceSession("pipeline.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    samples, rate = soundfile.read(clip, dtype="float32")
    from marsbench.data.audio import Waveform, resample

    resampled = resample(Waveform(samples, rate), int(facts["sample_rate"])).samples
    (answer,) = session.run(["probabilities"], {"waveform": resampled})
    (found,) = json.loads(bench("predict", "bundle", clip, "--json").stdout)
    assert json.loads(facts["labels"]) == list(found["probabilities"])
    assert (facts["corpus"], facts["run"][:24]) == ("sorted", "mfcc-logistic_regression")
    assert facts["licence"]
    assert np.allclose(answer, list(found["probabilities"].values()), atol=1e-3)


def make_folders(clips: Path) -> None:
    """The kit's clips, one sub-folder for each class."""
    for path in clips.glob("*.wav"):
        target = Path("sorted", path.name.partition("-")[0], path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "pickle"), "'pickle' is not one of plugin, keras, litert, onnx"),
        (("--end-to-end",), "--end-to-end needs --format onnx"),
        (
            ("--format", "onnx", "--end-to-end", "--quantise", "int8"),
            "--quantise cannot be used with --end-to-end",
        ),
        (("--fold", "0"), "greater than or equal to 1"),
    ],
)
def test_words_that_do_not_go_together_are_wrong_usage(
    bench: Bench, words: tuple[str, ...], message: str
) -> None:
    result = bench("export", "--best", *words)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("form", ["keras", "litert", "onnx"])
def test_a_model_that_is_no_network_has_no_file_of_its_own(
    bench: Bench, kit: Path, ran: Any, form: str
) -> None:
    assert ran.exit_code == 0
    result = bench("export", "--best", "--format", form, "--plugins", kit)
    assert result.exit_code == 1
    assert (
        f"Model 'nearest_mean' cannot be exported in the format '{form}'. Available: plugin." in result.stderr
    )
    assert not Path("bundle").exists()


@pytest.fixture
def run(bench: Bench, kit: Path) -> RunFolder:
    """A finished run by speaker."""
    grid = ("--features", "blocks", "--model", "nearest_mean", "--data", "tones", "--protocol", "speaker5")
    assert bench("run", *grid, "--plugins", kit).exit_code == 0
    return next(find_runs(Path("results")))


@pytest.mark.parametrize("fold", [1, 4])
def test_a_folds_model_answers_its_test_clips_as_the_run_did(
    bench: Bench, kit: Path, run: RunFolder, home: Path, fold: int
) -> None:
    result = bench("export", run.path, "--fold", fold, "--plugins", kit)
    assert result.exit_code == 0, result.stderr
    assert f"clips of tones that fold {fold} trains on" in result.stdout
    assert "fitted again" not in result.stderr
    tested = read_predictions(run, run.read_run()).of_fold(fold - 1)
    files = [str(path) for clip in tested.clips for path in home.rglob(f"*{Path(clip).name}*")]
    found = json.loads(bench("predict", "bundle", *files, "--json", "--plugins", kit).stdout)
    assert np.allclose([[*row["probabilities"].values()] for row in found], tested.probabilities, atol=1e-6)


def test_a_fold_that_does_not_reproduce_the_recorded_predictions_is_told(
    bench: Bench, kit: Path, run: RunFolder
) -> None:
    rewrite(run, lambda made: made.with_probabilities(made.probabilities[:, ::-1]))
    result = bench("export", run.path, "--fold", "1", "--plugins", kit)
    assert result.exit_code == 0
    assert ", fitted again, does not reproduce the recorded predictions" in result.stderr


def test_a_fold_that_is_not_there_is_one_line(bench: Bench, kit: Path, run: RunFolder) -> None:
    result = bench("export", run.path, "--fold", "6", "--plugins", kit)
    assert result.exit_code == 1
    assert "has folds 1 to 5; there is no fold 6" in result.stderr


def test_a_fold_of_a_protocol_file_that_has_changed_is_refused(bench: Bench, kit: Path) -> None:
    file = Path("mine.toml")
    text = 'name = "mine"\nby = "speaker"\nfolds = [["speaker 0"], ["speaker 1"]]\n'
    file.write_text(text)
    grid = ("--features", "blocks", "--model", "nearest_mean", "--data", "tones", "--protocol", file)
    result = bench("run", *grid, "--plugins", kit)
    assert result.exit_code == 0, result.stderr
    file.write_text(text.replace("speaker 1", "speaker 2"))
    result = bench("export", next(find_runs(Path("results"))).path, "--fold", "1", "--plugins", kit)
    assert result.exit_code == 1
    assert "mine.toml is no longer the protocol that blocks-nearest_mean" in result.stderr


def test_a_bundle_is_written_in_another_form_without_a_fit(bench: Bench, kit: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    grid = ("--features", "blocks", "--model", "tiny_net", "--data", "tones", "--trials", "0")
    assert bench("run", *grid, "--plugins", kit).exit_code == 0
    assert bench("export", "--best", "--plugins", kit).exit_code == 0
    result = bench("export", "bundle", "--format", "onnx", "-o", "other", "--plugins", kit)
    assert result.exit_code == 0, result.stderr
    assert "Loading" not in result.stderr
    first, second = (json.loads(read_checksummed(Path(name, "bundle.json"))) for name in ("bundle", "other"))
    assert (second["form"], second["origin"]) == ("onnx", first["origin"])
    assert [clip["file"] for clip in second["golden"]] == [clip["file"] for clip in first["golden"]]
    result = bench("export", "other", "--format", "keras", "-o", "third", "--plugins", kit)
    assert "the model in other is in the format 'onnx'" in result.stderr


def test_a_bundle_has_no_folds(bench: Bench, kit: Path, bundle: Path) -> None:
    result = bench("export", bundle, "--fold", "1", "--plugins", kit)
    assert result.exit_code == 2
    assert "bundle is a bundle: --data, --protocol and --fold need a run" in result.stderr


def test_an_extractor_without_a_graph_is_refused_before_a_fit(bench: Bench, kit: Path, ran: Any) -> None:
    assert ran.exit_code == 0
    result = bench("export", "--best", "--format", "onnx", "--end-to-end", "--plugins", kit)
    assert result.exit_code == 1
    assert "has no ONNX graph: its plugin does not define onnx_graph" in result.stderr
    assert "Loading" not in result.stderr
