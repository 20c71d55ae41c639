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
