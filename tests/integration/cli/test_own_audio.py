"""A stranger's own audio: one command from files as they lie there to a board."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from marsbench.results.reproduce import reproduce
from marsbench.results.store import find_run

Bench = Callable[..., Any]
GRID = ("--features", "crossings", "--model", "nearest_mean", "--trials", "0")
CODES = {"L": 300, "H": 3000, "X": 1000}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write tones of four voices, two takes and some codes of classes, each into the path asked for."""

    def make(pattern: str, codes: str = "LHX") -> Path:
        random = np.random.default_rng(0)
        for code in codes:
            for voice, take in np.ndindex(4, 2):
                tone = np.sin(2 * np.pi * (CODES[code] + 7 * voice + take) * np.arange(4000) / 8000)
                path = tmp_path / "mine" / pattern.format(code=code, voice=voice, take=take)
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, 0.5 * tone + random.normal(0, 0.1, 4000), 8000)
        return tmp_path / "mine"

    return make


def test_audio_in_one_flat_folder_is_one_command_to_a_board_that_the_record_repeats(
    bench: Bench, kit: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    write("0{voice}a{take}{code}.wav")
    how = ("--label", r"(\w)\.wav", "--speaker", r"^(\d\d)", "--map", "L=low,H=high,X=", "--name", "tones")
    ran = bench("run", "--data", "mine", *how, *GRID, "--protocol", "speaker2", "--plugins", kit)
    assert ran.exit_code == 0, ran.stderr
    assert "clips left out by --map: 8 of X" in ran.stderr
    (row,) = json.loads(bench("leaderboard", "--json").stdout)
    assert (row["corpus"], row["speakers_apart"]) == ("tones", True)
    (line,) = reproduce(find_run(tmp_path / "results", row["run_id"]).read_run()).commands
    again = bench(*shlex.split(line)[1:], "--plugins", kit)
    assert again.exit_code == 0, again.stderr
    assert [one["run_id"] for one in json.loads(bench("leaderboard", "--json").stdout)] == [row["run_id"]]
    assert "low" in bench("show", row["run_id"], "--by", "label").stdout


def test_what_a_check_finds_is_json_for_other_programs(bench: Bench, write: Callable[..., Path]) -> None:
    folder = write("{code}/{voice}-{take}.wav")
    (folder / "L" / "0-0.wav").write_bytes((folder / "L" / "1-1.wav").read_bytes())
    (folder / "H" / "0-0.wav").write_bytes(b"")
    ran = bench("data", "check", "mine", "--json", "--speaker", r"(\d)-", "--map", "X=")
    found = json.loads(ran.stdout)
    assert (found["name"], found["clips"], found["classes"]) == ("mine", 15, {"H": 7, "L": 8})
    assert (found["speakers"], found["without_speaker"]) == ({"0": 3, "1": 4, "2": 4, "3": 4}, 0)
    assert found["seconds"] == {"least": 0.5, "median": 0.5, "most": 0.5, "total": 7.5}
    assert found["levels"]["least"] <= found["levels"]["median"] <= found["levels"]["most"] < 0
    assert found["duplicates"]["exact"] == [["L/0-0.wav", "L/1-1.wav"]]
    assert found["problems"].keys() == {"H/0-0.wav"}
    assert "clips left out by --map: 8 of X" in found["notes"]


def test_a_table_as_excel_writes_it_is_one_command_to_a_board(
    bench: Bench, kit: Path, write: Callable[..., Path]
) -> None:
    folder = write("wav/{voice}{take}{code}.wav", "LH")
    rows = [
        f"wav\\\\{path.name};{path.name[2]};s{path.name[0]}" for path in sorted((folder / "wav").iterdir())
    ]
    text = "\r\n".join(["sep=;", "Filename;Gef\u00fchl;Spk", *rows])
    (folder / "tabelle.csv").write_bytes(text.encode("cp1252"))
    how = ("--columns", "label=Gef\u00fchl", "--protocol", "speaker2", *GRID, "--plugins", kit)
    ran = bench("run", "--data", "mine/tabelle.csv", *how)

    assert ran.exit_code == 0, ran.stderr
    assert "columns path=Filename,speaker=Spk" in " ".join(ran.stderr.split())
    (row,) = json.loads(bench("leaderboard", "--json").stdout)
    assert (row["corpus"], row["speakers_apart"]) == ("tabelle", True)


@pytest.mark.parametrize("command", [("run", *GRID), ("protocols", "show", "speaker2")])
@pytest.mark.parametrize(("nameless", "problem"), [(8, "names no speaker"), (1, "names no speaker"), (0, "")])
def test_speakers_that_are_missing_are_told_before_any_other_audio_is_read(
    bench: Bench, kit: Path, tmp_path: Path, command: tuple[str, ...], nameless: int, problem: str
) -> None:
    lines = ["path,label,speaker"]
    for number in range(8):
        tone = np.sin(np.arange(4000) * (0.2 + 0.1 * number))
        soundfile.write(tmp_path / f"{number}.wav", tone, 8000)
        lines.append(f"{number}.wav,{'LH'[number % 2]},{'' if number < nameless else f's{number // 2}'}")
    (tmp_path / "empty.wav").touch()  # names no speaker and is not used either
    Path(tmp_path / "clips.csv").write_text("\n".join([*lines, "empty.wav,L,"]))
    where = ("--protocol", "speaker2") if command[0] != "protocols" else ()
    ran = bench(*command, *where, "--data", tmp_path / "clips.csv", "--plugins", kit)
    assert "clips.csv is read as a table of clips: 9 clips" in ran.stderr
    assert ran.exit_code == bool(problem), ran.stderr
    assert problem in ran.stderr
    assert ("Checking audio" in ran.stderr) is not bool(problem)


def test_segments_of_long_files_are_one_command_to_a_board(
    bench: Bench, kit: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    lines = ["file,start,end,emotion,speaker"]
    for voice in range(4):
        parts = [
            soundfile.read(path)[0] for path in sorted(write("{voice}{code}{take}.wav").glob(f"{voice}*"))
        ]
        soundfile.write(tmp_path / f"{voice}.flac", np.concatenate(parts), 8000)
        for number in range(6):
            times = (f"0 days 00:00:0{0.5 * number + shift:.6f}" for shift in (0, 0.4))
            lines.append(",".join([f"{voice}.flac", *times, "HLX"[number // 2], str(voice)]))
    (tmp_path / "segments.csv").write_text("\n".join(lines))
    how = ("--protocol", "speaker2", *GRID, "--plugins", kit)
    ran = bench("run", "--data", "segments.csv", *how)

    assert ran.exit_code == 0, ran.stderr
    assert "clips are segments: 24 of 4 files" in ran.stderr
    (row,) = json.loads(bench("leaderboard", "--json").stdout)
    assert row["accuracy"] > 0.9
    assert bench("export", row["run_id"], "-o", "bundle", "--plugins", kit).exit_code == 0


def test_split_and_class_folders_are_one_command_to_a_board(
    bench: Bench, kit: Path, write: Callable[..., Path]
) -> None:
    write("train/{code}/{voice}{take}.wav", "LH")
    for path in sorted((Path("mine") / "train").rglob("[23]*.wav")):
        part = "valid" if path.name[0] == "2" else "test"
        place = Path("mine") / part / path.parent.name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    ran = bench("run", "--data", "mine", "--protocol", "split", *GRID, "--plugins", kit)

    assert ran.exit_code == 0, ran.stderr
    (row,) = json.loads(bench("leaderboard", "--json").stdout)
    assert row["protocol"] == "split"
    shown = bench("protocols", "show", "split", "--data", "mine").stdout
    assert "dev (4 clips) is what tuning" in " ".join(shown.split())
