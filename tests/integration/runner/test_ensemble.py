"""Ensembles of fakes, from finished runs to a run beside them."""

import hashlib
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.results import rewrite
from marsbench.config import Experiment, Fusion
from marsbench.data.audio import decode, read_bytes, resample
from marsbench.errors import ResultsError
from marsbench.evaluation.ensembling import fit_weights, pool
from marsbench.evaluation.fit import Unit, fit_and_predict
from marsbench.planning.plans import Plan, make_plans
from marsbench.plugin.registry import discover
from marsbench.progress import Lines, Silent
from marsbench.results.leaderboard import leaderboards
from marsbench.results.predictions import read_predictions
from marsbench.results.row import Row
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner.ensemble_job import fuse_runs
from marsbench.runner.runner import retried, run
from marsbench.runner.status import states

Make = Callable[..., str]
Fuse = Callable[..., tuple[RunFolder, Run]]
Spied = list[Unit]
RESULTS = Path("results")


@pytest.fixture
def make(kit: Path) -> Make:
    """Make a run of fakes and give its id: the last one's, so the tuned one's where there is one."""

    def call(features: str, model: str = "nearest_mean", **changes: Any) -> str:
        values = {"features": features, "model": model, "data": "tones", "plugins": [kit], "trials": 0}
        return run(Experiment.model_validate(values | changes))[-1][1].run_id

    return call


@pytest.fixture
def ensemble(kit: Path) -> Fuse:
    """Fuse runs."""

    def call(*runs: str, retry_failed: bool = False, **options: Any) -> tuple[RunFolder, Run]:
        values = {"runs": list(runs), "plugins": [kit]} | options
        return fuse_runs(Fusion.model_validate(values), retry_failed=retry_failed)

    return call


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Spied:
    """Every inner fit from now on."""
    seen: Spied = []

    def spy(unit: Unit, on_epoch: Any) -> Any:
        seen.append(unit)
        return fit_and_predict(unit, on_epoch)

    monkeypatch.setattr("marsbench.tuning.cached_fits.fit_and_predict", spy)
    return seen


def weights_of(done: tuple[RunFolder, Run]) -> list[list[float]]:
    assert done[1].ensemble is not None
    return done[1].ensemble.weights


def plan_of(kit: Path, **changes: Any) -> Plan:
    values = {"features": "crossings", "model": "knobs", "data": "tones", "plugins": [kit]}
    return make_plans(Experiment.model_validate(values | changes), Silent())[0]


def folder_of(run_id: str) -> RunFolder:
    return RunFolder(RESULTS / "tones" / "stratified5" / run_id)


def rows() -> list[Row]:
    return [row for board in leaderboards(RESULTS)[0] for row in board.rows]


def test_an_ensemble_is_a_run_beside_its_members(make: Make, ensemble: Fuse) -> None:
    members = sorted([make("crossings"), make("blocks")])
    folder, done = ensemble(*members)
    assert folder.path == RESULTS / "tones" / "stratified5" / done.run_id
    assert done.status == "complete"
    assert done.verdict is not None
    assert folder.read_run() == done
    (row,) = [row for row in rows() if row.run_id == done.run_id]
    assert list(row.members or {}) == members
    assert sum((row.members or {}).values()) == pytest.approx(1)


def test_its_probabilities_are_its_members_pooled_by_fold(make: Make, ensemble: Fuse) -> None:
    members = sorted([make("crossings"), make("blocks", "knobs")])
    done = folder, run = ensemble(*members)
    of_members = [read_predictions(one, one.read_run()) for one in map(folder_of, members)]
    fused = read_predictions(folder, run)
    assert fused.tested == of_members[0].tested
    assert fused.speakers == of_members[0].speakers
    for fold, weights in enumerate(weights_of(done)):
        parts = np.stack([one.of_fold(fold).probabilities for one in of_members])
        assert fused.of_fold(fold).probabilities == pytest.approx(pool(parts, np.array(weights)))


def test_the_weights_are_those_of_the_least_log_loss_inside_the_training_part(
    make: Make, ensemble: Fuse, fits: Spied, kit: Path
) -> None:
    members = sorted([make("crossings"), make("blocks", "knobs")])
    targets = plan_of(kit).corpus.targets
    for fold, weights in enumerate(weights_of(ensemble(*members))):
        inner = {unit.model.name: unit for unit in fits if unit.fold == fold}
        in_order = inner["knobs"], inner["nearest_mean"]
        said = np.stack([fit_and_predict(unit)[0].probabilities for unit in in_order])
        assert fit_weights(said, targets[list(in_order[0].test)]) == pytest.approx(weights)


def test_inner_fits_are_whole_on_one_split_for_all_and_see_no_test_clip(
    make: Make, ensemble: Fuse, fits: Spied, kit: Path
) -> None:
    members = make("crossings"), make("blocks", seed=3), make("crossings", "knobs", trials=2)
    fits.clear()
    ensemble(*members)
    assert len(fits) == 3 * 5
    for number, fold in enumerate(plan_of(kit).protocol.folds):
        units = [unit for unit in fits if unit.fold == number]
        assert len({(unit.train.tobytes(), unit.test.tobytes()) for unit in units}) == 1
        assert {*units[0].train, *units[0].test} == set(fold.train.tolist())
        assert not {*units[0].train} & {*units[0].test}
        assert not any(unit.is_draft for unit in units)


def test_members_of_several_seeds_are_fitted_with_their_own(make: Make, ensemble: Fuse, fits: Spied) -> None:
    ensemble(make("crossings"), make("crossings", seed=1))
    assert len({unit.seed for unit in fits if unit.fold == 0}) == 2


def test_a_tuned_member_is_fitted_as_its_study_chose_in_each_fold(
    make: Make, ensemble: Fuse, fits: Spied
) -> None:
    members = make("planted", "knobs", trials=6), make("crossings")
    tuned = folder_of(members[0]).read_run().tuning
    assert tuned is not None
    fits.clear()
    ensemble(*members)
    for fold in tuned.folds:
        (unit,) = [unit for unit in fits if unit.fold == fold.fold and unit.model.name == "knobs"]
        chosen = {f"knobs.{name}": value for name, value in unit.proposed.items()}
        highest = (
            unit.features.read(range(30)).values[:, 0].max()
        )  # crossings of 800 Hz, in thousands, scaled
        assert fold.configuration == chosen | {"planted.scale": round(highest / 1.6)}


def test_speakers_stay_apart_inside_where_the_protocol_keeps_them_apart(
    make: Make, ensemble: Fuse, fits: Spied, kit: Path
) -> None:
    ensemble(*(make(features, protocol="speaker5") for features in ("crossings", "blocks")), inner_folds=2)
    clips = plan_of(kit).corpus.clips
    assert len(fits) == 2 * 2 * 5
    for unit in fits:
        speakers = [{clips[row].speaker for row in part} for part in (unit.train, unit.test)]
        assert not speakers[0] & speakers[1]


def planted(kit: Path, part: str) -> dict[str, int]:
    """What the features `planted` need to tell the class of the clips of one part of a single split."""
    plan = plan_of(kit, protocol="holdout80")
    answers = {}
    for row in getattr(plan.protocol.folds[0], part).tolist():
        waveform = resample(decode(read_bytes(plan.corpus.clips[row].path)), 22_050).samples
        answers[hashlib.sha256(waveform.tobytes()).hexdigest()[:16]] = int(plan.corpus.targets[row])
    return answers


@pytest.mark.parametrize("part", ["test", "train"])
def test_an_answer_that_is_planted_in_the_test_part_cannot_change_the_weights(
    make: Make, ensemble: Fuse, kit: Path, part: str
) -> None:
    def weights(answers: dict[str, int]) -> list[list[float]]:
        told = make("planted", protocol="holdout80", set={"planted.answers": answers})
        return weights_of(ensemble(told, make("crossings", "knobs", protocol="holdout80")))

    # In the training part they are found: so they would be found in the test part, if that were seen.
    assert (weights(planted(kit, part)) == weights({})) == (part == "test")


def test_other_labels_of_the_test_clips_leave_the_weights_as_they_are(
    make: Make, ensemble: Fuse, kit: Path, tmp_path: Path
) -> None:
    clips = plan_of(kit).corpus.clips
    tested = [position for position, clip in enumerate(clips) if clip.attributes["take"] == "0"]
    protocol = tmp_path / "takes.toml"
    protocol.write_text('name = "takes"\nby = "take"\nfolds = [["0"], ["1"]]\n')

    def weights(labels: list[str]) -> tuple[list[float], Run]:
        lines = [
            f"{clip.path},{label},{clip.attributes['take']}"
            for clip, label in zip(clips, labels, strict=True)
        ]
        (tmp_path / "clips.csv").write_text("path,label,take\n" + "\n".join(lines) + "\n")
        asked = {"data": str(tmp_path / "clips.csv"), "protocol": str(protocol)}
        members = make("crossings", "knobs", **asked), make("blocks", **asked)
        done = ensemble(*members)
        return weights_of(done)[0], done[1]

    labels = [clip.label for clip in clips]
    permuted = list(labels)
    for position, other in zip(tested, np.roll(tested, 3), strict=True):
        permuted[position] = labels[other]
    (before, told), (after, permuted_told) = weights(labels), weights(permuted)
    assert before == after
    assert told.metrics is not None
    assert permuted_told.metrics is not None
    assert told.metrics.folds[0].scores["accuracy"] > permuted_told.metrics.folds[0].scores["accuracy"]


def test_equal_weights_take_no_fit_no_plugin_and_no_audio(
    make: Make, ensemble: Fuse, fits: Spied, home: Path
) -> None:
    members = make("crossings"), make("blocks")
    shutil.rmtree(home)
    discover.cache_clear()
    done = ensemble(*members, equal=True, plugins=[])
    assert weights_of(done) == [[0.5, 0.5]] * 5
    assert done[1].ensemble is not None
    assert done[1].ensemble.inner_folds == 0
    assert fits == []


def test_the_same_members_in_any_order_are_the_same_run_and_others_another(
    make: Make, ensemble: Fuse
) -> None:
    members = make("crossings"), make("blocks"), make("blocks", "knobs")
    ids = [
        ensemble(*named, equal=True)[1].run_id for named in (members, members[::-1], members[:2], members[1:])
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_fitted_and_equal_weights_and_other_inner_folds_are_other_runs(make: Make, ensemble: Fuse) -> None:
    members = make("crossings"), make("blocks")
    options: list[dict[str, Any]] = [{}, {"equal": True}, {"inner_folds": 2}]
    assert len({ensemble(*members, **each)[1].run_id for each in options}) == 3


def test_made_again_it_is_the_same_without_a_fit(make: Make, ensemble: Fuse, fits: Spied) -> None:
    members = make("crossings"), make("blocks", "knobs")
    first = weights_of(ensemble(*members))
    n_fits = len(fits)
    assert weights_of(ensemble(*members)) == first
    assert len(fits) == n_fits
    shutil.rmtree(next(RESULTS.glob("*/*/ensemble-*")))
    assert weights_of(ensemble(*members)) == first


def test_after_an_interruption_only_what_is_missing_is_fitted(
    make: Make, ensemble: Fuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = make("crossings"), make("blocks")
    fitted: list[tuple[int, Path]] = []
    interruptions = [KeyboardInterrupt()]

    def fit(unit: Unit, on_epoch: Any) -> Any:
        if len(fitted) == 4 and interruptions:
            raise interruptions.pop()
        fitted.append((unit.fold, unit.features.path))
        return fit_and_predict(unit, on_epoch)

    monkeypatch.setattr("marsbench.tuning.cached_fits.fit_and_predict", fit)
    with pytest.raises(KeyboardInterrupt):
        ensemble(*members)
    (state,) = [state for state in states(RESULTS)[0] if state.plan.fusion]
    assert not state.folder.is_finished
    assert not state.is_live
    assert ensemble(*members)[1].status == "complete"
    assert len(fitted) == len(set(fitted)) == 10


def test_what_another_ensemble_has_fitted_is_not_fitted_again(
    make: Make, ensemble: Fuse, fits: Spied
) -> None:
    members = make("crossings"), make("blocks"), make("blocks", "knobs")
    ensemble(*members[:2])
    fits.clear()
    ensemble(*members)
    assert {unit.model.name for unit in fits} == {"knobs"}


def test_an_inner_fit_that_fails_is_a_failed_row_with_its_reason_until_it_is_tried_again(
    make: Make, ensemble: Fuse, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    marker.touch()
    troubled = make("crossings", "unruly", set={"unruly.how": "raises", "unruly.marker": str(marker)})
    marker.unlink()
    members = make("crossings"), troubled
    _, failed = ensemble(*members)
    assert failed.status == "failed"
    assert [failure.message for failure in failed.failures] == [f"{troubled}: RuntimeError: no luck today"]
    assert ensemble(*members)[1].status == "failed"
    ((_, again),) = retried(RESULTS, None, {}, Silent())
    assert again.run_id == failed.run_id
    assert again.status == "complete"


def test_what_failed_in_another_ensemble_is_tried_again(make: Make, ensemble: Fuse, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    marker.touch()
    troubled = make("crossings", "unruly", set={"unruly.how": "raises", "unruly.marker": str(marker)})
    marker.unlink()
    members = make("crossings"), troubled
    assert ensemble(*members)[1].status == "failed"
    assert ensemble(*members, make("blocks"))[1].status == "complete"


def test_sizes_and_times_are_the_sums_of_the_members(make: Make, ensemble: Fuse) -> None:
    members = make("crossings"), make("blocks")
    runs = [folder_of(member).read_run() for member in members]
    _, done = ensemble(*members)
    assert done.n_parameters == 3 + 6
    assert done.model_bytes == sum(one.model_bytes or 0 for one in runs)
    assert done.fit_seconds == pytest.approx(sum(one.fit_seconds for one in runs))
    assert done.extraction_seconds == pytest.approx(sum(one.extraction_seconds or 0 for one in runs))


def test_ensembles_of_other_seeds_are_rows_of_their_own(make: Make, ensemble: Fuse) -> None:
    for seed in (0, 1):
        ensemble(*(make(features, seed=seed) for features in ("crossings", "blocks")), equal=True)
    fused, alone = ([row for row in rows() if bool(row.members) == wanted] for wanted in (True, False))
    assert len(fused) == 2
    assert [row.seeds for row in alone] == [(0, 1), (0, 1)]


def test_an_ensemble_of_the_same_members_shows_what_speakers_apart_cost(make: Make, ensemble: Fuse) -> None:
    for protocol in ("stratified5", "speaker5"):
        ensemble(*(make(features, protocol=protocol) for features in ("crossings", "blocks")), equal=True)
    others = [row.other for row in rows() if row.members]
    assert [other.board.protocol for other in others if other] == ["stratified5", "speaker5"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["first"], "an ensemble needs two runs or more; only crossings-nearest_mean-"),
        (["first", "second", "first"], "was named twice; name each run of an ensemble once"),
        (["first", "apart"], "were not tested alike; name runs of one leaderboard"),
        (["first", "failed"], "is not complete, a fold failed; bench retry crossings-troubled-"),
        (["first", "fused"], "is an ensemble itself; name its members instead: blocks-nearest_mean-"),
        (["first", "nothing"], "Unknown run 'nothing'"),
    ],
)
def test_what_cannot_be_fused_is_refused(make: Make, ensemble: Fuse, named: list[str], message: str) -> None:
    ids = {"first": make("crossings"), "second": make("blocks")}
    if "apart" in named:
        ids["apart"] = make("blocks", protocol="speaker5")
    if "failed" in named:
        ids["failed"] = make("crossings", "troubled")
    if "fused" in named:
        ids["fused"] = ensemble(*ids.values(), equal=True)[1].run_id
    there = set(RESULTS.glob("*/*/*"))
    with pytest.raises(ResultsError, match=re.escape(message)):
        ensemble(*(ids.get(name, name) for name in named))
    assert set(RESULTS.glob("*/*/*")) == there


def test_predictions_of_other_clips_are_refused(make: Make, ensemble: Fuse) -> None:
    members = make("crossings"), make("blocks")
    rewrite(folder_of(members[0]), lambda made: replace(made, targets=made.targets[::-1]))
    with pytest.raises(ResultsError, match="is not of the same clips as"):
        ensemble(*members, equal=True)


@pytest.mark.parametrize(
    ("change", "what"),
    [(("1000", "500"), "does not reproduce"), (("crossings = np", "crossings = 1 * np"), "reproduces")],
)
def test_a_member_whose_plugin_has_changed_is_compared_with_its_run(
    change: tuple[str, str],
    what: str,
    make: Make,
    kit: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = tmp_path / "own" / "features"
    own.mkdir(parents=True)
    source = (kit / "features" / "crossings.py").read_text()
    (own / "passings.py").write_text(source.replace("Crossings", "Passings"))
    members = make("passings", plugins=[kit, own.parent]), make("blocks")
    (own / "passings.py").write_text(source.replace("Crossings", "Passings").replace(*change))
    sys.modules.pop("passings")
    discover.cache_clear()
    asked = Fusion.model_validate({"runs": list(members), "plugins": [kit, own.parent]})
    assert fuse_runs(asked, Lines())[1].status == "complete"
    told = capsys.readouterr().err
    assert told.count(f"Warning: the code of passings has changed since {members[0]}; it is fitted") == 1
    assert told.count(f"Fold 1 of {members[0]}, fitted again, {what} the recorded predictions") == 1


def test_members_may_lie_in_another_results_folder(
    make: Make, ensemble: Fuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = make("crossings"), make("blocks", results="elsewhere")
    found = Path("elsewhere") / "tones" / "stratified5" / there
    with monkeypatch.context() as patch:
        patch.setattr("marsbench.tuning.cached_fits.fit_and_predict", fails)
        assert ensemble(here, str(found))[1].status == "failed"
    ((folder, again),) = retried(RESULTS, None, {}, Silent())
    assert again.status == "complete"
    assert folder.path.parent == folder_of(here).path.parent


def fails(_unit: Unit, _on_epoch: Any) -> Any:
    raise RuntimeError("no luck today")
