"""Several leaderboards of one protocol at once."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import f, friedmanchisquare

import marsbench
from fixtures.made_runs import CORPUS, PROTOCOL, RECIPE
from marsbench.errors import BenchError, ResultsError
from marsbench.evaluation.significance import friedman
from marsbench.report.across import notes
from marsbench.results.across import across_boards
from marsbench.results.store import RunFolder

Write = Callable[..., RunFolder]
Bench = Callable[..., Any]
RESULTS = Path("results")
CORPORA = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
USUAL = {
    "alpha": {"svm": 0.9, "forest": 0.8, "mean": 0.7},
    "beta": {"svm": 0.6, "forest": 0.7, "mean": 0.5},
}


def placed(folder: RunFolder, corpus: str, model: str, protocol: str) -> None:
    """A run moved to another corpus and protocol, of another model."""
    run = folder.read_run()
    target = RunFolder(RESULTS / corpus / protocol / f"{corpus}-{model}")
    target.path.parent.mkdir(parents=True, exist_ok=True)
    folder.path.rename(target.path)
    changes = {
        "run_id": target.path.name,
        "corpus": CORPUS.model_copy(update={"name": corpus}),
        "protocol": PROTOCOL.model_copy(update={"name": protocol, "hash": f"{corpus}{protocol}" * 4}),
        "model": replace(RECIPE, name=model),
        "settings": {},
    }
    target.write_run(run.model_copy(update=changes))


@pytest.fixture
def write(finished_run: Write) -> Callable[..., None]:
    """Write runs of corpora and models with their scores."""

    def made(scores: Mapping[str, Mapping[str, float | None]], protocol: str = "speaker5") -> None:
        for corpus, of_models in scores.items():
            for model, score in of_models.items():
                placed(finished_run("moved", score), corpus, model, protocol)

    return made


def ranks() -> dict[str, tuple[float, ...]]:
    return {one.row.model: one.ranks for one in across_boards(RESULTS)[0].contenders}


def test_pipelines_are_ranked_on_each_corpus_and_ordered_by_their_mean_rank(write: Any) -> None:
    write(USUAL)
    assert ranks() == {"forest": (2, 1), "svm": (1, 2), "mean": (3, 3)}


def test_equal_scores_share_the_mean_of_their_ranks(write: Any) -> None:
    write({"alpha": {"a": 0.5, "b": 0.5, "c": 0.4}, "beta": {"a": 0.5, "b": 0.6, "c": 0.4}})
    assert ranks() == {"b": (1.5, 1), "a": (1.5, 2), "c": (3, 3)}


@pytest.mark.parametrize("score", [None, "absent"])
def test_a_pipeline_without_a_complete_run_on_a_corpus_has_no_rank_and_moves_no_other(
    write: Any, score: Any
) -> None:
    write(USUAL)
    write({"alpha": {"new": 0.99}})
    if score is None:
        write({"beta": {"new": None}})
    assert ranks() == {"forest": (2, 1), "svm": (1, 2), "mean": (3, 3), "new": ()}
    shown, _ = across_boards(RESULTS)
    assert [row is None for row in shown.contenders[-1].rows] == [False, True]
    assert "1 pipeline(s) without a complete run on each corpus have no rank." in list(notes(shown))


def test_wins_are_the_significant_differences_of_each_board(predicted_run: Write) -> None:
    wrong = {"good": range(0, 240, 20), "alike": range(1, 240, 20), "bad": range(0, 240, 2)}
    for corpus in ("alpha", "beta"):
        for model, rows in wrong.items():
            placed(predicted_run("moved", list(rows)), corpus, model, "speaker5")
    shown, _ = across_boards(RESULTS)
    counts = {one.row.model: (one.wins, one.ties, one.losses) for one in shown.contenders}
    assert counts == {"good": (2, 2, 0), "alike": (2, 2, 0), "bad": (0, 0, 4)}
    assert {row.model for row in shown.best_on(0)} == {"good", "alike"}


def test_few_corpora_have_a_range_of_ranks_and_no_test(write: Any) -> None:
    write(USUAL)
    shown, _ = across_boards(RESULTS)
    assert shown.p_equal is shown.critical_difference is None
    assert any("2 corpora are too few" in note for note in notes(shown))


def test_enough_corpora_have_a_test_and_a_critical_difference(write: Any) -> None:
    write({corpus: {"svm": 0.9, "forest": 0.8, "mean": 0.7} for corpus in CORPORA})
    shown, _ = across_boards(RESULTS)
    assert shown.p_equal is not None
    assert shown.p_equal < 0.05
    assert any("differ by more than 1.35 differ significantly" in note for note in notes(shown))


def test_the_test_is_that_of_iman_and_davenport_and_the_critical_difference_that_of_demsar() -> None:
    scores = np.random.default_rng(0).random((14, 4))
    drawn = (scores.argsort(axis=1).argsort(axis=1) + 1).astype(np.float64)
    chi2 = friedmanchisquare(*drawn.T).statistic
    p, difference = friedman(drawn)
    assert p == pytest.approx(f.sf(13 * chi2 / (14 * 3 - chi2), 3, 39))
    # Table 5 of Demsar (2006): q = 2.569 for four classifiers.
    assert difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=1e-3)


@pytest.mark.parametrize(
    ("scores", "words", "said"),
    [
        (
            {"alpha": {"svm": 0.9}},
            (),
            "on two corpora or more, under one protocol; there are speaker5",
        ),
        (USUAL, ("--protocol", "loso"), "Unknown protocol 'loso'"),
    ],
)
def test_fewer_than_two_boards_are_refused(
    write: Any, bench: Bench, scores: Any, words: tuple[str, ...], said: str
) -> None:
    write(scores)
    result = bench("leaderboard", "--across", *words)
    assert result.exit_code == 1
    assert said in result.stderr


def test_of_several_protocols_one_has_to_be_named(write: Any) -> None:
    write(USUAL)
    write(USUAL, "loso")
    with pytest.raises(ResultsError, match=r"2 have boards of several corpora \(loso, speaker5\)"):
        across_boards(RESULTS)
    assert across_boards(RESULTS, "loso")[0].protocol == "loso"


def test_every_output_has_every_pipeline_and_corpus(write: Any, bench: Bench) -> None:
    write(USUAL | {"gamma": {"svm": 0.9}})
    answer = json.loads(bench("leaderboard", "--across", "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(bench("leaderboard", "--across", "--csv").stdout)))
    frame = marsbench.leaderboard(across=True)
    names = [one["pipeline"] for one in answer["pipelines"]]
    assert names == [row["pipeline"] for row in rows] == frame["pipeline"].tolist()
    assert [one["corpus"] for one in answer["corpora"]] == ["alpha", "beta", "gamma"]
    assert answer["pipelines"][0]["scores"]["beta"]["macro_f1"] == pytest.approx(0.6)
    assert answer["pipelines"][1]["scores"]["gamma"] is None
    for words in ((), ("--markdown",)):
        table = bench("leaderboard", "--across", *words).stdout
        assert all(part in table for part in ("tiny + forest", "alpha", "beta", "missing", "Best on alpha"))


@pytest.mark.parametrize("words", [("--data", "alpha"), ("--all",)])
def test_what_shows_one_corpus_or_several_rows_a_pipeline_does_not_go_with_it(
    bench: Bench, words: tuple[str, ...]
) -> None:
    assert bench("leaderboard", "--across", *words).exit_code == 2
    with pytest.raises(BenchError, match="leave data and older out"):
        marsbench.leaderboard(across=True, older=True)
