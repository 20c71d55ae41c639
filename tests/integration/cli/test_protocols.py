import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsbench.protocols import builtin

Bench = Callable[..., Any]
PAGE = Path(__file__).parents[3] / "docs" / "protocols.md"
APART = {"across", "across_pairs", "from_NAME", "within5", "loso", "luna5", "speaker5", "emobox6"} | {
    f"emobox_{corpus}" for corpus in ("esd", "iemocap", "emovo", "jl", "savee")
}
NAMES = sorted(APART | {"holdout80", "split", "statement2", "stratified5", "utterance5"})
RUN = ("run", "--features", "crossings", "--model", "nearest_mean", "--data", "tones", "--trials", "0")
OWN = """
name = "own"
by = "take"
folds = [["0"], ["1"]]
description = "takes [/x] apart"
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A protocol file of two folds."""
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    return path


def test_the_list_says_what_each_is_and_whether_speakers_are_kept_apart(bench: Bench) -> None:
    lines = [line.split() for line in bench("protocols", "list").stdout.splitlines()[2:]]
    assert [line[0] for line in lines] == NAMES
    assert {line[0] for line in lines if "not" in line} == APART
    assert "Luna-Jiménez et al. 2021, Sensors 21(22), 7665" in bench("protocols", "list").stdout


def test_the_list_as_json_is_for_programs(bench: Bench) -> None:
    rows = json.loads(bench("protocols", "list", "--json").stdout)
    assert [row["name"] for row in rows] == NAMES
    assert rows[NAMES.index("loso")] == {
        "name": "loso",
        "description": "leave one speaker out: a fold for each speaker",
        "by_speaker": True,
        "source": "",
    }


def test_show_gives_clips_classes_and_speakers_by_fold(bench: Bench, kit: Path) -> None:
    shown = bench("protocols", "show", "loso", "--data", "tones", "--plugins", kit)
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["fold", "train", "test", "low", "middle", "high"] in lines
    assert ["1", "24", "6", "2", "2", "2"] in lines
    assert ["1", "1", "speaker", "0"] in lines
    assert ["speaker", "4", "·", "·", "·", "·", "6"] in lines
    assert "Hash: " in shown.stdout


@pytest.mark.parametrize(
    ("name", "n_speakers"),
    [
        ("loso", 24),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [("loso", 5), ("stratified5", 24)]),
    ],
)
def test_show_fits_the_narrowest_terminals(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, n_speakers: int
) -> None:
    write_corpus(tmp_path / "corpus", n_speakers)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("marsbench.report.terminal.console.out.width", 80)
    shown = bench("protocols", "show", name, "--data", tmp_path / "corpus" / "clips.csv").stdout
    lines = [line.split() for line in shown.splitlines() if not line.startswith("Note")]
    labels = "angry calm disgust fearful happy neutral sad surprised"
    assert sorted(next(line for line in lines if "train" in line)[3:]) == labels.split()
    assert len([line for line in lines if line and line[0] == "Actor_02"]) == 1
    assert max(map(len, shown.splitlines())) <= 80


def write_corpus(folder: Path, n_speakers: int) -> None:
    """A table of short clips: two of the eight classes by each speaker, all by the first five or fewer."""
    import numpy as np
    import soundfile

    from marsbench.data.labels import EMOTIONS

    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["path,label,speaker"]
    for speaker in range(1, n_speakers + 1):
        for label in EMOTIONS if n_speakers <= 5 else (EMOTIONS * 2)[2 * speaker % 8 :][:2]:
            name = f"{label}-{speaker}.wav"
            soundfile.write(folder / name, 0.1 * rng.standard_normal(1600), 8000)
            rows.append(f"{name},{label},Actor_{speaker:02}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")


def test_show_as_json_has_what_the_tables_show(bench: Bench, kit: Path) -> None:
    words = ("protocols", "show", "speaker5", "--data", "tones", "--plugins", kit, "--json")
    facts = json.loads(bench(*words).stdout)
    assert facts["corpus"]["labels"] == ["low", "middle", "high"]
    assert facts["folds"][0]["test_by_class"] == {"low": 2, "middle": 2, "high": 2}
    assert [len(fold["test_by_speaker"]) for fold in facts["folds"]] == [1] * 5
    assert facts["leakage"]["speakers_shared"] == 0


def test_show_takes_a_file_and_its_words_as_they_are(bench: Bench, kit: Path, own: Path) -> None:
    shown = bench("protocols", "show", own, "--data", "tones", "--plugins", kit).stdout
    assert "own on tones: 2 fold(s)" in shown
    assert "takes [/x] apart" in shown
    assert "Note: train and test share 5 speaker(s); expect lower scores on new speakers." in shown


@pytest.mark.parametrize("name", ["stratified5", "holdout80", "loso"])
def test_written_splits_are_rerun_under_the_same_hash(bench: Bench, kit: Path, name: str) -> None:
    shown = bench("protocols", "show", name, "--data", "tones", "--plugins", kit, "-o", "splits.json")
    assert "Written: splits.json" in shown.stdout
    for protocol in (name, "splits.json"):
        assert bench(*RUN, "--plugins", kit, "--protocol", protocol).exit_code == 0
    (board,) = {row["protocol"] for row in json.loads(bench("leaderboard", "--json", "--all").stdout)}
    assert board == name
    (path,) = Path("results").glob(f"tones/{name}/*/run.json")
    written = json.loads(path.read_text())["protocol"]
    assert written["hash"][:16] in shown.stdout


def test_a_run_under_a_file_keeps_its_description_and_what_both_sides_share(
    bench: Bench, kit: Path, own: Path
) -> None:
    assert bench(*RUN, "--plugins", kit, "--protocol", own.name).exit_code == 0
    (path,) = Path("results/tones/own").glob("*/run.json")
    record = json.loads(path.read_text())["protocol"]
    assert record["description"] == "takes [/x] apart"
    assert record["leakage"]["speakers_shared"] == 5


def test_a_failed_run_under_a_file_is_retried_from_another_folder(
    bench: Bench, kit: Path, own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = [word if word != "nearest_mean" else "troubled" for word in RUN]
    assert bench(*words, "--plugins", kit, "--protocol", own.name).exit_code == 1
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = bench("retry", "--failed", "--results", tmp_path / "results")
    assert "FAILED: RuntimeError: no luck today (fold 1, 2)" in again.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("protocols", "show", "los"), "Unknown protocol 'los'. Did you mean 'loso'?"),
        (("protocols", "show", "gone.toml"), "protocol gone.toml cannot be read: No such file"),
        (("protocols", "show", "loso", "-o", "x.toml"), "name a file that ends in .json, not 'x.toml'"),
        ((*RUN, "--protocol", "gone.json"), "gone.json cannot be read: No such file"),
        ((*RUN, "--protocol", "los"), "Unknown protocol 'los'. Did you mean 'loso'?"),
        ((*RUN, "--protocol", "bad.json"), "bad.json has no keys"),
    ],
)
def test_a_wrong_protocol_is_told_before_any_audio_is_read(
    bench: Bench, words: tuple[str, ...], message: str, kit: Path
) -> None:
    Path("bad.json").write_text("[]")
    result = bench(*words, "--plugins", kit)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Checking" not in result.stderr


def test_statement2_splits_the_embedded_corpus(bench: Bench) -> None:
    settings = ("--set", "demo.n_speakers=2", "--set", "demo.n_takes=2")
    shown = bench("protocols", "show", "statement2", *settings)
    assert shown.exit_code == 0, shown.stderr
    assert ["1", "16", "16", *["2"] * 8] in [line.split() for line in shown.stdout.splitlines()]


def test_a_protocol_in_code_is_one_new_file_such_as_that_of_the_docs(
    bench: Bench, kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall("```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "takes.py").write_text(code)
    # As if the file stood in the folder of the built-in protocols.
    monkeypatch.setattr(builtin, "__path__", [*builtin.__path__, str(tmp_path / "new")])
    listed = {row["name"]: row for row in json.loads(bench("protocols", "list", "--json").stdout)}
    assert listed["takes"]["description"] == "2 folds of whole takes"
    shown = bench("protocols", "show", "takes", "--data", "tones", "--plugins", kit).stdout
    assert "takes on tones: 2 fold(s)" in shown
    assert bench(*RUN, "--plugins", kit, "--protocol", "takes").exit_code == 0
    (path,) = Path("results/tones/takes").glob("*/run.json")
    assert json.loads(path.read_text())["protocol"]["n_folds"] == 2


def test_a_run_may_have_any_number_of_folds(bench: Bench, kit: Path) -> None:
    assert bench(*RUN, "--plugins", kit, "--protocol", "stratified10").exit_code == 0
    refused = bench(*RUN, "--plugins", kit, "--protocol", "stratified1")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "protocol 'stratified1' has 1 folds; at least 2 are needed" in refused.stderr
