import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from marsbench.files import read_sealed

Bench = Callable[..., Any]


@pytest.fixture
def clip(ran: Any, home: Path) -> Path:
    """A clip of class `high`."""
    assert ran.exit_code == 0
    return next(path for path in sorted((home / "tones").glob("high-*.wav")))


@pytest.fixture
def bundle(bench: Bench, kit: Path, clip: Path) -> Path:
    """The best run's bundle."""
    assert clip.is_file()
    result = bench("export", "--best", "--plugins", kit, "-o", "bundle")
    assert result.exit_code == 0, result.stderr
    return Path("bundle")


def test_the_best_run_leaves_the_lab(bench: Bench, kit: Path, ran: Any) -> None:
    assert ran.exit_code == 0
    result = bench("export", "--best", "--plugins", kit)
    assert result.stderr.count("\n") < 9
    for expected in (
        "nearest_mean",
        "Trained on all 30 clips of tones; none.",
        "Classes: low, middle, high.",
        "The audio is synthetic: it will not recognise people.",
        "under stratified5: accuracy 100.0 %",
        "Checked: it answers 3 clips as the model in memory did.",
        "Written: bundle",
    ):
        assert expected in result.stdout


def test_a_run_is_exported_by_its_name(bench: Bench, kit: Path, ran: Any) -> None:
    assert ran.exit_code == 0
    assert bench("export", "blocks", "--plugins", kit, "-o", "mine").exit_code == 0
    record = json.loads(read_sealed(Path("mine/bundle.json")))
    assert record["features"]["name"] == "blocks"
    assert record["origin"]["protocol"] == "stratified5"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name a RUN, or say --best"),
        (("blocks", "--best"), "name a RUN, or say --best"),
        (("nobody",), "no run 'nobody'"),
        (("--best", "--protocol", "loso"), "no protocol 'loso'"),
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
    assert list(rows[0]) == ["file", "label", "confidence", "p_low", "p_middle", "p_high"]


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bundle", "gone.wav"), "there is no file or folder"),
        (("bundle", "none-*.wav"), "none-*.wav matches nothing"),
        (("bundle", "tests-of-nothing"), "there is no file or folder"),
        (("elsewhere", "x.wav"), "there is no file or folder"),
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
    for form in ("onnx", "bundle"):
        result = bench("export", "--best", "--format", form, "--results", "other")
        assert result.exit_code == 0, result.stderr
    session = runtime.InferenceSession("pipeline.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    samples, rate = soundfile.read(clip, dtype="float32")
    from marsbench.audio import Waveform, resample

    heard = resample(Waveform(samples, rate), int(facts["sample_rate"])).samples
    (answer,) = session.run(["probabilities"], {"waveform": heard})
    (found,) = json.loads(bench("predict", "bundle", clip, "--json").stdout)
    assert json.loads(facts["labels"]) == list(found["probabilities"])
    assert np.allclose(answer, list(found["probabilities"].values()), atol=1e-3)


def make_folders(clips: Path) -> None:
    """The kit's clips, one sub-folder for each class."""
    for path in clips.glob("*.wav"):
        target = Path("sorted", path.name.partition("-")[0], path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def test_a_form_that_does_not_exist_is_wrong_usage(bench: Bench) -> None:
    result = bench("export", "--best", "--format", "pickle")
    assert result.exit_code == 2
    assert "there is bundle and onnx" in result.stderr
