"""The base of scikit-learn models."""

import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OutputCodeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from marsbench.errors import PluginError, TrainingError
from marsbench.plugin.features import Features
from marsbench.plugin.model import Examples, FitContext
from marsbench.plugin.search_space import Defaults, HyperParameters
from marsbench.plugin.sklearn import SklearnModel, seed_estimator


@dataclass
class Wrap(SklearnModel):
    """Trains what `make` makes."""

    make: Callable[[], Any] = LogisticRegression

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:  # noqa: ARG002 - fixed
        return self.make()


def examples(counts: tuple[int, ...] = (12, 12, 12), spread: float = 1.0) -> Examples:
    random = np.random.default_rng(0)
    targets = np.repeat(np.arange(len(counts)), counts)
    values = random.normal(scale=spread, size=(len(targets), 4)) + 4 * np.eye(4)[targets]
    return Examples(Features(values.astype(np.float32), np.ones_like(targets)), targets)


def fitted(make: Callable[[], Any], train: Examples | None = None, n_classes: int = 3, seed: int = 0) -> Wrap:
    return Wrap(make).fit(examples() if train is None else train, Defaults(), FitContext(n_classes, seed))


def forest() -> Any:
    return RandomForestClassifier(10)


def svm() -> Any:
    return make_pipeline(StandardScaler(), SVC(break_ties=True))


ESTIMATORS = [LogisticRegression, forest, svm, RidgeClassifier, KNeighborsClassifier]


@pytest.mark.parametrize("make", ESTIMATORS)
def test_rows_are_probabilities_in_the_order_of_classes(make: Callable[[], Any]) -> None:
    train = examples(spread=0.1)
    answer = fitted(make, train).predict_proba(train.features)
    assert answer.dtype == np.float64
    assert np.allclose(answer.sum(axis=1), 1)
    assert np.array_equal(answer.argmax(axis=1), train.targets)


@pytest.mark.parametrize("make", ESTIMATORS)
@pytest.mark.parametrize("counts", [(12, 0, 12, 12), (0, 12, 12, 0)])
def test_a_class_without_training_clips_gets_probability_0(
    make: Callable[[], Any], counts: tuple[int, ...]
) -> None:
    train = examples(counts)
    answer = fitted(make, train, n_classes=4).predict_proba(train.features)
    absent = [index for index, count in enumerate(counts) if not count]
    assert answer.shape == (len(train), 4)
    assert not answer[:, absent].any()
    assert np.allclose(answer.sum(axis=1), 1)


@pytest.mark.parametrize("make", ESTIMATORS)
def test_a_saved_model_answers_the_same_when_loaded(make: Callable[[], Any], tmp_path: Path) -> None:
    model, features = fitted(make), examples().features
    model.save(tmp_path)
    loaded = Wrap(make).load(tmp_path)
    assert np.array_equal(loaded.predict_proba(features), model.predict_proba(features))
    assert loaded.n_parameters_ == model.n_parameters_


def boosting() -> Any:
    return HistGradientBoostingClassifier(max_iter=20, early_stopping=True, min_samples_leaf=2)


CALIBRATED = [*ESTIMATORS, LinearDiscriminantAnalysis, boosting]


@pytest.mark.parametrize("spread", [0.5, 4.0])
@pytest.mark.parametrize("make", CALIBRATED)
def test_calibration_leaves_the_most_probable_class(make: Callable[[], Any], spread: float) -> None:
    model = fitted(make, examples((30, 30, 30), spread))
    values = examples((30, 30, 30), 2 * spread).features
    chosen = model.predict_proba(values).argmax(axis=1)
    assert model.temperature_ not in {None, 1.0}
    if hasattr(model.estimator_, "predict_proba"):  # of equal probabilities either may be chosen
        own = model.estimator_.predict_proba(values.values.astype(float))
        assert own[np.arange(len(chosen)), chosen] == pytest.approx(own.max(axis=1), rel=1e-9)
    else:
        assert np.array_equal(chosen, model.estimator_.predict(values.values))


@pytest.mark.parametrize("make", CALIBRATED)
def test_a_draft_is_not_calibrated_and_chooses_the_same(make: Callable[[], Any]) -> None:
    train = examples(spread=4.0)
    draft = Wrap(make).fit(train, Defaults(), FitContext(3, 0, is_draft=True))
    assert draft.temperature_ in {None, 1.0}
    answers = [model.predict_proba(train.features).argmax(axis=1) for model in (draft, fitted(make, train))]
    assert np.mean(answers[0] == answers[1]) == 1


def test_frequencies_of_classes_are_not_calibrated() -> None:
    train = examples((20, 10, 10))
    assert fitted(DummyClassifier, train).predict_proba(train.features)[0] == pytest.approx([0.5, 0.25, 0.25])


class Nearest(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The class with the nearest mean; keeps the first values of clips that it is given, by fit."""

    log: ClassVar[list[tuple[set[float], ...]]] = []
    """Clips that were fitted on, held out for early stopping, predicted."""

    def __init__(self, early_stopping: bool = False) -> None:
        self.early_stopping = early_stopping

    def fit(
        self, X: Any, y: Any, *, X_val: Any = (), y_val: Any = (), sample_weight_val: Any = ()  # noqa: N803
    ) -> Any:  # fmt: skip
        assert set(y_val) <= set(y)
        assert len(X_val) == len(sample_weight_val)
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == target].mean(axis=0) for target in self.classes_])
        self.seen_: tuple[set[float], ...] = set(X[:, 0]), {row[0] for row in X_val}, set()
        self.log.append(self.seen_)
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        self.seen_[2].update(X[:, 0])
        distances = ((X[:, None] - self.means_) ** 2).sum(axis=2)
        likelihoods = np.exp(distances.min(axis=1, keepdims=True) - distances)
        return likelihoods / likelihoods.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("make", [Nearest, lambda: Nearest(early_stopping=True)], ids=["plain", "early"])
@given(
    clips=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=6, max_size=60),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_no_group_is_on_both_sides_of_a_split_inside_a_fit(
    make: Callable[[], Any], clips: list[tuple[int, int]], seed: int
) -> None:
    groups, targets = map(np.array, zip(*clips, strict=True))
    if len(np.unique(targets)) < 2 or len(np.unique(groups)) < 2:
        return
    values = np.column_stack([groups, np.eye(3)[targets]]).astype(np.float32)
    train = Examples(Features(values, np.ones_like(targets)), targets)
    Nearest.log.clear()
    Wrap(make).fit(train, Defaults(), FitContext(3, seed, groups=groups))
    for fitted_on, held_out, predicted in Nearest.log:
        assert fitted_on.isdisjoint(held_out)
        if len(np.unique(groups)) < len(groups):
            assert predicted.isdisjoint(fitted_on | held_out)


@pytest.mark.parametrize("make", [boosting, lambda: make_pipeline(StandardScaler(), boosting())])
def test_gradient_boosting_stops_by_whole_groups(make: Callable[[], Any]) -> None:
    train = examples((40, 40, 40))
    groups = np.arange(len(train)) // 2
    free, bound = (
        Wrap(make).fit(train, Defaults(), FitContext(3, 0, groups=given)).predict_proba(train.features)
        for given in (None, groups)
    )
    assert free.shape == bound.shape
    assert not np.array_equal(free, bound)


def twins(n_pairs: int, seed: int) -> Examples:
    """Pairs of almost equal clips, whose class only the other one tells."""
    random = np.random.default_rng(seed)
    values = np.repeat(random.normal(size=(n_pairs, 8)), 2, axis=0) + random.normal(0, 0.01, (2 * n_pairs, 8))
    targets = np.repeat(random.integers(0, 3, n_pairs), 2)
    return Examples(Features(values.astype(np.float32), np.ones_like(targets)), targets)


@pytest.mark.parametrize(
    "make", [lambda: SVC(C=100.0), lambda: KNeighborsClassifier(3, weights="distance"), forest]
)
def test_twins_in_one_group_do_not_feign_certainty(make: Callable[[], Any]) -> None:
    train, other = twins(60, 0), twins(60, 1)
    losses = []
    for groups in (np.arange(len(train)) // 2, None):
        model = Wrap(make).fit(train, Defaults(), FitContext(3, 0, groups=groups))
        losses.append(log_loss(other.targets, model.predict_proba(other.features)))
    assert losses[0] < np.log(3) + 0.1 < losses[1] - 0.2


def test_a_single_group_is_calibrated_like_clips_without_groups() -> None:
    train = examples((20, 20, 20), 4.0)
    together, apart = (
        Wrap(svm).fit(train, Defaults(), FitContext(3, 0, groups=groups)).temperature_
        for groups in (np.zeros(60, int), np.arange(60))
    )
    assert together == apart == fitted(svm, train).temperature_


def test_an_estimator_that_fails_on_parts_of_the_clips_is_not_calibrated_and_says_so() -> None:
    model = fitted(lambda: KNeighborsClassifier(36))
    assert model.temperature_ is None
    assert model.warnings_[0].startswith(
        "probabilities are not calibrated: Expected n_neighbors <= n_samples"
    )


def test_probabilities_are_flatter_where_classes_overlap_more() -> None:
    clear, muddled = (fitted(svm, examples((40, 40, 40), spread)).temperature_ for spread in (0.5, 4.0))
    assert clear is not None
    assert muddled is not None
    assert clear < muddled


@pytest.mark.parametrize("counts", [(1, 12, 12), (2, 12, 12)])
def test_a_class_of_one_or_two_clips_does_not_stop_the_calibration(counts: tuple[int, ...]) -> None:
    train = examples(counts)
    model = fitted(svm, train)
    assert np.isfinite(model.predict_proba(train.features)).all()
    assert (model.temperature_ == 1.0) == (counts[0] == 1)


@pytest.mark.parametrize("counts", [(0, 12, 0), (0, 0, 0)])
def test_fewer_than_two_classes_cannot_be_learnt(counts: tuple[int, ...]) -> None:
    with pytest.raises(TrainingError, match=f"{sum(counts)} clips of .* class.*; two classes are needed"):
        fitted(svm, examples(counts))


def test_a_seed_decides_the_fit() -> None:
    features = examples(spread=4.0).features
    one, same, other = (
        fitted(forest, examples(spread=4.0), seed=s).predict_proba(features) for s in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_every_random_state_is_seeded_nested_ones_and_shuffling_splitters_too() -> None:
    search = GridSearchCV(make_pipeline(StandardScaler(), forest()), {}, cv=KFold(3, shuffle=True))
    seed_estimator(search, 5)
    assert search.cv.random_state == 5
    assert search.estimator[-1].random_state == 5


def test_what_the_estimator_warns_of_is_kept_and_not_printed() -> None:
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        model = fitted(lambda: LogisticRegression(max_iter=1))
    assert not leaked
    assert len(model.warnings_) == 1
    assert "failed to converge" in model.warnings_[0]


def test_a_quiet_fit_leaves_no_warnings() -> None:
    assert fitted(LogisticRegression).warnings_ == ()


@pytest.mark.parametrize("make", [LogisticRegression, forest, KNeighborsClassifier])
def test_a_few_clips_without_an_error_do_not_make_certain(make: Callable[[], Any]) -> None:
    answer = fitted(make, examples((12, 12, 12), 0.5)).predict_proba(examples((12, 12, 12), 4.0).features)
    assert answer.min() > 0


@pytest.mark.parametrize(
    ("make", "expected"),
    [(LogisticRegression, 3 * 4 + 3), (RidgeClassifier, 3 * 4 + 3), (forest, None)],
)
def test_parameters_are_counted_where_the_notion_makes_sense(
    make: Callable[[], Any], expected: int | None
) -> None:
    assert fitted(make).n_parameters_ == expected


def test_an_svm_counts_its_support_vectors() -> None:
    model = fitted(svm)
    n_vectors = len(model.estimator_[-1].support_vectors_)
    assert model.n_parameters_ == n_vectors * 4 + n_vectors * 2 + 3


@pytest.mark.parametrize(
    ("returned", "named"), [(SVC, "SVC"), (None, "NoneType"), (StandardScaler(), "StandardScaler")]
)
def test_build_must_return_a_classifier(returned: object, named: str) -> None:
    with pytest.raises(PluginError, match=f"build returned {named}; an unfitted scikit-learn classifier"):
        fitted(lambda: returned)


@pytest.mark.parametrize(
    "build",
    [
        lambda: VotingClassifier([("a", LogisticRegression()), ("b", SVC())], voting="hard"),
        lambda: make_pipeline(StandardScaler(), VotingClassifier([("a", SVC())])),
        lambda: OutputCodeClassifier(SVC()),
    ],
    ids=["voting", "voting in a pipeline", "output codes"],
)
def test_a_classifier_without_probabilities_is_called_that(build: Callable[[], Any]) -> None:
    with pytest.raises(PluginError, match="has neither predict_proba nor decision_function") as caught:
        fitted(build)
    assert "\n" not in str(caught.value)


class Unsure(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    """Answers NaN."""

    def predict_proba(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        return np.full((len(X), 3), np.nan)


class TrustsUnsure(Wrap):
    """Names the foreign type."""

    trusted: ClassVar[tuple[str, ...]] = (f"{__name__}.Unsure",)


def test_nan_is_no_probability() -> None:
    with pytest.raises(TrainingError, match="NaN"):
        fitted(Unsure).predict_proba(examples().features)


class Answers(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    """Returns something made of its probabilities, and None from `fit`."""

    def __init__(self, change: Any = None) -> None:
        super().__init__()
        self.change = change

    def fit(self, X: Any, y: Any) -> None:  # noqa: N803 - scikit-learn's name
        super().fit(X, y)

    def predict_proba(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        return self.change(super().predict_proba(X))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(np.negative, "negative probabilities", id="negative"),
        pytest.param(lambda p: np.ma.masked_less(p, 0.1), "masked array", id="masked"),
        pytest.param(lambda p: p + 0j, "complex128 of shape", id="complex"),
        pytest.param(lambda p: p.astype(str), "<U32 of shape", id="text"),
        pytest.param(lambda p: p > 0.5, "bool of shape", id="bool"),
        pytest.param(lambda p: p[:, :2], r"shape \(36, 2\); real numbers of shape \(36, 3\)", id="columns"),
        pytest.param(lambda p: p.T, r"shape \(3, 36\)", id="transposed"),
        pytest.param(lambda p: p.max(axis=1), r"shape \(36,\)", id="one number a clip"),
    ],
)
def test_what_is_no_probability_is_refused(change: Callable[..., Any], told: str) -> None:
    with pytest.raises(TrainingError, match=told) as caught:
        fitted(lambda: Answers(change)).predict_proba(examples().features)
    assert "\n" not in str(caught.value)


def test_fit_need_not_return_the_estimator() -> None:
    usual = fitted(LogisticRegression).predict_proba(examples().features)
    assert np.array_equal(fitted(lambda: Answers(np.array)).predict_proba(examples().features), usual)


def test_decision_values_of_pairs_of_classes_are_refused() -> None:
    with pytest.raises(PluginError, match="with decision_function_shape='ovo'; 'ovr' is needed"):
        fitted(lambda: make_pipeline(StandardScaler(), SVC(decision_function_shape="ovo")))


def test_no_clips_get_no_rows() -> None:
    assert fitted(svm).predict_proba(examples((0, 0, 0)).features).shape == (0, 3)


def test_a_type_that_load_would_refuse_is_refused_by_save(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"contains the type .*Unsure, which is not trusted"):
        fitted(Unsure).save(tmp_path)


def test_a_plugin_may_trust_a_type_of_its_own(tmp_path: Path) -> None:
    model = TrustsUnsure(Unsure).fit(examples(), Defaults(), FitContext(3, 0))
    model.save(tmp_path)
    assert isinstance(TrustsUnsure(Unsure).load(tmp_path).estimator_, Unsure)


def test_a_file_that_would_run_a_function_is_refused(tmp_path: Path) -> None:
    hostile = make_pipeline(FunctionTransformer(np.testing.rundocs), LogisticRegression())
    skops.io.dump({"estimator": hostile}, tmp_path / "model.skops")
    with pytest.raises(PluginError, match=r"contains the type numpy\.testing.*rundocs"):
        Wrap().load(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"no zip", pickle.dumps([1])])
def test_anything_else_than_a_saved_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "model.skops").write_bytes(content)
    with pytest.raises(PluginError, match="not a model of test_sklearn"):
        Wrap().load(tmp_path)


@pytest.mark.parametrize("state", [[1], {"estimator": 1}])
def test_a_skops_file_of_something_else_is_refused(tmp_path: Path, state: object) -> None:
    skops.io.dump(state, tmp_path / "model.skops")
    with pytest.raises(PluginError, match="not a model of test_sklearn"):
        Wrap().load(tmp_path)


def with_dev(make: Callable[[], Any], dev: Examples) -> Wrap:
    context = FitContext(3, 0, validation=dev, validation_is_dev=True)
    return Wrap(make).fit(examples(), Defaults(), context)


@pytest.mark.parametrize("make", [svm, RidgeClassifier, LogisticRegression])
def test_probabilities_are_calibrated_on_dev_which_is_not_trained_on(make: Callable[[], Any]) -> None:
    easy, hard = (examples((9, 9, 0), spread) for spread in (0.1, 4.0))
    sure, unsure = with_dev(make, easy), with_dev(make, hard)
    inputs = examples().features

    assert (sure.temperature_ or 0) < (unsure.temperature_ or 0)
    assert sure.predict_proba(inputs).max() > unsure.predict_proba(inputs).max()
    np.testing.assert_array_equal(
        sure.predict_proba(inputs).argmax(1), fitted(make).predict_proba(inputs).argmax(1)
    )


def test_boosting_stops_early_by_dev() -> None:
    def boosting() -> Any:
        return HistGradientBoostingClassifier(
            max_iter=40, early_stopping=True, n_iter_no_change=3, min_samples_leaf=2
        )

    wrong = Examples(examples().features, examples().targets[::-1].copy())
    assert with_dev(boosting, wrong).estimator_.n_iter_ < with_dev(boosting, examples()).estimator_.n_iter_
