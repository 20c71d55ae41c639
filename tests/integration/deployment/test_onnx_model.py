from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from marsbench.deployment.formats.onnx import OnnxFormat, classifier_graph
from marsbench.errors import ExportError
from marsbench.plugin.features import FeatureKind, Features, Floats
from marsbench.plugin.keras import import_keras
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.model import Examples, FitContext, Model
from marsbench.plugin.onnx import Graph
from marsbench.plugin.search_space import Defaults, HyperParameters
from marsbench.plugin.sklearn import SklearnModel
from marsbench_plugins.models.cnn_lstm import CnnLstm
from marsbench_plugins.models.gradient_boosting import GradientBoosting
from marsbench_plugins.models.kernel_ridge import KernelRidge
from marsbench_plugins.models.logistic_regression import LogisticRegression
from marsbench_plugins.models.majority import Majority
from marsbench_plugins.models.pca_lda import PcaLda
from marsbench_plugins.models.random_forest import RandomForest
from marsbench_plugins.models.svm import Svm

pytest.importorskip("skl2onnx", reason="skl2onnx, of the extra export, is not installed")
pytest.importorskip("tf2onnx", reason="tf2onnx, of the extra export, is not installed")
runtime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime, of the extra export, is not installed")

N_DIMS = 6
SVM = make_pipeline(StandardScaler(), SVC())


@dataclass
class Given(SklearnModel):
    """Whatever estimator it is given."""

    estimator: Any = None

    def build(self, *_: Any) -> Any:
        return self.estimator


class OfFrames(Given):
    accepts: ClassVar[FeatureKind] = "frames"


class OfItsOwn(Model):
    """Neither scikit-learn's nor Keras's."""


class WithGraph(Model):
    """Two classes, by the first number of the last frame."""

    accepts: ClassVar[FeatureKind] = "frames"
    output = "probabilities"

    def onnx_graph(self) -> Any:
        graph = Graph("last")
        last = graph.input("features", np.float32, ["n_frames", N_DIMS]).part(-1).part(0, 1, axis=1)
        graph.output(self.output, (last * [[-1, 1]]).apply("Softmax", axis=1).reshape(-1), [2])
        return graph.model()


def frames(n_classes: int, n_frames: int = 8) -> Examples:
    """Clips of 1 to `n_frames` frames in dimensions far from standard, classes at corners that overlap."""
    random = np.random.default_rng(0)
    targets = np.arange(60) % n_classes
    lengths = random.integers(1, n_frames + 1, 60)
    means = 2 * np.eye(n_classes, N_DIMS)[targets]
    values = means[:, None] + random.normal(size=(60, n_frames, N_DIMS))
    values = values * [1, 100, 1, 1e-3, 1, 1] + [0, 500, 0, 0, -30, 0]
    values[np.arange(n_frames) >= lengths[:, None]] = 0
    return Examples(Features(values.astype(np.float32), lengths), targets)


def vectors(n_classes: int) -> Examples:
    examples = frames(n_classes)
    return Examples(examples.features.pooled(), examples.targets)


def fitted(model: Model, examples: Examples, n_classes: int) -> Model:
    overrides = {"trees": 100} if isinstance(model, RandomForest) else {}
    return model.fit(examples, Defaults(overrides), FitContext(n_classes, 0))


def answers(model: Model, kind: FeatureKind, clips: list[Floats]) -> Floats:
    graph = runtime.InferenceSession(classifier_graph(model, kind).SerializeToString())
    rows = [graph.run(["probabilities"], {"features": clip})[0] for clip in clips]
    assert {row.dtype for row in rows} == {np.dtype(np.float32)}
    return np.stack(rows)


def unpadded(features: Features) -> list[Floats]:
    return [values[:length] for values, length in zip(features.values, features.lengths, strict=True)]


every_model = pytest.mark.parametrize(
    "model",
    [
        Svm(),
        LogisticRegression(),
        RandomForest(),
        Majority(),
        Given(LinearSVC()),
        Given(ExtraTreesClassifier()),
        PcaLda(),
        KernelRidge(),
    ],
    ids=lambda model: type(getattr(model, "estimator", model)).__name__,
)


@every_model
@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_vector_gives_the_probabilities_of_the_model(model: Model, n_classes: int) -> None:
    examples = vectors(n_classes)
    fitted(model, examples, n_classes)
    given = answers(model, "vector", list(examples.features.values))
    np.testing.assert_allclose(given, model.predict_proba(examples.features), atol=1e-4)


@every_model
def test_frames_are_pooled_for_a_model_of_vectors(model: Model) -> None:
    examples = frames(3)
    pooled = examples.features.pooled()
    fitted(model, Examples(pooled, examples.targets), 3)
    given = answers(model, "frames", unpadded(examples.features))
    np.testing.assert_allclose(given, model.predict_proba(pooled), atol=1e-4)


@pytest.mark.parametrize(
    "model", [Svm(), LogisticRegression(), Majority(), KernelRidge()], ids=lambda model: model.name
)
def test_a_class_without_training_clips_has_probability_0(model: Model) -> None:
    examples = vectors(2)
    fitted(model, Examples(examples.features, 2 * examples.targets), 4)
    given = answers(model, "vector", list(examples.features.values))
    assert not given[:, [1, 3]].any()
    np.testing.assert_allclose(given, model.predict_proba(examples.features), atol=1e-4)


def test_a_calibrated_machine_keeps_its_probabilities() -> None:
    model = Given(make_pipeline(StandardScaler(), CalibratedClassifierCV(SVC(), ensemble=False)))
    examples = vectors(3)
    fitted(model, examples, 3)
    given = answers(model, "vector", list(examples.features.values))
    np.testing.assert_allclose(given, model.predict_proba(examples.features), atol=1e-4)


# skl2onnx 1.20 cannot convert the first; for the second, of two classes, it makes a graph that is wrong.
@pytest.mark.parametrize(
    "estimator",
    [HistGradientBoostingClassifier(max_iter=5), CalibratedClassifierCV(SVM, ensemble=False)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_estimator_without_a_right_graph_is_refused_by_name(estimator: Any) -> None:
    model = fitted(Given(estimator), vectors(2), 2)
    with pytest.raises(ExportError, match=type(estimator).__name__):
        classifier_graph(model, "vector")


def test_gradient_boosting_is_refused_in_one_line() -> None:
    model = fitted(GradientBoosting(max_iter=2), vectors(3), 3)
    message = "^gradient_boosting: skl2onnx cannot convert a HistGradientBoostingClassifier$"
    with pytest.raises(ExportError, match=message):
        classifier_graph(model, "vector")


def test_a_scikit_learn_model_of_frames_is_refused() -> None:
    with pytest.raises(ExportError, match="SklearnModel of frames"):
        classifier_graph(OfFrames(), "frames")


def test_a_model_of_neither_library_is_refused() -> None:
    with pytest.raises(ExportError, match="neither"):
        classifier_graph(OfItsOwn(), "vector")


def test_a_plugin_may_write_its_own_graph() -> None:
    values = np.eye(2, N_DIMS, dtype=np.float32)
    odds = 1 / (1 + np.exp([0, 2]))
    given = answers(WithGraph(), "frames", [values, values[:1]])
    np.testing.assert_allclose(given, np.column_stack([odds, 1 - odds]), rtol=1e-6)


def test_a_graph_with_other_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WithGraph, "output", "odds")
    with pytest.raises(ExportError, match=r"WithGraph: .* features and probabilities are needed"):
        classifier_graph(WithGraph(), "frames")


@pytest.mark.parametrize(
    ("plugin", "has"), [(KernelRidge, True), (WithGraph, True), (Svm, True), (OfItsOwn, False)]
)
def test_only_models_that_have_a_graph_are_exported(plugin: type[Model], has: bool) -> None:
    assert OnnxFormat().has(plugin) is has


@pytest.fixture(scope="module")
def network() -> Model:
    return fitted(CnnLstm(epochs=2, patience=0), frames(3), 3)


def test_a_network_is_given_scaled_and_padded_frames(network: Model) -> None:
    features = frames(3).features
    given = answers(network, "frames", unpadded(features))
    np.testing.assert_allclose(given, network.predict_proba(features), atol=1e-5)


def test_frames_beyond_those_of_the_training_are_cut(network: Model) -> None:
    longer = frames(3, n_frames=12).features.values[:20]
    given = answers(network, "frames", [*longer, *longer[:, :8]])
    np.testing.assert_allclose(given[:20], given[20:], atol=1e-6)


@dataclass
class Layer(KerasModel):
    accepts: ClassVar[FeatureKind] = "vector"

    def build(self, _: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        keras = import_keras()
        return keras.Sequential([keras.Input(input_shape), keras.layers.Dense(n_classes, "softmax")])


@pytest.fixture(scope="module")
def layer() -> Model:
    return fitted(Layer(epochs=2, patience=0), vectors(3), 3)


def test_a_network_of_vectors_is_given_scaled_vectors(layer: Model) -> None:
    features = vectors(3).features
    given = answers(layer, "vector", list(features.values))
    np.testing.assert_allclose(given, layer.predict_proba(features), atol=1e-5)


def test_a_network_of_vectors_is_given_the_mean_of_frames(layer: Model) -> None:
    features = frames(3).features
    given = answers(layer, "frames", unpadded(features))
    np.testing.assert_allclose(given, layer.predict_proba(features.pooled()), atol=1e-5)


@dataclass
class Normed(KerasModel):
    """A layer normalisation behind a convolution that leaves half of the frames."""

    accepts: ClassVar[FeatureKind] = "frames"

    def build(self, _: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        layers = import_keras().layers
        steps = [layers.Conv1D(4, 3, strides=2, padding="same"), layers.LayerNormalization()]
        last = [layers.Flatten(), layers.Dense(n_classes, "softmax")]
        return import_keras().Sequential([import_keras().Input(input_shape), *steps, *last])


# tf2onnx 1.17 makes another function of it where a single step is left.
@pytest.mark.parametrize("n_frames", [1, 3])
def test_a_network_of_very_short_clips_keeps_its_probabilities(n_frames: int) -> None:
    examples = frames(3, n_frames)
    model = fitted(Normed(epochs=1, patience=0), examples, 3)
    given = answers(model, "frames", unpadded(examples.features))
    np.testing.assert_allclose(given, model.predict_proba(examples.features), atol=1e-5)
