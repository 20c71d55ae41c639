"""How many fits tuning needs to find what random search finds: without racing, and with marsbench's own.

Racing ends a configuration at the first inner folds that show it cannot win. The second random search has the
same racing and starts from the same untuned configuration: what remains is what the sampler is worth.

Replays recorded scores, so that hundreds of searches take seconds: `recorded_svm.json` holds the macro F1 on
5 inner folds of a grid of configurations of `svm` on `mfcc_chroma_contrast`, RAVDESS speech + song, fold 1 of
`stratified5`. A proposed configuration has the scores of the nearest one on the grid.

    python benchmarks/search_efficiency.py                       # replay
    python benchmarks/search_efficiency.py --record DATA         # record anew: some 10 minutes
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import log
from pathlib import Path
from statistics import fmean, median
from typing import Any, cast
from unittest.mock import patch

import numpy as np

from marsbench.config import Experiment, Tuning
from marsbench.evaluation.fit_result import UnitResult
from marsbench.features.store import FeatureStore
from marsbench.planning.plans import make_plans
from marsbench.plugin.search_space import Dimension
from marsbench.progress import Silent
from marsbench.runner.pipeline_job import Units
from marsbench.tuning import optuna_engine
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.engines import StudyRequest
from marsbench.tuning.search_space import Configuration, SearchSpace, tuned_features

RECORD = Path(__file__).with_name("recorded_svm.json")
N_INNER = 5
_TRIALS = 60
CS = [float(c) for c in np.geomspace(0.1, 1000, 13)]
GAMMAS = [float(g) for g in np.geomspace(0.1, 10, 9)]
NORMALISATIONS = ["clip", "none"]
SPACE = SearchSpace(
    (
        Dimension("mfcc_chroma_contrast.normalisation", "clip", choices=("clip", "none")),
        Dimension("svm.C", 10.0, low=0.1, high=1000.0, sampling="log"),
        Dimension("svm.gamma", 1.0, low=0.1, high=10.0, sampling="log"),
    )
)


def record(data: str) -> None:
    """Fit the whole grid on all inner folds."""
    from dataclasses import replace

    from marsbench.evaluation.fit import fit_unit
    from marsbench.evaluation.metrics import objective_score

    values = {"features": "mfcc_chroma_contrast", "model": "svm", "data": data}
    (plan,) = make_plans(Experiment.parse(values, "record"), Silent())
    pipeline = plan.pipelines[0]
    scores: list[list[float]] = []
    for number, (normalisation, c, gamma) in enumerate(product(NORMALISATIONS, CS, GAMMAS)):
        changed = {"mfcc_chroma_contrast.normalisation": normalisation}
        recipe = tuned_features(pipeline.features, plan.folders, cast("Configuration", changed))
        features = FeatureStore(recipe, plan.folders).features_of(plan.corpus)
        units, targets = Units.of(plan, pipeline, 0).inner(0, features, N_INNER, "macro_f1")
        results = [fit_unit(replace(unit, proposed={"C": c, "gamma": gamma})) for unit in units]
        folds = [
            objective_score("macro_f1", result.probabilities, truth)
            for result, truth in zip(results, targets, strict=True)
        ]
        scores.append([round(score, 5) for score in folds])
        print(number, normalisation, f"{c:.3g} {gamma:.3g} {fmean(folds):.4f}", flush=True)
    RECORD.write_text(json.dumps({"scores": scores}) + "\n")


@dataclass
class Grid:
    """Recorded scores by place on the grid."""

    scores: list[list[float]] = field(default_factory=lambda: json.loads(RECORD.read_text())["scores"])

    def of(self, configuration: Configuration) -> list[float]:
        """Scores of the nearest recorded configuration."""
        first = NORMALISATIONS.index(str(configuration["mfcc_chroma_contrast.normalisation"]))
        places = [
            min(range(len(axis)), key=lambda index: abs(log(axis[index] / float(configuration[name]))))
            for name, axis in (("svm.C", CS), ("svm.gamma", GAMMAS))
        ]
        return self.scores[(first * len(CS) + places[0]) * len(GAMMAS) + places[1]]


@dataclass
class Recorded:
    """Stands for `CachedFits`: no fit takes any time."""

    grid: Grid
    n_fits: int = 0
    fold: int = 0

    def fit(self, configuration: Configuration, inner: int, *_: int | None) -> UnitResult:
        """The recorded score, as the only entry of a history."""
        self.n_fits += 1
        return UnitResult(
            fold=0, probabilities=np.empty((0, 2), np.float32), hyperparameters={}, n_parameters=None,
            history=[{"score": self.grid.of(configuration)[inner]}], environment={}, fit_seconds=0.0,
            predict_seconds=0.0, warnings=[], finished="",
        )  # fmt: skip

    def clear_checkpoints(self) -> None:
        """There are none."""


class Replay(StudyRequest):
    """A study with recorded scores."""

    def score(self, inner: int, result: UnitResult) -> float:  # noqa: ARG002 - the recorded one is this fold's
        """The recorded score."""
        return result.history[0]["score"]


def marsbench_way(
    grid: Grid, seed: int, trials: int, *, at_random: bool = False
) -> Iterator[tuple[int, float]]:
    """Fits so far and best mean score after each trial; `at_random`, with every proposal drawn at random."""
    recorded = Recorded(grid)
    seen: list[tuple[int, float]] = []

    def keep(study: Any) -> None:
        if study.best is not None:
            seen.append((recorded.n_fits, study.best.score))

    tuning = Tuning(
        trials=trials, tuner="optuna", objective="macro_f1", inner_folds=N_INNER, time_budget=None
    )
    request = Replay(
        tuning=tuning,
        space=SPACE,
        fits=cast("CachedFits", recorded),
        targets=[np.zeros(0, np.int64)] * N_INNER,
        rungs=(),
        seed=seed,
        pinned=frozenset(),
        is_late=lambda _seconds: False,
        deadline=None,
        workers_see_folder=True,
        keep=keep,
    )
    # TPE draws its first proposals at random: here, all of them.
    with patch.object(optuna_engine, "_STARTUP", trials if at_random else optuna_engine._STARTUP):  # noqa: SLF001
        optuna_engine.search(request)
    yield from seen


def random_way(grid: Grid, seed: int, trials: int) -> Iterator[tuple[int, float]]:
    """The same for random search with full inner cross-validation."""
    random = np.random.default_rng(seed)
    best = 0.0
    for trial in range(trials):
        configuration: Configuration = {
            "mfcc_chroma_contrast.normalisation": NORMALISATIONS[random.integers(2)],
            "svm.C": float(10 ** random.uniform(-1, 3)),
            "svm.gamma": float(10 ** random.uniform(-1, 1)),
        }
        best = max(best, fmean(grid.of(configuration)))
        yield (trial + 1) * N_INNER, best


def main() -> None:
    """Print the ratio of fits for equal scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", metavar="DATA", help="RAVDESS: fit the grid anew")
    parser.add_argument("--searches", type=int, default=50, help="seeds of each way")
    options = parser.parse_args()
    if options.record:
        record(options.record)
    grid = Grid()
    best = max(fmean(scores) for scores in grid.scores)
    print(f"{len(grid.scores)} configurations, {N_INNER} inner folds; best mean macro F1 {best:.4f}")
    seeds = range(options.searches)
    ours = [list(marsbench_way(grid, seed, _TRIALS)) for seed in seeds]
    raced = [list(marsbench_way(grid, seed, _TRIALS, at_random=True)) for seed in seeds]
    for trials in (10, 20, 40):
        wanted = median(list(random_way(grid, seed, trials))[-1][1] for seed in seeds)
        fits, own, random = trials * N_INNER, fits_until(ours, wanted), fits_until(raced, wanted)
        print(
            f"random search, {trials} trials: {fits} fits for {wanted:.4f} (median); "
            f"marsbench: {own} fits (median), ratio {own / fits:.2f}; "
            f"random search with the same racing and start: {random} fits, marsbench {own / random:.2f} of it"
        )


def fits_until(searches: Sequence[Sequence[tuple[int, float]]], wanted: float) -> int:
    """Median number of fits after which the searches have a score."""
    return round(median(next((n for n, score in one if score >= wanted), sys.maxsize) for one in searches))


if __name__ == "__main__":
    main()
