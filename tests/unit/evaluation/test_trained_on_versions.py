"""No version of a held-out clip is ever trained on, wherever clips are held out: planted answers show it.

Features are noise that tells nothing but which clip it is, and a clip's versions have the same: whoever has
seen a version of a clip knows its class, all others guess.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import marsbench
from fixtures.protocols import made_corpus
from marsbench.config import Versions
from marsbench.data.audio import Waveform
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.evaluation import fit
from marsbench.evaluation.fit import Unit, fit_unit
from marsbench.features.clip_versions import version_of
from marsbench.plugin.features import Features, pad
from marsbench.plugin.model import Examples, FitContext
from marsbench.plugin.registry import Recipe, discover
from marsbench.plugin.search_space import Defaults
from marsbench.plugin.sklearn import _Clips
from marsbench.protocols.apply import apply_protocol
from marsbench.protocols.protocol import Fold, Rows
from marsbench.results.keys import PipelineKey, search_id
from marsbench.runner.pipeline_job import Units

Bench = Callable[..., Any]
N_VERSIONS = 3
CHANCE, KNOWN = 0.55, 0.9
"""Of three classes: what guesses stay below, and what is above it if the answers are known."""


@dataclass(frozen=True)
class Marked:
    """Features of clips and versions; `asked` gets the rows whose versions were read."""

    marks: np.ndarray
    asked: list[tuple[int, ...]]
    path: Path = Path()
    seconds_per_clip: float = 0.0

    @property
    def versions(self) -> tuple["Marked", ...]:
        return (self,) * N_VERSIONS

    def read(self, rows: Sequence[int] | Rows) -> Features:
        return pad(list(self.marks[list(rows)]), None)

    def versions_of(self, rows: Sequence[int] | Rows) -> list[Features]:
        self.asked.append(tuple(rows))
        return [self.read(rows)] * N_VERSIONS


def marked(corpus: CheckedCorpus, seed: int = 0) -> Marked:
    marks = np.random.default_rng(seed).standard_normal((len(corpus.clips), 8)).astype(np.float32)
    return Marked(marks, [])


def units_of(corpus: CheckedCorpus, folds: Sequence[Fold], **changes: Any) -> Units:
    """Fits of a machine that remembers every training clip."""
    versions = Versions(kinds=("speed",))
    recipe = discover(()).get("models", "svm").recipe({})
    usual = {"wants_validation": False, "normalise": None, "versions": versions, "model": recipe}
    by_hand = {"hyperparameters": {"C": 1000.0, "gamma": 10.0}}
    return Units(corpus, cast("Any", SimpleNamespace(**usual | by_hand | changes)), 0, (), folds, ())


def accuracy(unit: Unit, corpus: CheckedCorpus) -> float:
    found = fit_unit(replace(unit, is_draft=True)).probabilities.argmax(axis=1)
    return float((found == corpus.targets[unit.test]).mean())


def of_stage(units: Units, features: Any, stage: str) -> list[Unit]:
    if stage == "test part":
        return [units.outer(fold, features) for fold in range(3)]
    if stage == "inner splits":
        return list(units.inner(0, features, 3, "macro_f1")[0])
    return list(units.for_holdout(0, features, 3))


STAGES = ("test part", "inner splits", "hold-outs of ensembles")


def leaking(unit: Unit, rows: Rows) -> list[Features]:
    """Versions as they would be read if clips were split after their versions were made."""
    moved = [unit.test[number % len(unit.test)] for number in range(len(rows))]
    return cast("Marked", unit.features).versions_of(moved)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("leaks", [False, True])
def test_versions_of_held_out_clips_are_not_trained_on_and_it_would_show(
    stage: str, leaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = made_corpus()
    if leaks:
        monkeypatch.setattr(fit, "_read_versions", leaking)
        right = fit._for_versions

        def of_those_read(unit: Unit, numbers: Rows) -> np.ndarray:
            rows = [unit.test[number % len(unit.test)] for number in range(len(numbers))]
            told = corpus.targets[rows].tolist() * N_VERSIONS
            return np.array([*numbers, *told]) if numbers is unit.train_targets else right(unit, numbers)

        monkeypatch.setattr(fit, "_for_versions", of_those_read)
    units = units_of(corpus, apply_protocol("stratified3", corpus).folds)
    found = np.mean([accuracy(unit, corpus) for unit in of_stage(units, marked(corpus), stage)])
    assert found > KNOWN if leaks else found < CHANCE


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("stops_early", [False, True])
def test_versions_are_read_of_training_clips_alone(stage: str, stops_early: bool) -> None:
    corpus = made_corpus()
    features = marked(corpus)
    units = units_of(corpus, apply_protocol("stratified3", corpus).folds, wants_validation=stops_early)
    for unit in of_stage(units, features, stage):
        fit_unit(replace(unit, is_draft=True))
        assert set(features.asked) == {tuple(unit.train)}
        assert bool(len(unit.validation)) == stops_early
        assert not {*unit.validation, *unit.test} & set(unit.train)
        features.asked.clear()


def test_averaged_predictions_are_the_mean_over_the_clip_and_its_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus = made_corpus()
    units = units_of(corpus, apply_protocol("stratified3", corpus).folds)
    unit, other = units.outer(0, cast("Any", marked(corpus))), marked(corpus, seed=1)
    model, *_ = fit.fit_model(unit)
    monkeypatch.setattr(Marked, "versions_of", lambda _self, rows: [other.read(rows)] * N_VERSIONS)
    clip, version = (model.predict_proba(one.read(unit.test)) for one in (unit.features, other))
    found = fit.probabilities_of(replace(unit, is_averaged=True), model, unit.test)
    assert np.allclose(found, (clip + N_VERSIONS * version) / (1 + N_VERSIONS))
    assert np.array_equal(fit.probabilities_of(unit, model, unit.test), clip)


@given(st.lists(st.integers(0, 5), min_size=4, max_size=12), st.integers(0, 2**31 - 1))
def test_a_model_holds_out_no_version_and_none_of_a_clip_that_it_holds_out_is_left(
    groups: list[int], seed: int
) -> None:
    n_clips = len(groups)
    features = SimpleNamespace(versions=(None,) * N_VERSIONS)
    unit = SimpleNamespace(train=range(n_clips), train_groups=np.array(groups), features=features)
    clip = np.tile(np.arange(n_clips), 1 + N_VERSIONS)
    is_version = np.arange(len(clip)) >= n_clips
    clips = _Clips(np.zeros((len(clip), 1)), clip % 2, fit._groups(cast("Any", unit)), is_version)
    for kept, aside in clips.splits(3, seed % 1000):
        assert not is_version[aside].any()
        assert not set(clip[kept]) & set(clip[aside])
        assert len(set(groups)) == 1 or not set(clips.groups[kept]) & set(clips.groups[aside])


@pytest.mark.parametrize("are_grouped", [True, False])
def test_probabilities_are_calibrated_on_clips_whose_versions_were_left_out(are_grouped: bool) -> None:
    generator = np.random.default_rng(0)
    marks, targets = generator.standard_normal((60, 8)).astype(np.float32), np.arange(60) % 3
    train = Examples(pad(list(np.tile(marks, (4, 1))), None), np.tile(targets, 4))
    context = FitContext(
        n_classes=3,
        seed=0,
        groups=np.tile(np.arange(60), 4) if are_grouped else None,
        is_version=np.arange(240) >= 60 if are_grouped else None,
    )
    model = cast("Any", discover(()).get("models", "svm").plugin.create({}))
    model.fit(train, Defaults({"C": 1000.0, "gamma": 10.0}), context)
    surest = model.predict_proba(pad(list(marks), None)).max(axis=1).mean()
    assert surest < CHANCE if are_grouped else surest > KNOWN


def test_versions_name_runs_fits_and_searches_and_without_them_all_names_stay() -> None:
    recipe = Recipe("tiny", {}, "", {})
    make = partial(PipelineKey, "p", recipe, recipe, {}, 0, 1, None)
    speed, noise = Versions(kinds=("speed",)), Versions(kinds=("noise",))
    keys = [make(one) for one in (None, speed, noise, Versions(kinds=("speed",), averaged=True))]
    assert keys[0].run_id() == PipelineKey("p", recipe, recipe, {}, 0, 1).run_id()
    for of in (PipelineKey.run_id, lambda key: key.tuning_fits("uar"), lambda key: key.holdout_fits):
        assert len({of(key) for key in keys}) == 4
    searches = {search_id("p", [], {"seed": 0, "versions": kinds}) for kinds in (["speed"], ["noise"])}
    assert len(searches | {search_id("p", [], {"seed": 0})}) == 3


GRID = ("--features", "crossings", "--model", "nearest_mean", "--data", "tones", "--trials", "0")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--versions", "sped"), "unknown version 'sped'. Did you mean 'speed'?"),
        (("--average-versions",), "there are no versions to average over; name some"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    bench: Bench, kit: Path, words: Sequence[str], said: str
) -> None:
    refused = bench("run", *GRID, "--plugins", kit, *words)
    assert refused.exit_code == 1
    assert said in refused.stderr


def test_a_run_with_versions_says_so_everywhere_and_its_bundle_predicts_as_it_did(
    bench: Bench, kit: Path
) -> None:
    plugins = ("--plugins", kit)
    assert bench("run", *GRID, *plugins).exit_code == 0
    ran = bench("run", *GRID, *plugins, "--versions", "noise,speed", "--average-versions")
    assert ran.exit_code == 0, ran.stderr
    rows = {row["versions"]: row for row in json.loads(bench("leaderboard", "--json").stdout)}
    said = "versions speed,noise (predictions averaged)"
    assert set(rows) == {None, said}
    shown = bench("show", rows[said]["run_id"]).stdout
    assert "--versions speed --versions noise --average-versions" in " ".join(shown.split())
    for output in (("leaderboard",), ("show", rows[said]["run_id"])):
        assert said in " ".join(bench(*output).stdout.split())
    made = bench("export", rows[said]["run_id"], *plugins, "-o", "bundle", "--fold", "1")
    assert made.exit_code == 0, made.stderr
    assert "extracts features 4 times" in " ".join(made.stdout.split())
    assert "does not reproduce" not in made.stderr
    bundle = cast("Bundle", marsbench.load("bundle", plugins=[kit]))
    assert bundle.record.versions == Versions(kinds=("speed", "noise"), averaged=True)
    clip = Waveform(np.sin(np.arange(1600) * 0.2).astype(np.float32), 8000)
    alone = replace(bundle, record=bundle.record.model_copy(update={"versions": None}))
    parts = [clip, *(version_of(clip, name) for name in ("speed 0.9", "speed 1.1", "noise"))]
    mean = np.mean([alone.predict(part).probabilities for part in parts], axis=0)
    assert np.allclose(bundle.predict(clip).probabilities, mean)
    refused = bench(
        "export", rows[said]["run_id"], *plugins, "--format", "onnx", "--end-to-end", "-o", "one.onnx"
    )
    assert "one ONNX file predicts a clip, not the mean over its versions" in refused.stderr
