from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.errors import PluginError, TrainingError
from marsbench.plugin.features import Features
from marsbench.plugin.model import Examples, FitContext
from marsbench.plugin.search_space import Defaults
from marsbench_plugins.models.kernel_ridge import KernelRidge


def made(n_clips: int = 40, n_classes: int = 3, seed: int = 0) -> Examples:
    """Clips of classes with different means, the last dimension constant."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n_clips) % n_classes
    values = np.hstack([rng.normal(size=(n_clips, 5)) + targets[:, None], np.ones((n_clips, 1))])
    return Examples(Features(values.astype(np.float32), np.ones(n_clips, np.int64)), targets)


def fitted(train: Examples, *, balanced: bool = True, **context: Any) -> KernelRidge:
    model = KernelRidge(balanced=balanced)
    return model.fit(train, Defaults(), FitContext(**{"n_classes": 3, "seed": 0} | context))


def log_loss(outputs: np.ndarray, targets: np.ndarray, temperature: float) -> float:
    scores = outputs / temperature
    true = scores[np.arange(len(targets)), targets]
    return float((np.log(np.exp(scores).sum(axis=1)) - true).mean())


@pytest.mark.parametrize("n_groups", [2, 5, 40])
def test_the_temperature_is_the_best_for_groups_that_a_fit_has_not_seen(n_groups: int) -> None:
    train, groups = made(), np.arange(40) % n_groups
    model = fitted(train, balanced=False, groups=groups)
    clips, members = model.clips_, np.eye(3)[train.targets]
    kernel = np.exp(-0.2 / 6 * np.square(clips[:, None] - clips).sum(axis=2))
    outputs = np.zeros((40, 3))
    for group in range(n_groups):
        kept, out = np.flatnonzero(groups != group), np.flatnonzero(groups == group)
        ridge = kernel[np.ix_(kept, kept)] + 0.02 * np.eye(len(kept))
        solved = np.linalg.solve(ridge, members[kept] - members.mean(axis=0))
        outputs[out] = kernel[np.ix_(out, kept)] @ solved + members.mean(axis=0)
    best = log_loss(outputs, train.targets, model.temperature_)
    assert all(best <= log_loss(outputs, train.targets, model.temperature_ * by) for by in (0.98, 1.02))


def test_classes_are_told_apart_and_rare_ones_weigh_as_much() -> None:
    train = made(300)
    rows = np.flatnonzero((train.targets > 0) | (np.arange(300) < 30))
    rare = Examples(Features(train.features.values[rows], train.features.lengths[rows]), train.targets[rows])
    test = made(300, seed=1)
    by_balance = [fitted(rare, balanced=balanced).predict_proba(test.features) for balanced in (True, False)]
    recalls = [(found.argmax(axis=1) == test.targets)[test.targets == 0].mean() for found in by_balance]
    assert recalls[0] > max(recalls[1], 0.6)


def test_a_class_without_training_clips_has_probability_0() -> None:
    probabilities = fitted(made(n_classes=2)).predict_proba(made(seed=1).features)
    assert not probabilities[:, 2].any()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_one_class_is_refused() -> None:
    with pytest.raises(TrainingError, match="two classes are needed"):
        fitted(made(n_classes=1))


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    model, test = fitted(made()), made(seed=1).features
    model.save(tmp_path)
    np.testing.assert_array_equal(KernelRidge().load(tmp_path).predict_proba(test), model.predict_proba(test))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kernel_ridge.npz").write_bytes(content)
    with pytest.raises(PluginError, match="is not a model of"):
        KernelRidge().load(tmp_path)
