"""`bench show RUN --by ATTRIBUTE`: scores by the values of an attribute of the corpus."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.results import made
from marsbench.evaluation.by_group import by_value
from marsbench.results.store import RunFolder, find_runs

Bench = Callable[..., Any]
PREDICTIONS = made(
    targets=[0, 1, 1, 0, 1],
    probabilities=np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55], [0.2, 0.8]]),
    speakers=["x", "x", "y", "y", "z"],
)


@pytest.fixture
def folder(ran: Any) -> RunFolder:  # noqa: ARG001 - makes the runs
    return next(iter(find_runs(Path("results"))))


def test_scores_are_those_of_the_clips_of_each_value_those_without_one_last() -> None:
    found = by_value(PREDICTIONS, ["m", "f", "m", None, "f"])
    assert [(entry.value, entry.n_clips) for entry in found] == [("f", 2), ("m", 2), (None, 1)]
    assert [entry.scores["accuracy"].value for entry in found] == [0.5, 1.0, 0.0]
    assert [entry.scores["uar"].value for entry in found] == [0.5, 1.0, 0.0]
    for score in (score for entry in found for score in entry.scores.values()):
        assert score.low <= score.value <= score.high


def test_one_value_for_all_clips_has_the_scores_of_the_run(
    bench: Bench, folder: RunFolder, kit: Path
) -> None:
    rows = json.loads(bench("show", folder.path.name, "--by", "label", "--plugins", kit, "--json").stdout)
    metrics = folder.read_run().metrics
    assert metrics is not None
    assert {row["value"]: row["accuracy"]["value"] for row in rows} == pytest.approx(
        {scores.label: scores.recall.value for scores in metrics.classes}
    )


@pytest.mark.parametrize(
    ("attribute", "values"), [("take", {"0", "1"}), ("speaker", {f"speaker {n}" for n in range(5)})]
)
def test_any_attribute_gets_a_table_without_reading_audio(
    bench: Bench,
    folder: RunFolder,
    kit: Path,
    monkeypatch: pytest.MonkeyPatch,
    attribute: str,
    values: set[str],
) -> None:
    monkeypatch.setattr("marsbench.data.audio.read_bytes", None)
    words = ("show", folder.path.name, "--by", attribute, "--plugins", kit)
    rows = json.loads(bench(*words, "--json").stdout)
    assert {row["value"] for row in rows} == values
    assert sum(row["n_clips"] for row in rows) == 30
    table = bench(*words).stdout
    assert f"by {attribute}, %" in table
    assert all(value in table for value in values)


def test_an_attribute_that_the_corpus_does_not_have_is_one_line(
    bench: Bench, folder: RunFolder, kit: Path
) -> None:
    result = bench("show", folder.path.name, "--by", "colour", "--plugins", kit)
    assert result.exit_code == 1
    assert result.stderr == "bench: Unknown attribute 'colour'. Available: label, speaker, take.\n"


def test_a_corpus_that_is_not_there_is_one_line_that_says_what_to_do(bench: Bench, folder: RunFolder) -> None:
    result = bench("show", folder.path.name, "--by", "take")
    assert result.exit_code == 1
    assert "attributes are read from the corpus: Unknown dataset 'tones'" in result.stderr
    assert "(--data names it)" in result.stderr


def test_another_corpus_is_refused(bench: Bench, folder: RunFolder, kit: Path) -> None:
    run = folder.read_run()
    recipe = replace(run.corpus.dataset, parameters={"n_speakers": 4, "n_takes": 2})
    corpus = run.corpus.model_copy(update={"dataset": recipe})
    folder.write_run(run.model_copy(update={"corpus": corpus}))
    result = bench("show", folder.path.name, "--by", "take", "--plugins", kit)
    assert result.exit_code == 1
    assert "is not the one that" in result.stderr
    assert "name that one with --data" in result.stderr
