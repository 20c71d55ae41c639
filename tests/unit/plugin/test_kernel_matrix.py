"""Machines fitted by a kernel matrix are those that scikit-learn fits by itself."""

from typing import Any

import numpy as np
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC, NuSVC

from marsbench.plugin import kernel_matrix
from marsbench.plugin.kernel_matrix import decision_values, fit_machine

Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]


def clips(n_clips: int, n_dims: int, n_classes: int = 3, n_copies: int = 0, seed: int = 0) -> Arrays:
    """Values and classes; the last `n_copies` clips have the values of the first ones, not their classes."""
    random = np.random.default_rng(seed)
    targets = np.arange(n_clips) % n_classes
    values = random.normal(size=(n_clips, n_dims)) + np.eye(n_classes, n_dims)[targets]
    if n_copies:
        values[-n_copies:] = values[:n_copies]
    return values, targets


class HalfPipeline(Pipeline):  # type: ignore[misc]  # scikit-learn has no types
    """Trains on every other clip, as pipelines that resample do."""

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:  # noqa: N803 - scikit-learn's names
        return super().fit(X[::2], y[::2], **params)


def assert_equal(ours: Any, theirs: Any, unseen: NDArray[np.float64]) -> None:
    ours, theirs = (one[-1] if hasattr(one, "steps") else one for one in (ours, theirs))
    assert vars(ours).keys() == vars(theirs).keys()
    assert ours.get_params() == theirs.get_params()
    for name, value in vars(theirs).items():
        mine = getattr(ours, name)
        assert type(mine) is type(value), name
        if isinstance(value, np.ndarray):
            assert (mine.dtype, mine.shape) == (value.dtype, value.shape), name
            assert np.allclose(mine, value, rtol=1e-9, atol=1e-11), name
    assert np.array_equal(ours.support_, theirs.support_)
    assert np.array_equal(ours.predict(unseen), theirs.predict(unseen))
    for values in (unseen, unseen[:1]):
        assert np.allclose(decision_values(ours, values), theirs.decision_function(values), atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(
    n_clips=st.integers(6, 60),
    n_dims=st.integers(3, 80),
    n_classes=st.integers(2, 3),
    n_copies=st.integers(0, 3),
    gamma=st.one_of(st.sampled_from(["scale", "auto", 0.0, 1]), st.floats(1e-6, 100)),
    c=st.floats(1e-3, 1e4),
    options=st.fixed_dictionaries(
        {
            "class_weight": st.sampled_from([None, "balanced", {0: 7.0}]),
            "break_ties": st.booleans(),
            "shrinking": st.booleans(),
        }
    ),
)
def test_a_machine_equals_scikit_learns(
    n_clips: int, n_dims: int, n_classes: int, n_copies: int, gamma: Any, c: float, options: dict[str, Any]
) -> None:
    values, targets = clips(n_clips, n_dims, n_classes, n_copies)
    machine = SVC(C=c, gamma=gamma, **options)
    unseen = clips(40, n_dims, n_classes, seed=1)[0]
    assert_equal(fit_machine(clone(machine), values, targets), machine.fit(values, targets), unseen)


@pytest.mark.parametrize("n_classes", [2, 8])
def test_a_pipeline_equals_scikit_learns_and_is_loaded_without_trust(n_classes: int) -> None:
    values, targets = clips(300, 50, n_classes)
    pipeline = make_pipeline(StandardScaler(), SVC(C=10.0, class_weight="balanced", break_ties=True))
    ours = fit_machine(clone(pipeline), 40 * values + 5, targets)
    assert_equal(ours, pipeline.fit(40 * values + 5, targets), clips(40, 50, n_classes, seed=1)[0])
    again = skops.io.loads(skops.io.dumps(ours))
    assert np.array_equal(again.decision_function(values), ours.decision_function(values))


@pytest.mark.parametrize(
    ("estimator", "scale"),
    [
        (SVC(kernel="poly"), 1.0),
        (SVC(gamma=1.0), 1e6),
        (LinearSVC(random_state=0), 1.0),
        (NuSVC(), 1.0),
        (make_pipeline(SVC()), 1.0),
        (HalfPipeline([("scaler", StandardScaler()), ("machine", SVC())]), 1.0),
        (make_pipeline(OneHotEncoder(handle_unknown="ignore"), SVC()), 1.0),
    ],
    ids=["poly", "rounded", "linear", "nu", "one-step", "own pipeline", "sparse"],
)
def test_any_estimator_is_fitted_as_by_itself(estimator: Any, scale: float) -> None:
    values, targets = clips(60, 5)
    ours = fit_machine(clone(estimator), scale * values, targets)
    theirs = clone(estimator).fit(scale * values, targets)
    unseen = scale * clips(40, 5, seed=1)[0]
    assert np.allclose(decision_values(ours, unseen), theirs.decision_function(unseen), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("limit", [0, 60 * 60 * 8 - 1])
def test_what_is_too_large_for_a_matrix_is_fitted_without_one(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_matrix, "_MOST_BYTES", limit)
    values, targets = clips(60, 5)
    assert_equal(fit_machine(SVC(), values, targets), SVC().fit(values, targets), clips(40, 5, seed=1)[0])


def test_a_machine_that_scikit_learn_would_read_otherwise_is_fitted_without_a_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel: Any = kernel_matrix._kernel
    monkeypatch.setattr(kernel_matrix, "_kernel", lambda *given: kernel(*given) ** 2)
    values, targets = clips(60, 5)
    ours = fit_machine(SVC(gamma=0.1), values, targets)
    monkeypatch.undo()
    assert_equal(ours, SVC(gamma=0.1).fit(values, targets), values)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e200], ids=str)
def test_what_scikit_learn_refuses_is_refused_in_its_words(broken: float) -> None:
    values, targets = clips(60, 5)
    values[3, 2] = broken
    with pytest.raises(ValueError, match="contain") as theirs:
        SVC(gamma=0.1).fit(values, targets)
    with pytest.raises(ValueError, match="contain") as ours:
        fit_machine(SVC(gamma=0.1), values, targets)
    assert str(ours.value) == str(theirs.value)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.1, 0.5, 3.0])), min_size=2, max_size=12))
@settings(max_examples=20, deadline=None)
def test_fits_that_follow_one_another_give_what_each_gives_alone(fits: list[tuple[int, float]]) -> None:
    def dual(seed: int, gamma: float) -> bytes:
        machine = fit_machine(SVC(gamma=gamma), *clips(40, 3, seed=seed))
        return bytes(machine.dual_coef_.tobytes() + machine.intercept_.tobytes())

    together = [dual(*fit) for fit in fits]
    for fit, found in zip(fits, together, strict=True):
        kernel_matrix._kept.clear()
        assert dual(*fit) == found


def test_products_are_kept_up_to_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_matrix, "_MOST_KEPT", 3 * 8 * (40 * 3 + 40 * 40))
    for seed in range(9):
        fit_machine(SVC(gamma=1.0), *clips(40, 3, seed=seed))
    assert len(kernel_matrix._kept) == 3


def test_changed_values_are_not_taken_for_those_of_before() -> None:
    values, targets = clips(40, 3)
    before = fit_machine(SVC(gamma=1.0), values, targets).dual_coef_
    values[-1] += 1.0
    assert not np.array_equal(fit_machine(SVC(gamma=1.0), values, targets).dual_coef_, before)
