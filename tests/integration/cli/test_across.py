"""Runs on several corpora: training on some, tests on another."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from marsbench.automl.search import search
from marsbench.config import Experiment, Search
from marsbench.errors import BenchError
from marsbench.planning.plans import make_plans
from marsbench.plugin.registry import discover
from marsbench.progress import Silent
from marsbench.report.matrix import trained_phrase
from marsbench.results.matrix import matrices
from marsbench.results.store import find_runs
from marsbench.runner.reload import corpus_of
from marsbench.runner.runner import run

PITCHES = {"low": 230.0, "middle": 460.0, "high": 920.0, "silent": 50.0}
PAIRS = ["from_others", "from_tones", "within5"]


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A table of tones of four speakers, one class more than the dataset `tones` has."""
    lines = ["path,label,speaker"]
    for label, pitch in PITCHES.items():
        for speaker in range(4):
            for take in range(3):
                times = np.arange(1600) / 8000
                wave = (0.2 + 0.1 * speaker) * np.sin(2 * np.pi * (pitch + 3 * take) * times + speaker)
                soundfile.write(tmp_path / f"{label}-{speaker}-{take}.wav", wave, 8000)
                lines.append(f"{label}-{speaker}-{take}.wav,{label},{speaker}")
    table = tmp_path / "others.csv"
    table.write_text("\n".join(lines))
    return table


def asked(kit: Path, *data: object, **changes: object) -> Experiment:
    given = {"features": "crossings", "model": "nearest_mean", "data": list(data), "trials": 0}
    return Experiment.parse({**given, "plugins": [kit], "protocol": "across_pairs", "workers": 0} | changes)


@pytest.fixture
def ran(bench: Callable[..., Any], kit: Path, others: Path, made_once: Callable[..., Any]) -> Any:
    """A finished `bench run` of one pipeline on two corpora in ./results."""
    data = ("--data", "tones", "--data", others, "--protocol", "across_pairs", "--trials", "0")
    grid = ("--features", "crossings", "--model", "nearest_mean", "--workers", "0", "--plugins", kit)
    result = made_once("ran across", lambda: bench("run", *grid, *data))
    assert result.exit_code == 0, result.stderr
    return result


def test_a_run_across_pairs_ends_in_a_matrix_that_every_output_has(
    ran: Any, bench: Callable[..., Any], kit: Path
) -> None:
    assert sorted(folder.path.parent.name for folder in find_runs(Path("results"))) == PAIRS
    assert "Trained on (rows), tested on (columns): crossings + nearest_mean" in ran.stdout
    (found,) = json.loads(bench("matrix", "--json").stdout)
    cells = {(*cell["trained_on"], cell["tested_on"]): cell for cell in found["cells"]}
    assert sorted(cells) == [
        ("others", "others"), ("others", "tones"), ("tones", "others"), ("tones", "tones"),
    ]  # fmt: skip
    other = cells["tones", "others"]
    assert (other["protocol"], other["n_clips"], other["n_speakers"]) == ("from_tones", 36, 4)
    assert other["holds_for"] == "new speakers of a corpus that was not trained on (from_tones)"
    assert other["uar"]["low"] <= other["uar"]["value"] <= other["uar"]["high"]
    assert other["uar"]["chance"] == pytest.approx(1 / 3)
    assert cells["tones", "tones"]["holds_for"].startswith("new speakers of the corpus")
    bench("report", "--plugins", kit)
    assert "Across corpora" in Path("report.html").read_text()


def test_what_is_left_out_is_told_before_use_and_kept_with_the_run(ran: Any) -> None:
    told = "clips left out, as not all corpora have their class: 12 of silent (others)"
    assert told in " ".join(ran.stderr.split())
    assert " ".join(ran.stdout.split()).count(told) == 1  # three protocols, one corpus
    record = next(find_runs(Path("results"))).read_run()
    assert told in record.corpus.notes
    assert (record.corpus.name, record.corpus.n_clips) == ("others-tones", 66)
    assert record.corpus.licence == "others: unknown; tones: none"


@pytest.mark.usefixtures("ran")
def test_a_run_is_read_again_from_its_record_alone(kit: Path, bench: Callable[..., Any]) -> None:
    folder = next(folder for folder in find_runs(Path("results")) if folder.path.parent.name == "within5")
    record = folder.read_run()
    assert corpus_of(record, discover((kit,))).fingerprint == record.corpus.fingerprint
    (again,) = make_plans(Experiment.parse(folder.read_plan().experiment), Silent())
    assert again.protocol.hash == record.protocol.hash
    shown = bench("show", folder.path.name, "--by", "corpus", "--plugins", kit)
    assert [line.split()[0] for line in shown.stdout.splitlines()[-2:]] == ["others", "tones"]
    commands = bench("show", folder.path.name, "--plugins", kit).stdout
    assert "--data tones --data folder --protocol within5" in commands
    assert bench("export", folder.path.name, "-o", "bundle", "--plugins", kit).exit_code == 0
    parts = ("--data", record.corpus.joined[0].parameters["root"], "--data", "tones")
    best = ("--best", *parts, "--protocol", "within5", "-o", "best", "--plugins", kit)
    assert bench("export", *best).exit_code == 0
    assert "others-tones" in bench("leaderboard", *parts, "--protocol", "within5").stdout
    both = bench("evaluate", "best", *parts, "--plugins", kit, "--json")
    assert json.loads(both.stdout)["n_clips"] == 66


@pytest.mark.parametrize("protocol", ["across", "from_tones", "within5", "across_pairs"])
def test_joined_corpora_are_searched_under_one_protocol(kit: Path, others: Path, protocol: str) -> None:
    grid = {"features": "crossings", "model": "nearest_mean", "time_budget": 10}
    asked = Search.parse(grid | {"data": ["tones", others], "plugins": [kit], "protocol": protocol})
    if protocol == "across_pairs":
        with pytest.raises(BenchError, match="across_pairs stands for within5, from_others, from_tones"):
            search(asked, now=lambda: 0.0)
    else:
        assert search(asked, now=lambda: 0.0).winner[1].protocol.name == protocol


def test_corpora_that_were_moved_are_named_one_by_one(
    ran: Any, kit: Path, others: Path, bench: Callable[..., Any], tmp_path: Path
) -> None:
    assert ran.exit_code == 0
    folder = next(find_runs(Path("results")))
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in [*others.parent.glob("*.wav"), others]:
        path.rename(moved / path.name)
    show = ("show", folder.path.name, "--by", "corpus", "--plugins", kit)
    one = bench(*show, "--data", moved / "others.csv")
    assert "was made on 2 corpora (tones, folder), and --data names 1" in " ".join(one.stderr.split())
    both = bench(*show, "--data", moved / "others.csv", "--data", "tones")
    assert both.exit_code == 0
    export = ("export", folder.path.name, "-o", "bundle", "--plugins", kit)
    assert bench(*export, "--data", moved / "others.csv", "--data", "tones").exit_code == 0


def test_the_order_of_data_does_not_matter_and_nothing_is_computed_twice(
    kit: Path, others: Path, tmp_path: Path
) -> None:
    first = run(asked(kit, "tones", others, results=tmp_path / "r"))
    again = run(asked(kit, others, "tones", results=tmp_path / "r"))
    assert [folder.path for folder, _ in first] == [folder.path for folder, _ in again]


def test_a_matrix_is_of_all_seeds_and_of_one_protocol_a_cell(kit: Path, others: Path, tmp_path: Path) -> None:
    both = {"protocol": "across,across_pairs", "repeats": 2, "results": tmp_path / "r"}
    runs = run(asked(kit, "tones", others, **both))
    ((found,), left_out) = matrices(runs)
    assert (found.row.seeds, left_out) == ((0, 1), [])
    assert {cell.protocol for cell in found.cells.values()} == {"from_others", "from_tones", "within5"}
    scores = [
        record.metrics["uar"].value
        for _, record in runs
        if record.metrics and record.protocol.name == "from_tones"
    ]
    assert found.cells[("tones",), "others"].scores["uar"].value == pytest.approx(sum(scores) / 2)
    (alone,) = matrices(one for one in runs if one[1].protocol.name == "across")[0]
    assert set(alone.cells) == {(("tones",), "others"), (("others",), "tones")}


@pytest.mark.parametrize(
    ("trained", "phrase"), [(("a",), "a"), (("a", "c"), "all but b"), (("a", "b", "c"), "a + b + c")], ids=str
)
def test_what_was_trained_on_is_said_in_few_words(trained: tuple[str, ...], phrase: str) -> None:
    assert trained_phrase(trained, ["a", "b", "c"]) == phrase


def test_one_corpus_of_a_single_value_is_written_as_before(kit: Path, tmp_path: Path) -> None:
    ((folder, done),) = run(asked(kit, "tones", protocol="speaker5", results=tmp_path / "r"))
    assert folder.read_plan().experiment["data"] == "tones"
    assert (done.corpus.joined, done.protocol.corpora) == ([], [])


def planned(kit: Path, *data: object, **changes: object) -> Any:
    return make_plans(asked(kit, *data, **{"protocol": "across"} | changes), Silent())[0].corpus.corpus


@pytest.mark.parametrize(
    ("changes", "labels", "name"),
    [
        ({"map": "silent=,low=sad"}, ("high", "middle", "sad"), "others-tones"),
        ({"classes": "middle,low"}, ("middle", "low"), "others-tones"),
        ({"name": "both"}, ("high", "low", "middle"), "both"),
    ],
    ids=["map", "classes", "name"],
)
def test_options_of_reading_are_for_all_corpora(
    kit: Path, others: Path, changes: dict[str, str], labels: tuple[str, ...], name: str
) -> None:
    made = planned(kit, "tones", others, **changes)
    assert (made.labels, made.name) == (labels, name)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"map": "loud=low"}, "--map: Unknown class 'loud'"),
        (
            {"label": "(s)", "data": ["tones", "demo"]},
            "--label is for folders and tables",
        ),
        ({"speaker": "(s)"}, "--speaker is for corpora that name no speakers; all of these do"),
    ],
    ids=["map", "label", "speaker"],
)
def test_an_option_that_no_corpus_takes_is_an_error(
    kit: Path, others: Path, changes: dict[str, str], told: str
) -> None:
    with pytest.raises(BenchError, match=told):
        planned(kit, "tones", others, **changes)


def test_an_expression_names_speakers_only_where_a_corpus_names_none(kit: Path, others: Path) -> None:
    lines = [line.rpartition(",")[0] for line in others.read_text().splitlines()]
    others.write_text("\n".join(lines))
    made = planned(kit, "tones", others, speaker=r"-(\d)-")
    assert {clip.speaker for clip in made.clips} == {
        *(f"others/{number}" for number in range(4)), *(f"tones/speaker {number}" for number in range(5)),
    }  # fmt: skip
