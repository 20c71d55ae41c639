"""Engines are files: what there is, what is refused, and one that a test adds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import marsbench.tuning
from marsbench.config import Experiment, Tuning, tuner_names
from marsbench.errors import ConfigError
from marsbench.runner.runner import run

RANDOM_SEARCH = '''
"""Random search over ranges, in twenty lines."""

import random

from marsbench.evaluation.fit_result import Failure
from marsbench.tuning.engines import StudyRequest, TrialUnderWay


def search(request: StudyRequest):
    chance, trials = random.Random(request.seed), []
    for number in range(request.tuning.trials):
        configuration = dict(request.space.defaults)
        for dimension in request.space.active(configuration) if number else ():
            if dimension.choices is None:
                configuration[dimension.name] = chance.uniform(dimension.low, dimension.high)
        trial, scores = TrialUnderWay(number, configuration), []
        for inner in range(len(request.targets)):
            fit = request.fits.fit(configuration, inner)
            if isinstance(fit, Failure):
                trials.append(trial.ended("failed", None, fit.message))
                break
            scores.append(request.score(inner, fit))
            trial.add(fit, inner, sum(scores) / len(scores))
        else:
            trials.append(trial.ended("complete", trial.steps[inner]))
        request.keep(request.study(trials))
    return request.study(trials, "all trials")


def refusal(pipeline):
    return "random-search wants no nearest_mean" if pipeline.model.name == "nearest_mean" else None
'''


@pytest.fixture
def random_search(tmp_path: Path) -> Iterator[None]:
    """One more engine, in a folder of its own."""
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "random_search_engine.py").write_text(RANDOM_SEARCH)
    marsbench.tuning.__path__.append(str(tmp_path / "engines"))
    yield
    marsbench.tuning.__path__.remove(str(tmp_path / "engines"))


def experiment(kit: Path, **changes: object) -> Experiment:
    values = {"features": "crossings", "model": "knobs", "data": "tones", "protocol": "holdout80"}
    return Experiment.model_validate(values | {"plugins": [kit], "trials": 6} | changes)


def test_engines_are_known_by_their_files() -> None:
    assert tuner_names() == ["keras-tuner", "optuna"]


def test_an_unknown_engine_is_answered_with_those_that_there_are() -> None:
    values = {"features": "mfcc", "model": "svm", "tuner": "grid"}
    with pytest.raises(ConfigError, match=r"'grid'.*keras-tuner, optuna"):
        Experiment.parse(values, "here")


@pytest.mark.usefixtures("random_search")
def test_one_new_file_is_one_more_engine(kit: Path) -> None:
    assert "random-search" in tuner_names()
    (_, untuned), (folder, tuned) = run(experiment(kit, tuner="random-search"))
    assert tuned.tuning is not None
    assert (tuned.tuning.asked.tuner, tuned.tuning.folds[0].ended) == ("random-search", "all trials")
    (study,) = folder.study.studies()
    assert [trial.number for trial in study.trials] == list(range(6))
    assert study.trials[0].configuration == {"knobs.x": 0.8, "knobs.kind": "plain"}
    assert len({trial.configuration["knobs.x"] for trial in study.trials}) == 6
    assert untuned.metrics is not None
    assert tuned.metrics is not None
    again, _ = run(experiment(kit, tuner="random-search", results=Path("again")))[1]
    assert again.predictions.read_bytes() == folder.predictions.read_bytes()


@pytest.mark.usefixtures("random_search")
def test_what_an_engine_refuses_is_told_before_anything_is_done(kit: Path) -> None:
    with pytest.raises(ConfigError, match=r"^random-search wants no nearest_mean$"):
        run(experiment(kit, tuner="random-search", model="nearest_mean"))
    assert not any(path.is_file() for path in Path("home").rglob("*"))
    run(experiment(kit, tuner="random-search", model="nearest_mean", trials=0))


def test_a_stored_run_keeps_the_name_of_an_engine_that_is_gone() -> None:
    tuning = Tuning(trials=1, tuner="gone", objective="accuracy", inner_folds=1, time_budget=None)
    assert Tuning.model_validate_json(tuning.model_dump_json()) == tuning
