"""The built-in models that need no TensorFlow."""

import hashlib
import os
import subprocess
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest

from marsbench.execution.limits import environment_for, limited_threads
from marsbench.plugin.features import Features
from marsbench.plugin.model import Examples, FitContext
from marsbench.plugin.search_space import Defaults, Scalar
from marsbench.plugin.sklearn import SklearnModel
from marsbench_plugins.models.gradient_boosting import GradientBoosting
from marsbench_plugins.models.logistic_regression import LogisticRegression
from marsbench_plugins.models.majority import Majority
from marsbench_plugins.models.pca_lda import PcaLda
from marsbench_plugins.models.random_forest import RandomForest
from marsbench_plugins.models.svm import Svm

LEARNERS = [GradientBoosting, LogisticRegression, PcaLda, RandomForest, Svm]
MODELS = [Majority, *LEARNERS]


def rings(counts: tuple[int, ...] = (40, 40, 40), scale: float = 1.0) -> Examples:
    """Classes around three corners of a square, in dimensions of very different scale."""
    random = np.random.default_rng(0)
    targets = np.repeat(np.arange(len(counts)), counts)
    corners = np.array([[0, 0], [3, 0], [0, 3]])[targets]
    values = (corners + random.normal(size=corners.shape)) * [scale, 1 / scale]
    return Examples(Features(values.astype(np.float32), np.ones_like(targets)), targets)


def fitted(model: SklearnModel, train: Examples, **overrides: Scalar) -> SklearnModel:
    hp = Defaults(overrides)
    model.fit(train, hp, FitContext(3, seed=1))
    hp.refuse_unused(model.name)
    return model


def accuracy(model: SklearnModel, examples: Examples) -> float:
    return float((model.predict_proba(examples.features).argmax(axis=1) == examples.targets).mean())


@pytest.mark.parametrize("plugin", LEARNERS)
def test_a_learner_learns(plugin: type[SklearnModel]) -> None:
    assert accuracy(fitted(plugin(), rings()), rings()) > 0.85


@pytest.mark.parametrize("plugin", [GradientBoosting, LogisticRegression, PcaLda, Svm])
def test_a_learner_does_not_mind_the_scale_of_its_features(plugin: type[SklearnModel]) -> None:
    plain, stretched = (
        fitted(plugin(), rings(scale=s)).predict_proba(rings(scale=s).features) for s in (1, 100)
    )
    assert np.allclose(plain, stretched, atol=1e-3)


@pytest.mark.parametrize("plugin", MODELS)
def test_no_default_makes_scikit_learn_complain(plugin: type[SklearnModel]) -> None:
    assert fitted(plugin(), rings()).warnings_ == ()


LEAVES = {"min_samples_leaf": 8, "trees": 100}


@pytest.mark.parametrize("plugin", [GradientBoosting, LogisticRegression, RandomForest, Svm])
def test_balanced_classes_give_a_rare_one_more_weight(plugin: Any) -> None:
    train = rings((80, 80, 8), scale=1.0)
    rare = train.features[np.flatnonzero(train.targets == 2)]
    balanced, plain = (
        fitted(plugin(balanced=flag), train, **(LEAVES if plugin is RandomForest else {}))
        for flag in (True, False)
    )
    assert balanced.predict_proba(rare)[:, 2].mean() > plain.predict_proba(rare)[:, 2].mean()


@pytest.mark.parametrize(
    ("plugin", "overrides", "parameters"),
    [
        (Svm, {"C": 5.0, "gamma": 2.0}, {"svc__C": 5.0, "svc__gamma": 1.0}),
        (
            RandomForest,
            {"trees": 100, "max_features": "log2", "min_samples_leaf": 3},
            {"n_estimators": 100, "max_features": "log2", "min_samples_leaf": 3},
        ),
        (LogisticRegression, {"C": 5.0}, {"logisticregression__C": 5.0}),
        (
            PcaLda,
            {"variance": 0.9, "shrinkage": 0.1},
            {"pca__n_components": 0.9, "lineardiscriminantanalysis__shrinkage": 0.1},
        ),
        (
            GradientBoosting,
            {"learning_rate": 0.2, "max_leaf_nodes": 16, "min_samples_leaf": 10, "l2": 5.0, "max_bins": 16},
            {"max_leaf_nodes": 16, "min_samples_leaf": 10, "l2_regularization": 5.0, "max_bins": 16},
        ),
    ],
)
def test_hyperparameters_reach_the_estimator(
    plugin: type[SklearnModel], overrides: dict[str, Scalar], parameters: dict[str, Scalar]
) -> None:
    model = fitted(plugin(), rings(), **overrides)
    assert parameters.items() <= model.estimator_.get_params().items()


def test_the_majority_model_answers_the_class_frequencies_of_its_training_clips() -> None:
    train = rings((10, 30, 60))
    answer = fitted(Majority(), train).predict_proba(train.features)
    assert np.allclose(answer, [0.1, 0.3, 0.6])


def test_an_svm_of_the_untuned_gamma_is_scikit_learns_scale() -> None:
    train = rings()
    ours = fitted(Svm(), train)
    theirs = Svm().build(Defaults(), (2,), 3).set_params(svc__gamma="scale")
    theirs.fit(train.features.values.astype(np.float64), train.targets)
    values = train.features.values.astype(np.float64)
    assert np.allclose(ours.estimator_.decision_function(values), theirs.decision_function(values))


def test_boosting_does_not_stop_early_where_nothing_can_be_learnt() -> None:
    random = np.random.default_rng(0)
    noise = Examples(
        Features(random.normal(size=(120, 2)).astype(np.float32), np.ones(120, np.int64)), rings().targets
    )
    assert fitted(GradientBoosting(max_iter=40), noise).estimator_.n_iter_ == 40


def test_components_are_no_more_than_a_few_clips_can_have() -> None:
    random = np.random.default_rng(0)
    targets = np.arange(9) % 3
    wide = Examples(Features(random.normal(size=(9, 400)).astype(np.float32), np.ones(9, np.int64)), targets)
    assert fitted(PcaLda(), wide).predict_proba(wide.features).shape == (9, 3)


FITS = list(product(MODELS, (1.0, 100.0)))
"""Models and scales of the features: fits that follow one another in a worker process."""


def outcome(plugin: type[SklearnModel], scale: float) -> str:
    model = fitted(plugin(), rings((30, 40, 50), scale))
    return hashlib.sha256(model.predict_proba(rings(scale=scale).features).tobytes()).hexdigest()


def test_a_fit_comes_to_what_it_does_in_a_new_process_whatever_was_fitted_before() -> None:
    command = [sys.executable, __file__]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment_for(1))
    new = done.stdout.split()
    with limited_threads(1):
        used = [outcome(*fit) for fit in (*FITS, *reversed(FITS))]
    assert used == [*new, *reversed(new)]
    assert len(set(new)) > len(MODELS)


if __name__ == "__main__":
    for fit in FITS:
        if os.fork():
            os.wait()
            continue
        try:  # in a copy, as worker processes do
            os.write(1, f"{outcome(*fit)}\n".encode())
        finally:
            os._exit(0)
