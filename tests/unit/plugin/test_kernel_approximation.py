"""RBF machines of more clips than their time allows are approximated, which is said."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from marsbench.deployment.formats.onnx import classifier_graph
from marsbench.errors import ExportError
from marsbench.plugin import Examples, Features, FitContext, HyperParameters
from marsbench.plugin import kernel_approximation as approximation
from marsbench.plugin.kernel_matrix import decision_values, fit_machine
from marsbench.plugin.search_space import Defaults
from marsbench.plugin.sklearn import SklearnModel

Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]
N_CLIPS = 200


@pytest.fixture(autouse=True)
def _few_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MOST_CLIPS": N_CLIPS - 1, "_LANDMARKS": 50, "_BLOCK": 37}.items():
        monkeypatch.setattr(approximation, name, value)


def clips(n_classes: int, seed: int = 0, n_clips: int = N_CLIPS) -> Arrays:
    random = np.random.default_rng(seed)
    targets = np.minimum(random.integers(0, n_classes + 1, n_clips), n_classes - 1)
    return 3 * random.normal(size=(n_clips, 6)) + 9 * np.eye(n_classes, 6)[targets], targets


class Machine(SklearnModel):
    """The machine that a test asks for."""

    def __init__(self, scaler: Any = StandardScaler) -> None:
        self.scaler = scaler

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:  # noqa: ARG002 - needs none
        return make_pipeline(self.scaler(), SVC(C=10.0, class_weight="balanced"))

    def fitted_to(self, values: NDArray[np.float64], targets: NDArray[np.int64]) -> "Machine":
        train = Examples(features_of(values), targets)
        return self.fit(train, Defaults({}), FitContext(n_classes=int(targets.max()) + 1, seed=3))


def features_of(values: NDArray[np.float64]) -> Features:
    return Features(values.astype(np.float32), np.ones(len(values), np.int64))


def approximated(machine: Any) -> Any:
    with pytest.warns(UserWarning, match="scores may differ"):
        return approximation.of_size(machine, N_CLIPS)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize("gamma", ["scale", "auto", 0.3])
def test_blocks_come_to_what_scikit_learn_fits_at_once(n_classes: int, weight: Any, gamma: Any) -> None:
    values, targets = clips(n_classes)
    machine = make_pipeline(StandardScaler(), SVC(C=10.0, gamma=gamma, class_weight=weight))
    ours = approximated(machine).set_params(landmarks__random_state=0)
    numbers = {"scale": 1 / 6, "auto": 1 / 6}
    theirs = clone(ours).set_params(landmarks__gamma=numbers.get(gamma, gamma)).fit(values, targets)
    unseen = clips(n_classes, seed=1)[0]
    found = decision_values(fit_machine(ours, values, targets), unseen)
    assert np.allclose(found, theirs.decision_function(unseen), atol=1e-6)
    assert ours[-1].coef_.shape == theirs[-1].coef_.shape


@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_model_of_many_clips_scores_like_the_machine_and_serves_as_it(
    n_classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (values, targets), (unseen, truth) = clips(n_classes), clips(n_classes, seed=1)
    model = Machine().fitted_to(values, targets)
    probabilities = model.predict_proba(features_of(unseen))
    monkeypatch.setattr(approximation, "MOST_CLIPS", N_CLIPS)
    exact = Machine().fitted_to(values, targets).predict_proba(features_of(unseen))
    right = [float((one.argmax(axis=1) == truth).mean()) for one in (probabilities, exact)]
    assert right[0] > right[1] - 0.05
    model.save(tmp_path)
    assert np.array_equal(Machine().load(tmp_path).predict_proba(features_of(unseen)), probabilities)
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime, of the extra export, is not installed")
    session = runtime.InferenceSession(classifier_graph(model, "vector").SerializeToString())
    answers = [session.run(None, {"features": row})[0] for row in unseen.astype(np.float32)]
    assert np.allclose(answers, probabilities, atol=1e-6)


def test_the_run_is_told_once_however_many_fits_there_were() -> None:
    (said,) = Machine().fitted_to(*clips(3)).warnings_
    assert said.startswith("more than 199 training clips")
    assert "\n" not in said


def test_up_to_the_limit_nothing_changes_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    values, targets = clips(3)
    monkeypatch.setattr(approximation, "MOST_CLIPS", N_CLIPS)
    model = Machine().fitted_to(values, targets)
    assert not model.warnings_
    assert type(model.estimator_[-1]) is SVC


@pytest.mark.parametrize(
    "estimator",
    [SVC(kernel="poly"), StandardScaler(), CalibratedClassifierCV(SVC())],
    ids=["poly", "no machine", "wrapped"],
)
def test_other_estimators_stay_what_they_are(estimator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert approximation.of_size(estimator, N_CLIPS) is estimator


def test_a_machine_behind_other_steps_says_why_it_has_no_graph() -> None:
    pytest.importorskip("onnx", reason="onnx, of the extra export, is not installed")
    model = Machine(MinMaxScaler).fitted_to(*clips(3))
    with pytest.raises(ExportError, match="behind MinMaxScaler cannot be converted to ONNX"):
        classifier_graph(model, "vector")
