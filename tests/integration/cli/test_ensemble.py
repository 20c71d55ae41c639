"""`bench ensemble`, and what the other commands make of an ensemble."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.results import rewrite
from marsbench.evaluation.ensembling import pool
from marsbench.results.predictions import read_predictions
from marsbench.results.store import RunFolder

Bench = Callable[..., Any]
MEMBERS = ("crossings-nearest_mean", "blocks-nearest_mean")


@pytest.fixture
def fused(bench: Bench, kit: Path, ran: Any, made_once: Callable[..., Any]) -> str:  # noqa: ARG001 - its runs are the members
    """Id of an ensemble of two finished runs with fitted weights."""
    result = made_once("fused", lambda: bench("ensemble", *MEMBERS, "--plugins", kit))
    assert result.exit_code == 0
    (path,) = Path("results").glob("*/*/ensemble-*")
    return path.name


@pytest.mark.usefixtures("ran")
def test_an_ensemble_ends_with_its_weights_and_the_leaderboard(bench: Bench) -> None:
    result = bench("ensemble", *MEMBERS, "--equal")
    assert result.exit_code == 0
    assert "ensemble + mean, stratified5, seed 0" in result.stdout
    assert re.search(r"50\.0 +50 to 50 +blocks-nearest_mean-s0-", result.stdout)
    assert "Verdict: UNDECIDED" in result.stdout
    board = result.stdout.split("Leaderboard")[1]
    assert "ensemble of 2, chosen by hand" in board


@pytest.mark.usefixtures("ran")
def test_equal_weights_have_no_inner_folds(bench: Bench) -> None:
    result = bench("ensemble", *MEMBERS, "--equal", "--inner-folds", "3")
    assert result.exit_code == 2
    assert "--inner-folds is for fitted weights" in result.stderr


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["crossings"], "an ensemble needs two runs or more; only crossings-nearest_mean-s0-"),
        ([*MEMBERS, "--inner-folds", "0"], "--inner-folds 0: should be greater than"),
        ([*MEMBERS], "Unknown dataset 'tones'"),
    ],
)
def test_what_cannot_be_fused_is_one_line(bench: Bench, words: list[str], message: str) -> None:
    result = bench("ensemble", *words)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"bench: {message}")


@pytest.mark.usefixtures("ran")
def test_another_corpus_is_refused(bench: Bench, kit: Path, home: Path) -> None:
    for label in ("low", "high"):
        clips = sorted((home / "tones").glob(f"{label}-*"))
        Path("other", label).mkdir(parents=True)
        for clip in clips:
            shutil.copy(clip, Path("other", label))
    result = bench("ensemble", *MEMBERS, "--plugins", kit, "--data", "other")
    assert result.exit_code == 1
    assert "the corpus 'other' is not the one that blocks-nearest_mean-s0-" in result.stderr


def test_an_ensemble_is_shown_with_the_weights_of_its_members(bench: Bench, fused: str) -> None:
    shown = bench("show", fused).stdout
    assert "over folds" in shown
    assert all(name in shown for name in MEMBERS)
    assert json.loads(bench("show", fused, "--json").stdout)["ensemble"]["inner_folds"] == 1


def test_an_ensemble_is_compared_with_its_members(bench: Bench, fused: str) -> None:
    result = bench("compare", fused, MEMBERS[0])
    assert result.exit_code == 0
    assert "ensemble + log_pool, seed 0" in result.stdout


def answers(bench: Bench, kit: Path, bundle: Path, files: Sequence[Path]) -> np.ndarray:
    """The probabilities that a bundle prints, (n_files, n_classes)."""
    found = json.loads(bench("predict", bundle, *files, "--json", "--plugins", kit).stdout)
    return np.array([list(row["probabilities"].values()) for row in found])


def test_an_exported_ensemble_predicts_the_pool_of_its_members(
    bench: Bench, fused: str, kit: Path, home: Path
) -> None:
    files = sorted(home.rglob("*.wav"))
    said = []
    for name in sorted(MEMBERS):
        assert bench("export", name, "--plugins", kit, "-o", name).exit_code == 0
        said.append(answers(bench, kit, Path(name), files))
    result = bench("export", fused, "--plugins", kit)
    assert result.exit_code == 0, result.stderr
    assert "Member 1 of 2, blocks-nearest_mean-s0-" in result.stderr
    assert "Member 2 of 2, crossings-nearest_mean-s0-" in result.stderr
    assert result.stdout.startswith("log_pool of ")
    assert "Trained on all 30 clips of tones" in result.stdout
    assert f"Scores of {fused} under stratified5: accuracy 100.0 %" in result.stdout
    assert "Verified on 3 golden clips: probabilities as of the model in memory, to 1e-05." in result.stdout
    (run,) = Path("results").glob("*/*/ensemble-*")
    ensemble = RunFolder(run).read_run().ensemble
    assert ensemble is not None
    wanted = pool(np.stack(said), np.mean(ensemble.weights, axis=0))
    assert np.allclose(answers(bench, kit, Path("bundle"), files), wanted, atol=1e-12)


@pytest.mark.usefixtures("fused")
def test_the_best_may_be_an_ensemble(bench: Bench, kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marsbench.results.best.best_run", lambda *_: fused_folder())
    assert "log_pool of" in bench("export", "--best", "--plugins", kit).stdout


def fused_folder() -> RunFolder:
    (path,) = Path("results").glob("*/*/ensemble-*")
    return RunFolder(path)


def test_a_fold_of_an_ensemble_answers_its_test_clips_as_it_did(
    bench: Bench, fused: str, kit: Path, home: Path
) -> None:
    result = bench("export", fused, "--fold", "2", "--plugins", kit)
    assert result.exit_code == 0, result.stderr
    assert "that fold 2 trains on" in result.stdout
    assert "fitted again" not in result.stderr
    tested = read_predictions(fused_folder(), fused_folder().read_run()).of_fold(1)
    files = [next(home.rglob(f"*{Path(clip).name}*")) for clip in tested.clips]
    assert np.allclose(answers(bench, kit, Path("bundle"), files), tested.probabilities, atol=1e-6)


def test_a_fold_of_an_ensemble_that_answers_otherwise_is_told(bench: Bench, fused: str, kit: Path) -> None:
    rewrite(fused_folder(), lambda made: made.with_probabilities(made.probabilities[:, ::-1]))
    result = bench("export", fused, "--fold", "1", "--plugins", kit)
    assert result.exit_code == 0
    assert result.stderr.count("fitted again, does not reproduce the recorded predictions") == 1


def test_a_fold_that_an_ensemble_does_not_have_is_one_line(bench: Bench, fused: str, kit: Path) -> None:
    result = bench("export", fused, "--fold", "6", "--plugins", kit)
    assert f"{fused} has folds 1 to 5; there is no fold 6" in result.stderr


def test_a_published_ensemble_is_exported_without_its_plan(bench: Bench, fused: str, kit: Path) -> None:
    (fused_folder().path / "plan.json").unlink()
    result = bench("export", fused, "--plugins", kit)
    assert result.exit_code == 0, result.stderr


def test_members_of_another_results_folder_are_found(bench: Bench, kit: Path, ran: Any) -> None:
    assert ran.exit_code == 0
    Path("results").rename("elsewhere")
    members = [next(Path("elsewhere").glob(f"*/*/{name}-*")) for name in MEMBERS]
    assert bench("ensemble", *members, "--equal").exit_code == 0
    result = bench("export", fused_folder().path, "--plugins", kit)
    assert result.exit_code == 0, result.stderr
    assert "mean of blocks + nearest_mean (0.50), crossings + nearest_mean (0.50)" in result.stdout


def test_a_member_that_is_gone_is_one_line(bench: Bench, fused: str, kit: Path) -> None:
    (member,) = Path("results").glob("*/*/blocks-*")
    shutil.rmtree(member)
    result = bench("export", fused, "--plugins", kit)
    assert result.exit_code == 1
    assert f"a member of {fused} is not there any more: Unknown run '{member.name}'" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--format", "keras"),
            "member 1 of the ensemble, blocks + nearest_mean: Model 'nearest_mean' cannot be exported",
        ),
        (
            ("--format", "onnx", "--end-to-end"),
            "an ensemble of 2 pipelines cannot be one file; leave --end-to",
        ),
    ],
)
def test_what_an_ensemble_cannot_be_written_as_is_one_line(
    bench: Bench, fused: str, kit: Path, words: tuple[str, ...], message: str
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    assert bench("export", fused, "--plugins", kit).exit_code == 0
    for source in (fused, "bundle"):
        result = bench("export", source, *words, "--plugins", kit, "-o", "other")
        assert result.exit_code == 1
        assert f"bench: {message}" in result.stderr
        assert not Path("other").exists()


def test_a_member_is_exported_alone_and_has_no_clips_to_be_checked_by(
    bench: Bench, fused: str, kit: Path
) -> None:
    assert bench("export", fused, "--plugins", kit).exit_code == 0
    result = bench("export", "bundle/members/1", "--plugins", kit, "-o", "alone")
    assert result.stdout.startswith("crossings + nearest_mean\n")
    assert "Not verified: it has no golden clips." in result.stdout


def test_an_ensemble_is_written_with_a_file_of_each_model(bench: Bench, kit: Path, home: Path) -> None:
    pytest.importorskip("skl2onnx", reason="the extra 'export' is not installed")
    pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    grid = ("--features", "crossings,blocks", "--model", "logistic_regression", "--data", "tones")
    assert bench("run", *grid, "--trials", "0", "--plugins", kit).exit_code == 0
    assert bench("ensemble", "crossings", "blocks", "--equal").exit_code == 0
    assert bench("export", fused_folder().path, "--plugins", kit).exit_code == 0
    result = bench("export", "bundle", "--format", "onnx", "--plugins", kit, "-o", "other")
    assert result.exit_code == 0, result.stderr
    assert len(list(Path("other").glob("members/*/emotion_logistic_regression.onnx"))) == 2
    files = sorted(home.rglob("*.wav"))[::6]
    first, second = (answers(bench, kit, Path(name), files) for name in ("bundle", "other"))
    assert np.allclose(first, second, atol=1e-5)
    result = bench("export", "other", "--plugins", kit, "-o", "third")
    assert "in other is in the format 'onnx'" in result.stderr


@pytest.mark.usefixtures("fused")
def test_a_finished_ensemble_stands_in_no_way_of_status_and_retry(bench: Bench) -> None:
    assert "3 run(s) finished, 0 not." in bench("status").stdout
    assert "no failed runs" in bench("retry", "--failed").stderr


def test_a_report_shows_an_ensemble_with_its_members_by_fold(bench: Bench, fused: str, kit: Path) -> None:
    assert bench("report", fused, "--plugins", kit).exit_code == 0
    page = Path("report.html").read_text("utf-8")
    assert "Members of the ensemble" in page
    assert "An ensemble is not trained in epochs" in page
    assert page.count("fold 5</th>") == 1
