"""The page without a browser."""

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("streamlit", reason="no streamlit here: pip install 'marsbench[app]'")

from streamlit.testing.v1 import AppTest

import marsbench.app
from fixtures.bundle import measured
from marsbench.app import inference
from marsbench.app.page import escaped
from marsbench.atomic_files import read_checksummed, write_checksummed
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import golden_samples, write_bundle
from marsbench.deployment.export import fit_bundle
from marsbench.environment import install_hint
from marsbench.planning.pipelines import make_pipeline
from marsbench.plugin.registry import Registry, discover

ROOT = Path(__file__).parents[3]
SCRIPT = str(Path(next(iter(marsbench.app.__path__)), "page.py"))
Opened = Callable[..., AppTest]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, kit: Path) -> Opened:
    """The page as some words behind `--` start it."""

    def run(*words: object) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["page.py", *map(str, words), "--plugins", str(kit)])
        return AppTest.from_file(SCRIPT, default_timeout=60).run()

    return run


def upload(page: AppTest, name: str, data: bytes) -> AppTest:
    page.file_uploader[0].set_value((name, data, "audio/wav")).run()
    assert not page.exception
    return page


@pytest.mark.parametrize("installed", [True, False])
def test_what_pyav_decodes_is_offered_where_it_is_installed(
    opened: Opened, folder: Path, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marsbench.data.compressed.pyav", lambda: "av 1" if installed else "no av")
    page = opened(folder)
    offered = {".m4a", ".aac", ".mp4", ".webm"} & set(page.file_uploader[0].proto.type)
    told = [one.value for one in page.caption if "need PyAV" in one.value]
    assert (len(offered), len(told)) == ((4, 0) if installed else (0, 1))
    assert installed or told[0].endswith(escaped(f"need PyAV on the server: {install_hint('av')}."))


def words_of(page: AppTest) -> str:
    return " ".join(element.proto.body for element in page.get("html"))


def audio(seconds: float, rate: int = 1000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.tile(np.array([1, -1], np.int16), round(seconds * rate / 2)), rate, format="FLAC"
    )
    return buffer.getvalue()


def test_an_uploaded_clip_is_told_with_bars_pictures_and_player(
    opened: Opened, folder: Path, clip: Path
) -> None:
    shown = words_of(upload(opened(folder), clip.name, clip.read_bytes()))
    assert "<strong>high</strong>" in shown
    assert [shown.index(f'<th scope="row">{label}</th>') for label in ("low", "middle", "high")]
    assert shown.count('<img class="plot"') == 2
    assert "timeline" not in shown.split("</style>")[-1]


def test_a_long_recording_has_a_timeline(opened: Opened, folder: Path, clip: Path) -> None:
    samples, rate = soundfile.read(clip)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.tile(samples, 10), rate, format="WAV")
    page = upload(opened(folder), "long.wav", buffer.getvalue())
    assert '<div class="timeline">' in words_of(page)
    assert "Over time" in [heading.value for heading in page.subheader]


def test_a_recording_from_the_microphone_is_told(opened: Opened, folder: Path, clip: Path) -> None:
    page = opened(folder)
    page.audio_input[0].set_value(("voice.wav", clip.read_bytes(), "audio/wav")).run()
    assert "<strong>high</strong>" in words_of(page)


def test_an_example_clip_is_predicted_with_one_click_and_told_to_be_a_training_clip(
    opened: Opened, folder: Path, clip: Path
) -> None:
    page = upload(opened(folder), clip.name, clip.read_bytes())
    page.button_group[0].set_value(0).run()
    assert not page.exception
    assert "<strong>low</strong>" in words_of(page)
    assert "True class: low. The model was trained on this clip" in words_of(page)


@pytest.fixture
def n_asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a bundle was asked; opening one asks it, too."""
    n_asked, predict = [0], Bundle.predict

    def counted(*given: Any, **words: Any) -> Any:
        n_asked[0] += 1
        return predict(*given, **words)

    monkeypatch.setattr(Bundle, "predict", counted)
    return n_asked


@pytest.mark.parametrize("way", ["file", "voice", "example"])
def test_what_is_shown_is_predicted_once_however_often_one_clicks(
    opened: Opened, folder: Path, clip: Path, n_asked: list[int], way: str
) -> None:
    page = opened(folder)
    if way == "file":
        upload(page, clip.name, clip.read_bytes())
    elif way == "voice":
        page.audio_input[0].set_value(("voice.wav", clip.read_bytes(), "audio/wav")).run()
    else:
        page.button_group[0].set_value(0).run()
    before = n_asked[0]
    page.run()
    upload(page, "the same.wav", clip.read_bytes())
    upload(page, clip.name, clip.read_bytes())
    assert "<strong>high</strong>" in words_of(page)
    assert n_asked[0] == before + (way == "example")


def test_several_files_are_a_table_and_one_in_full_and_each_is_predicted_once(
    opened: Opened, folder: Path, clips: dict[str, Path], n_asked: list[int]
) -> None:
    page = opened(folder)
    before = n_asked[0]
    files = [(path.name, path.read_bytes(), "audio/wav") for path in (clips["low"], clips["high"])]
    page.file_uploader[0].set_value([("bad.wav", b"no audio", "audio/wav"), *files]).run()
    assert not page.exception
    shown = words_of(page)
    assert '<td>bad.wav</td><td colspan="3">not predicted: cannot be decoded' in shown
    assert f"<td>{clips['low'].name}</td><td>low</td>" in shown
    assert "<strong>high</strong>" in shown
    assert page.get("download_button")
    page.selectbox[0].set_value(page.selectbox[0].options[0]).run()
    assert "bad.wav: cannot be decoded" in page.error[0].value
    assert n_asked[0] == before + 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"I am no audio", "cannot be decoded"),
        (b"", "empty: 0 bytes"),
        (bytes(100 << 20), "too large: 100.0 MB, the limit is 50 MB"),
        (audio(3600), "too long: 3600.0 s, the limit is 600 s"),
    ],
    ids=["text", "empty", "100 MB", "an hour"],
)
def test_what_cannot_be_heard_is_one_line_and_the_page_goes_on(
    opened: Opened, folder: Path, clip: Path, data: bytes, message: str
) -> None:
    page = opened(folder)
    (error,) = upload(page, "bad.wav", data).error
    assert message in error.value
    assert "\n" not in error.value
    assert "<strong>high</strong>" in words_of(upload(page, clip.name, clip.read_bytes()))


def test_no_bundle_offers_the_demo_model_and_trains_it(
    opened: Opened, bundle: Bundle, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(_: Registry) -> Bundle:
        shutil.copytree(folder, inference.demo_folder())
        return bundle

    monkeypatch.setattr("marsbench.app.inference.train_demo", quick)
    page = opened()
    assert not page.file_uploader
    page.button[0].click().run()
    assert page.file_uploader
    assert "synthetic voices" in page.warning[0].value


def test_app_py_shows_the_bundle_that_was_exported_here_and_says_what_to_do_without_one(
    folder: Path, tmp_path: Path, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py"])
    shutil.copytree(kit, tmp_path / "plugins")
    script = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    (error,) = script.run().error
    assert error.value.endswith("bench search or bench export --best writes one")
    shutil.copytree(folder, tmp_path / "bundle")
    page = script.run()
    assert not page.error
    assert page.file_uploader


def test_streamlit_has_the_page_s_settings_at_the_top_of_the_repository() -> None:
    here, there = ROOT / ".streamlit" / "config.toml", Path(SCRIPT).parent / ".streamlit" / "config.toml"
    assert here.read_text("utf-8") == there.read_text("utf-8")


def test_a_recording_without_the_high_tones_of_the_training_is_told_with_a_warning(
    opened: Opened, folder: Path, clip: Path
) -> None:
    told = "4,000 samples a second, fewer than any training clip"
    for data, is_told in ((audio(0.3, 4000), True), (clip.read_bytes(), False)):
        warnings = [warning.value for warning in upload(opened(folder), "clip.wav", data).warning]
        assert any(told in warning for warning in warnings) is is_told


def test_a_recording_unlike_the_training_clips_is_told_with_a_warning(
    opened: Opened, bundle: Bundle, corpus: CheckedCorpus, clip: Path, tmp_path: Path
) -> None:
    write_bundle(measured(bundle, corpus), tmp_path / "mine", golden_samples(corpus))
    noise = np.random.default_rng(0).uniform(-1, 1, 16_000)
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    for file, is_told in ((tmp_path / "noise.wav", True), (clip, False)):
        page = upload(opened(tmp_path / "mine"), file.name, file.read_bytes())
        told = any("This recording is unlike the training clips" in one.value for one in page.warning)
        assert told is is_told


def test_a_bundle_that_is_damaged_while_it_is_shown_is_one_line_until_it_is_whole_again(
    opened: Opened, folder: Path, clip: Path, tmp_path: Path
) -> None:
    shown = shutil.copytree(folder, tmp_path / "shown")
    page = opened(shown)
    whole = (shown / "bundle.json").read_bytes()
    (shown / "bundle.json").write_bytes(whole[:-100])
    (error,) = page.run().error
    assert "bundle.json is damaged" in error.value
    (shown / "bundle.json").write_bytes(whole)
    assert "<strong>high</strong>" in words_of(upload(page.run(), clip.name, clip.read_bytes()))


def test_a_bundle_that_is_exported_again_is_opened_again(
    opened: Opened, folder: Path, corpus: CheckedCorpus, kit: Path, tmp_path: Path
) -> None:
    shown = shutil.copytree(folder, tmp_path / "shown")
    page = opened(shown)
    assert "crossings + nearest" in page.caption[0].value
    registry = discover((kit,))
    other = fit_bundle(corpus, make_pipeline(registry, "blocks", "nearest_mean", {}), registry, seed=0)
    write_bundle(other, shown)
    assert "blocks + nearest" in page.run().caption[0].value


def test_a_bundle_whose_plugin_is_not_here_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["page.py", str(folder)])
    (error,) = AppTest.from_file(SCRIPT, default_timeout=60).run().error
    assert "needs the features plugin 'crossings', which was not found" in error.value


def test_a_bundle_of_other_code_is_shown_with_a_warning(opened: Opened, folder: Path, tmp_path: Path) -> None:
    shown = shutil.copytree(folder, tmp_path / "shown")
    values = json.loads(read_checksummed(shown / "bundle.json"))
    values["model"]["source"] = "older"
    write_checksummed(shown / "bundle.json", json.dumps(values))
    for page in (opened(shown), opened(shown)):
        assert any("code of nearest\\_mean has changed" in warning.value for warning in page.warning)


def test_a_bundle_that_is_not_there_is_one_line(opened: Opened) -> None:
    (error,) = opened("nothing").error
    assert error.value.startswith("nothing is not a bundle: there is no such folder")


def test_a_bundle_of_no_run_says_that_it_has_no_scores(opened: Opened, folder: Path) -> None:
    page = opened(folder)
    assert "has no run" in page.info[0].value
    assert any("No leaderboard" in caption.value for caption in page.caption)


def test_a_bundle_of_a_run_shows_verdict_confusion_leaderboard_and_how_often_it_was_right(
    opened: Opened, bench: Callable[..., Any], kit: Path, clip: Path
) -> None:
    grid = ("--features", "crossings", "--model", "nearest_mean", "--data", "tones", "--plugins", kit)
    assert bench("run", *grid, "--protocol", "stratified5").exit_code == 0
    assert bench("export", "--best", "--plugins", kit).exit_code == 0
    page = opened("bundle")
    assert not page.exception
    shown = words_of(page)
    assert "Verdict: " in shown
    assert 'title="low predicted as low: 10 of 10"' in shown
    assert '<tr class="focus"><td>1</td><td>-</td><td>crossings + nearest_mean' in shown
    assert page.subheader[-1].value == "Leaderboard: tones, stratified5"
    told = words_of(upload(page, clip.name, clip.read_bytes()))
    assert re.search(
        r"Answers this sure \(.* %\) were right in 100 % \(.*\) of 30 test clips of speakers", told
    )


def test_a_bundle_of_an_ensemble_is_shown_and_answers_like_any_other(
    opened: Opened, bench: Callable[..., Any], kit: Path, clip: Path
) -> None:
    grid = ("--features", "crossings,blocks", "--model", "nearest_mean", "--data", "tones")
    assert bench("run", *grid, "--protocol", "stratified5", "--plugins", kit).exit_code == 0
    assert bench("ensemble", "crossings", "blocks", "--equal").exit_code == 0
    assert bench("export", next(Path("results").glob("*/*/ensemble-*")), "--plugins", kit).exit_code == 0
    page = upload(opened("bundle"), clip.name, clip.read_bytes())
    assert "mean of blocks + nearest" in page.caption[0].value
    assert "<strong>high</strong>" in words_of(page)
    assert re.search('<tr class="focus"><td>1</td><td>[a-z-]+</td><td>ensemble of 2', words_of(page))


def test_the_limit_is_the_one_that_the_command_tells_the_server() -> None:
    from marsbench.cli import app

    assert app._MAX_MEGABYTES == inference.MAX_MEGABYTES


def test_words_are_no_markdown() -> None:
    assert escaped("a_b*[c] $1 `x`") == r"a\_b\*\[c\] \$1 \`x\`"
