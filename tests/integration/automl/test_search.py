"""Searches through fakes, from pairs to a winner."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from marsbench.atomic_files import read_record
from marsbench.automl.found import Found
from marsbench.automl.selection import Candidate, ScreeningResult, SearchRecord
from marsbench.config import Experiment
from marsbench.errors import BenchError
from marsbench.evaluation.fit import Unit, fit_and_predict
from marsbench.planning.pipelines import share_encoder, usable
from marsbench.planning.plans import Plan, make_plans
from marsbench.progress import Silent
from marsbench.results.leaderboard import leaderboards
from marsbench.results.row import Row
from marsbench.results.store import RunFolder
from marsbench.runner.runner import run
from marsbench.tuning.tuned_or_untuned import Gain

Find = Callable[..., Found]
Spied = list[Unit]
RESULTS = Path("results")


def plan_of(kit: Path, **changes: Any) -> Plan:
    values = {"features": "crossings", "model": "knobs", "data": "tones", "plugins": [kit]}
    return make_plans(Experiment.model_validate(values | changes), Silent())[0]


def rows() -> list[Row]:
    return [row for board in leaderboards(RESULTS)[0] for row in board.rows]


def reasons(record: SearchRecord) -> dict[str, str]:
    return {one.name: one.reason for one in record.looked or ()}


TUNED = {"model": "knobs", "set": {"knobs.widest": 0.5}, "time_budget": 14}
"""Two seconds of it are left for trials."""


def test_the_winner_is_a_finished_run_on_the_leaderboard(find: Find) -> None:
    found = find()
    folder, winner = found.winner
    assert winner.metrics is not None
    assert folder.read_run() == winner
    assert {run.run_id for _, run in found.runs} == {row.run_id for row in rows()}
    assert winner.run_id in {run.run_id for _, run in found.runs}


def test_the_winner_has_the_best_score_inside_the_training_parts(find: Find) -> None:
    record = find(model="nearest_mean,majority").record
    assert record.winner is not None
    assert record.held_out is not None
    assert record.winner.score >= max(one.score for one in record.held_out)


def test_those_with_the_best_hold_outs_become_runs(find: Find) -> None:
    found = find(model="nearest_mean,knobs,majority")
    scores = [one.score for one in found.record.held_out or ()]
    assert scores == sorted(scores, reverse=True)
    best = [one.name for one in found.record.held_out or ()][:3]
    assert set(best) <= set(found.record.finalists or ())


def test_no_fit_before_the_runs_sees_a_test_clip_of_its_fold(find: Find, fits: Spied, kit: Path) -> None:
    find()
    folds = plan_of(kit).protocol.folds
    inner = [unit for unit in fits if set(unit.test) != set(folds[unit.fold].test.tolist())]
    assert inner
    for unit in inner:
        seen = {*unit.train, *unit.validation, *unit.test}
        assert not seen & set(folds[unit.fold].test.tolist())


def test_the_runs_of_finalists_are_those_that_bench_run_makes(find: Find, kit: Path) -> None:
    found = find()
    asked = {"features": "crossings,blocks", "model": "nearest_mean", "data": "tones", "plugins": [kit]}
    alone = run(Experiment.model_validate(asked | {"trials": 0, "results": "elsewhere"}))
    assert {one.run_id for _, one in alone} <= {one.run_id for _, one in found.runs}


def test_the_same_search_again_fits_nothing_and_finds_the_same(find: Find, fits: Spied) -> None:
    first = find(**TUNED)
    assert fits
    fits.clear()
    again = find(**TUNED)
    assert fits == []
    assert again.record == first.record
    assert again.winner[1] == first.winner[1]


@pytest.mark.parametrize("n_fits", [1, 5, 14])
def test_after_an_interruption_only_what_is_missing_is_fitted(
    find: Find, fits: Spied, monkeypatch: pytest.MonkeyPatch, n_fits: int
) -> None:
    asked = {"model": "nearest_mean,majority"}
    find(**asked, results="whole")
    whole = len(fits)
    fits.clear()

    def interrupted(unit: Unit, on_epoch: Any) -> Any:
        if len(fits) == n_fits:
            raise KeyboardInterrupt
        fits.append(unit)
        return fit_and_predict(unit, on_epoch)

    with monkeypatch.context() as patch:
        patch.setattr("marsbench.tuning.cached_fits.fit_and_predict", interrupted)
        with pytest.raises(KeyboardInterrupt):
            find(**asked)
    assert find(**asked).winner[1].metrics is not None
    assert len(fits) == whole


def test_finalists_that_can_be_tuned_get_trials_in_the_time_that_is_left(
    find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marsbench.automl.search.Screening.seconds_of_folds", lambda *_: 0.01)
    found = find(**TUNED)
    assert {name: seconds > 0 for name, seconds in found.record.trials.items()} == {
        "crossings + knobs": True,
        "blocks + knobs": True,
    }
    assert [run.tuning is not None for _, run in found.runs].count(True) == 2


@pytest.mark.parametrize(("seconds", "n_tuned"), [(2, 2), (60, 3)])
def test_a_third_finalist_gets_trials_where_there_is_time_for_many_of_each(
    find: Find, monkeypatch: pytest.MonkeyPatch, seconds: int, n_tuned: int
) -> None:
    monkeypatch.setattr("marsbench.automl.search.Screening.seconds_of_folds", lambda *_: 0.1)
    asked = TUNED | {"features": "crossings,blocks,planted", "time_budget": 12 + seconds}
    monkeypatch.setattr("marsbench.runner.tuned_job.TunedJob.fit_missing", lambda *_: None)
    assert len(find(**asked).record.trials) == n_tuned


@pytest.mark.parametrize("slow", ["crossings + knobs", "blocks + knobs"])
def test_a_finalist_with_no_time_for_trials_leaves_its_share_to_the_other(
    find: Find, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr("marsbench.runner.tuned_job.TunedJob.fit_missing", lambda *_: None)
    monkeypatch.setattr(
        "marsbench.automl.search._Search._seconds_of_trials",
        lambda _, contender, n: 1e9 if contender.name == slow else 0.1 * n,
    )
    trials = find(**TUNED | {"time_budget": 60}).record.trials
    (quick,) = trials.keys() - {slow}
    assert trials[slow] == 0
    assert trials[quick] > 40  # of the 60 s all that are left


@pytest.mark.parametrize(("gain", "is_tuned"), [(Gain(0.01, 0.02, 9), False), (Gain(0.05, 0.02, 9), True)])
def test_a_tuned_run_wins_only_if_its_hold_outs_are_better_beyond_noise(
    find: Find, monkeypatch: pytest.MonkeyPatch, gain: Gain, is_tuned: bool
) -> None:
    monkeypatch.setattr("marsbench.automl.search.gain_of", lambda *_: gain)
    assert (find(**TUNED, features="crossings").winner[1].tuning is not None) == is_tuned


def test_without_time_there_are_no_trials_but_a_winner(find: Find) -> None:
    found = find(**TUNED | {"time_budget": 10})
    assert set(found.record.trials.values()) == {0.0}
    assert found.winner[1].metrics is not None


def test_what_there_is_no_time_for_is_named_and_the_best_so_far_is_run(find: Find) -> None:
    ticks = itertools.count(step=0.5)  # at each look at the clock
    found = find(lambda: float(next(ticks)), model="nearest_mean,majority,knobs")
    late = [name for name, reason in reasons(found.record).items() if reason == "no time left for it"]
    assert late
    assert not set(late) & set(found.record.finalists or ())
    assert found.winner[1].metrics is not None


def test_a_pipeline_that_fails_is_named_with_its_reason_and_costs_itself_alone(find: Find) -> None:
    found = find(model="nearest_mean,troubled")
    assert reasons(found.record)["crossings + troubled"] == "RuntimeError: no luck today"
    assert "crossings + nearest_mean" in (found.record.finalists or ())


def test_if_nothing_can_be_fitted_one_line_says_why(find: Find) -> None:
    with pytest.raises(BenchError, match=r"^no pipeline could be fitted: RuntimeError: no luck today$"):
        find(model="troubled")


def test_models_with_epochs_compete_among_themselves_and_a_third_goes_on_from_each_rung(find: Find) -> None:
    asked = {"features": "crossings,blocks,planted", "model": "knobs,nearest_mean"}
    record = find(**asked, set={"knobs.epochs": 16}).record
    epochs = {one.name: one.epochs for one in record.looked or () if "knobs" in one.name}
    assert sorted(filter(None, epochs.values())) == [2, 2, 16]
    (last,) = [name for name, epoch in epochs.items() if epoch == 16]
    assert reasons(record)[last].startswith(
        "clearly worse than crossings + nearest_mean"
    )  # in the race after it
    assert all(one.epochs is None for one in record.looked or () if "nearest_mean" in one.name)


@pytest.mark.parametrize(
    ("rungs", "compared"), [((), ()), ((1, 3, 9), (9,)), ((10,), (10,)), ((2, 4, 12), (2, 4, 12))]
)
def test_a_short_course_is_compared_at_its_end_alone(
    rungs: tuple[int, ...], compared: tuple[int, ...]
) -> None:
    pipeline: Any = SimpleNamespace(rungs=rungs)
    looked = ScreeningResult(features="", model="")
    assert Candidate(pipeline, Any, looked).rungs == compared  # type: ignore[arg-type]  # no units are needed


def test_models_with_epochs_are_first_looked_at_on_the_features_that_told_the_others_most(
    find: Find, fits: Spied
) -> None:
    nonsense = {"planted.scale": 1e-3}  # beside which its crossings tell little
    asked = {"features": "planted,crossings", "model": "knobs,nearest_mean"}
    looked = find(**asked, set=nonsense | {"knobs.epochs": 16}).record.looked or ()
    scores = {one.features: one.score or 0.0 for one in looked if one.model == "nearest_mean"}
    assert scores["crossings"] > scores["planted"]
    first, second = [unit for unit in fits if unit.model.name == "knobs" and unit.until == 2]
    n_dims = [unit.features.input_shape[-1] for unit in (first, second)]
    assert n_dims == [1, 2]  # of crossings, of planted


def test_pipelines_are_tried_without_versions_and_with_them(find: Find, fits: Spied) -> None:
    record = find(features="crossings", versions="speed,noise").record
    names = ["crossings + nearest_mean", "crossings + nearest_mean, versions speed,noise"]
    assert sorted(one.name for one in record.looked or ()) == names
    assert sorted(one.name for one in record.held_out or ()) == names
    assert {len(unit.features.versions) for unit in fits} == {0, 3}


def test_a_single_pipeline_wins_without_an_ensemble(find: Find) -> None:
    found = find(features="crossings")
    assert [run.ensemble for _, run in found.runs] == [None]


@pytest.mark.parametrize("protocol", ["speaker5", ["speaker5"], "stratified5"], ids=str)
def test_an_ensemble_is_made_under_a_protocol_that_was_named(find: Find, protocol: Any) -> None:
    found = find(protocol=protocol)
    assert [run.ensemble is not None for _, run in found.runs] == [False, False, True]


@pytest.mark.parametrize(("gain", "wins"), [(Gain(0.04, 0.02, 9), True), (Gain(0.06, 0.02, 9), False)])
def test_an_ensemble_wins_unless_the_best_run_alone_is_clearly_better(
    find: Find, monkeypatch: pytest.MonkeyPatch, gain: Gain, wins: bool
) -> None:
    monkeypatch.setattr("marsbench.automl.search.gain_of", lambda *_: gain)
    assert (find().winner[1].ensemble is not None) == wins


def test_another_time_is_another_search(find: Find) -> None:
    assert find().path != find(time_budget=2000).path


def test_its_record_is_read_back_as_it_was(find: Find) -> None:
    found = find()
    assert read_record(found.path, SearchRecord) == found.record


def test_a_damaged_record_is_one_line(find: Find) -> None:
    path = find().path
    path.write_text(path.read_text()[:-5])
    with pytest.raises(BenchError, match="damaged"):
        find()


def test_what_cannot_be_used_here_is_left_out_with_its_reason(kit: Path) -> None:
    told: list[str] = []

    class Listening(Silent):
        def say(self, line: str) -> None:
            told.append(line)

    names = usable("features", {}, [kit], Listening())
    assert {"crossings", "functionals"} <= set(names)
    assert "speech_encoder" not in names
    (line,) = [line for line in told if line.startswith("speech_encoder is left out")]
    assert "needs an encoder" in line


def test_settings_decide_what_can_be_used(kit: Path) -> None:
    names = [usable("features", settings, [kit], Silent()) for settings in ({}, {"mfcc.n_fft": 3})]
    assert set(names[0]) - set(names[1]) == {"mfcc"}


ENCODERS = ["speech_encoder", "speech_encoder_frames", "speech_encoder_functionals"]


@pytest.mark.parametrize(
    ("given", "names", "shared"),
    [
        ({}, None, {}),
        ({"encoder": "a"}, None, {"encoder": "a"}),
        (
            {"encoder": "a", "sha256": "b", "level": False},
            None,
            {"encoder": "a", "sha256": "b", "level": False},
        ),
        ({"encoder": "a", "layers": [1]}, None, {"encoder": "a"}),
        ({"layers": [1]}, None, {}),
        ({"encoder": "a"}, ["speech_encoder", "mfcc"], {}),
    ],
)
@pytest.mark.parametrize("first", ENCODERS[:2])
def test_an_encoder_that_is_set_once_serves_every_extractor_that_takes_one(
    first: str, given: dict[str, Any], names: list[str] | None, shared: dict[str, Any]
) -> None:
    settings = {f"{first}.{word}": value for word, value in given.items()} | {"svm.C": 1}
    others = [name for name in ENCODERS if name != first]
    expected = {f"{name}.{word}": value for name in others for word, value in shared.items()}
    names = names and [first, "mfcc"]
    assert share_encoder(settings, names, [], Silent()) == settings | expected


def test_an_extractor_keeps_the_encoder_that_is_set_for_it() -> None:
    settings = {f"{name}.encoder": name for name in ENCODERS[1:]}
    shared = share_encoder(settings, None, [], Silent())
    assert shared == settings | {"speech_encoder.encoder": ENCODERS[1]}


def test_a_search_leaves_a_run_folder_that_other_commands_understand(find: Find) -> None:
    found = find()
    assert {RunFolder(path.parent).read_run().run_id for path in RESULTS.glob("*/*/*/run.json")} == {
        run.run_id for _, run in found.runs
    }


def test_the_winner_s_score_is_corrected_for_having_been_chosen(find: Find) -> None:
    found = find(model="nearest_mean,knobs,majority")
    assert found.record.winner is not None
    chosen = found.record.winner.chosen
    metrics = found.winner[1].metrics
    assert chosen is not None
    assert metrics is not None
    assert chosen.measured == metrics["macro_f1"]
    assert chosen.corrected.value <= chosen.measured.value
    assert chosen.n_candidates >= len(found.record.held_out or ())


def test_a_single_pipeline_was_not_chosen(find: Find) -> None:
    found = find(features="crossings")
    assert found.record.winner is not None
    assert found.record.winner.chosen is None


def test_no_fit_sees_a_held_out_clip(find: Find, fits: Spied, kit: Path) -> None:
    speaker = plan_of(kit).corpus.speakers[0]
    found = find(hold_out_speakers=speaker)
    corpus = found.corpus
    assert {clip.speaker for clip in corpus.held_out} == {speaker}
    assert speaker not in corpus.speakers
    assert all(max(*unit.train, *unit.test) < len(corpus.clips) for unit in fits)
    assert found.winner[1].corpus.n_clips == len(corpus.clips)
    assert found.winner[1].corpus.held_out == [clip.id for clip in corpus.held_out]
    assert {row.board.fingerprint for row in rows()} == {corpus.fingerprint}


def test_the_score_on_held_out_clips_is_kept(find: Find) -> None:
    found = find(hold_out_speakers=2)
    assert not found.has_final_score
    n_clips, labels = len(found.corpus.held_out), found.corpus.labels
    scored = found.with_final_score(np.eye(len(labels))[np.zeros(n_clips, int)])
    assert scored.has_final_score
    again = find(hold_out_speakers=2)
    assert again.has_final_score
    assert again.record.final == scored.record.final
    assert find().has_final_score


def test_other_held_out_clips_are_another_search(find: Find) -> None:
    first, second = (find(hold_out_speakers=2, seed=seed) for seed in (0, 0))
    assert first.path == second.path
    assert find().path != first.path
