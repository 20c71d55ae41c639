"""The configuration that an export of a tuned run takes: the best over all folds."""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from marsbench.deployment.choice import Choice, best_over_folds
from marsbench.evaluation.fit_result import Failure
from marsbench.plugin.registry import discover
from marsbench.progress import Silent
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder, find_runs
from marsbench.runner.reload import corpus_of
from marsbench.tuning.cached_fits import CachedFits

Tune = Callable[..., tuple[RunFolder, Run]]
Fits = Callable[[], list[dict[str, Any]]]
Best = Callable[..., Choice]
LOG = {"log": "fits.log"}


class Said(Silent):
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def best(kit: Path) -> Best:
    def call(folder: RunFolder, progress: Said | None = None, **options: Any) -> Choice:
        registry = discover((kit,))
        corpus = corpus_of(folder.read_run(), registry)
        return best_over_folds(folder, corpus, registry, progress or Said(), **options)

    return call


CHOSEN = [0.6, 0.5, 0.35, 0.7, 0.5]
"""x of each fold's configuration: knobs err the less the nearer it is to 0.3."""
LUCKY = 3
"""The fold whose clips happened to be easy for the worst of them."""


@pytest.fixture
def lucky(tuned: Tune) -> Callable[..., RunFolder]:
    """A run whose folds chose different configurations, the worst one with the highest score."""

    def make(**knobs: Any) -> RunFolder:
        folder, run = tuned(knobs=knobs, trials=2)
        assert run.tuning is not None
        folds = [
            fold.model_copy(
                update={
                    "best": 1,
                    "configuration": {"knobs.x": x, "knobs.kind": "plain"},
                    "inner_score": 0.99 if number == LUCKY else 0.7,
                }
            )
            for number, (fold, x) in enumerate(zip(run.tuning.folds, CHOSEN, strict=True))
        ]
        folder.write_run(run.model_copy(update={"tuning": run.tuning.model_copy(update={"folds": folds})}))
        return folder

    return make


def test_it_is_the_best_over_all_folds_and_not_that_of_the_lucky_one(
    lucky: Callable[..., RunFolder], best: Best
) -> None:
    folder = lucky()
    configuration, record = best(folder)
    assert configuration == {"knobs.x": 0.35, "knobs.kind": "plain"}
    assert record is not None
    assert (record.folds, record.n_candidates) == ([2], 5)
    tuning = folder.read_run().tuning
    assert tuning is not None
    assert record.untuned_score == pytest.approx(fmean(fold.untuned_score or 0 for fold in tuning.folds))
    assert record.score is not None
    assert record.score > (record.untuned_score or 1.0)
    assert "that of fold 3, the best of 5 over the inner splits of all folds" in record.sentence


def test_how_many_fits_it_takes_is_said_before_and_none_is_made_twice(
    lucky: Callable[..., RunFolder], fits: Fits, best: Best
) -> None:
    folder, said = lucky(**LOG), Said()
    before = len(fits())
    first = best(folder, said)
    assert len(fits()) - before == 4 * 5 * 3  # the untuned one is there already
    assert any("60 fits inside the training parts" in line for line in said.lines)
    assert all(fit["draft"] for fit in fits()[before:])
    assert best(folder, said) == first
    assert any(": 0 fits inside" in line for line in said.lines)
    assert len(fits()) - before == 60


def test_an_interrupted_choice_goes_on_where_it_stopped(
    lucky: Callable[..., RunFolder], fits: Fits, best: Best, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, whole, calls = lucky(**LOG), CachedFits.fit_all, iter(range(100))
    before = len(fits())

    def stopped(self: CachedFits, configuration: Any) -> Any:
        if next(calls) == 7:
            raise KeyboardInterrupt
        return whole(self, configuration)

    with monkeypatch.context() as patch:
        patch.setattr(CachedFits, "fit_all", stopped)
        with pytest.raises(KeyboardInterrupt):
            best(folder)
    assert len(fits()) - before == 2 * 3
    best(folder)
    assert len(fits()) - before == 60


def test_without_time_it_is_what_gained_most_inside_its_own_fold(
    lucky: Callable[..., RunFolder], fits: Fits, best: Best
) -> None:
    folder, said = lucky(**LOG), Said()
    before = len(fits())
    configuration, record = best(folder, said, seconds=0.0)
    assert len(fits()) == before
    tuning = folder.read_run().tuning
    assert tuning is not None
    gains = [(fold.inner_score or 0) - (fold.untuned_score or 0) for fold in tuning.folds]
    assert configuration == tuning.folds[gains.index(max(gains))].configuration
    assert record is not None
    assert record.score is None
    assert any("no time for 60 more fits" in line for line in said.lines)
    assert "inside its own fold" in record.sentence


def test_a_configuration_that_fails_on_some_fold_is_left_out(
    lucky: Callable[..., RunFolder], best: Best, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, said, whole = lucky(), Said(), CachedFits.fit_all

    def failing(self: CachedFits, configuration: Any) -> Any:
        if configuration["knobs.x"] == 0.35 and self.fold == 4:
            return Failure(fold=4, kind="E", message="no luck", traceback="")
        return whole(self, configuration)

    monkeypatch.setattr(CachedFits, "fit_all", failing)
    assert best(folder, said).configuration["knobs.x"] in {0.5, 0.6}
    assert any("is left out" in line and "no luck" in line for line in said.lines)


def test_an_untuned_run_and_one_whose_folds_took_the_untuned_configuration_need_no_fit(
    tuned: Tune, best: Best
) -> None:
    folder, _ = tuned(knobs={"widest": 0.3}, trials=4)
    assert best(folder) == ({}, None)
    (untuned,) = (other for other in find_runs(Path("results")) if other.path != folder.path)
    assert best(untuned) == ({}, None)


def test_a_run_without_its_studies_is_scored_anew(lucky: Callable[..., RunFolder], best: Best) -> None:
    folder = lucky()
    first = best(folder)
    folder.study.path.rename("elsewhere")
    assert best(folder) == first
