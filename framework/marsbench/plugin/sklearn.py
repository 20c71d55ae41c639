"""Base of scikit-learn models: a subclass implements `build`."""

import warnings
import zipfile
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.errors import PluginError, TrainingError
from marsbench.plugin.features import FeatureKind, Features
from marsbench.plugin.model import Examples, FitContext, Model, Probabilities
from marsbench.plugin.search_space import HyperParameters

_FILE = "model.skops"
_CALIBRATION_FOLDS = 5

TRUSTED = frozenset(
    {
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
    }
)
"""Types of scikit-learn that only contain data, in addition to those that skops trusts by itself.

Whole modules are not trusted: NumPy, SciPy and scikit-learn contain functions that execute text.
"""


class SklearnModel(Model):
    """A scikit-learn classifier or pipeline.

    For an estimator without `predict_proba`, such as a support vector machine, probabilities are the softmax
    of its decision function divided by a temperature (Guo et al. 2017, arXiv:1706.04599). The temperature
    minimises the log loss on held-out folds of the training clips; it is 1 in a draft. The most probable
    class is the one that the estimator predicts.
    """

    accepts: ClassVar[FeatureKind] = "vector"
    requires: ClassVar[tuple[str, ...]] = ("scikit-learn",)
    trusted: ClassVar[tuple[str, ...]] = ()
    """Full names of further types that a saved estimator of this plugin may contain."""

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Unfitted classifier of the configuration in `hp`.

        `input_shape` is (n_dims,), or (n_frames, n_dims) if the plugin accepts `frames`; its classifier is
        then fitted on three-dimensional arrays. Every `random_state` is set to the fit's seed afterwards.
        """
        raise NotImplementedError

    def declare(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> None:
        """Declare the hyperparameters of `build`."""
        self.build(hp, input_shape, n_classes)

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Train on `train`.

        Raises:
            PluginError: `build` did not return a classifier.
            TrainingError: fewer than two classes among the clips.
        """
        n_present = len(np.unique(train.targets))
        if n_present < 2:
            raise TrainingError(
                f"{self.name}: {len(train)} clips of {n_present} class(es); two classes are needed"
            )
        estimator = self.build(hp, train.features.input_shape, context.n_classes)
        self._require_classifier(estimator)
        seed_estimator(estimator, context.seed)
        values = train.features.values.astype(np.float64)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.temperature_ = _temperature(estimator, values, train.targets, context)
            self.estimator_ = estimator.fit(values, train.targets)
        self.warnings_ = tuple(dict.fromkeys(_first_line(entry.message) for entry in caught))
        self.n_classes_ = context.n_classes
        self.n_parameters_ = _count_parameters(self.estimator_)
        return self

    def predict_proba(self, features: Features) -> Probabilities:
        """Class probabilities, float64 (n_clips, n_classes); 0 for a class without training clips.

        Raises:
            TrainingError: the estimator returns NaN or infinite probabilities.
        """
        probabilities = np.zeros((len(features), self.n_classes_))
        if len(features):
            values = features.values.astype(np.float64)
            probabilities[:, self.estimator_.classes_] = self._probabilities(values)
        if not np.isfinite(probabilities).all():
            raise TrainingError(f"{self.name}: the estimator's probabilities are NaN or infinite")
        return probabilities

    def save(self, folder: Path) -> None:
        """Write one skops file; raises PluginError if it contains types that `load` would refuse."""
        import skops.io

        state = {
            "estimator": self.estimator_,
            "n_classes": self.n_classes_,
            "temperature": self.temperature_,
            "n_parameters": self.n_parameters_,
        }
        skops.io.dump(state, folder / _FILE)
        self._trusted_types(folder / _FILE)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            PluginError: not a skops file that `save` wrote, or one with a type that is not trusted.
        """
        import skops.io

        path = folder / _FILE
        try:
            state = skops.io.load(path, trusted=self._trusted_types(path))
            self.estimator_, self.n_classes_ = state["estimator"], int(state["n_classes"])
            self.temperature_, self.n_parameters_ = state["temperature"], state["n_parameters"]
        except (OSError, ValueError, TypeError, LookupError, AttributeError, zipfile.BadZipFile) as error:
            raise PluginError(f"{path} is not a model of {self.name}: {_first_line(error)}") from error
        return self

    def _require_classifier(self, estimator: Any) -> None:
        from sklearn.base import is_classifier

        returned = f"{self.name}.build returned {getattr(estimator, '__name__', type(estimator).__name__)}"
        if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
            raise PluginError(f"{returned}; an unfitted scikit-learn classifier is needed")
        if hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function"):
            return
        if is_classifier(estimator):
            raise PluginError(
                f"{returned}, which has neither predict_proba nor decision_function and so gives no "
                "probabilities; choose parameters with which it has one, or another classifier"
            )
        raise PluginError(f"{returned}; an unfitted scikit-learn classifier is needed")

    def _probabilities(self, values: NDArray[np.float64]) -> Probabilities:
        """Probabilities of the classes that have training clips, (n_clips, n_present_classes)."""
        if self.temperature_ is not None:
            return _softmax(_scores(self.estimator_.decision_function(values)) / self.temperature_)
        probabilities: Probabilities = np.asarray(self.estimator_.predict_proba(values), np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return probabilities

    def _trusted_types(self, path: Path) -> list[str]:
        """Types in the file that skops does not trust; raises PluginError if this plugin does not either."""
        import skops.io

        types = list(skops.io.get_untrusted_types(file=path))
        untrusted = sorted(set(types) - TRUSTED - set(self.trusted))
        if untrusted:
            raise PluginError(
                f"{path.name} of {self.name} contains the type {untrusted[0]}, which is not trusted; "
                "if loading it executes no code, add it to the plugin's `trusted`"
            )
        return types


def seed_estimator(estimator: Any, seed: int) -> None:
    """Set every `random_state` of an estimator, of nested estimators and of shuffling splitters."""
    parameters = estimator.get_params(deep=True)
    estimator.set_params(**{name: seed for name in parameters if name.split("__")[-1] == "random_state"})
    for value in parameters.values():
        if getattr(value, "shuffle", False) and hasattr(value, "split"):
            value.random_state = seed


def _temperature(
    estimator: Any, values: NDArray[np.float64], targets: NDArray[np.int64], context: FitContext
) -> float | None:
    """Temperature with the least log loss on held-out folds; None if the estimator has `predict_proba`.

    1 in a draft, and if a class has a single clip, which cannot be held out.
    """
    if hasattr(estimator, "predict_proba"):
        return None
    if context.is_draft:
        return 1.0
    from scipy.optimize import minimize_scalar
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    targets = np.unique(targets, return_inverse=True)[1]
    n_folds = min(_CALIBRATION_FOLDS, int(np.bincount(targets).min()))
    if n_folds < 2:
        return 1.0
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=context.seed)
    scores = _scores(cross_val_predict(estimator, values, targets, cv=folds, method="decision_function"))

    def log_loss(log_temperature: float) -> float:
        likelihoods = _softmax(scores / np.exp(log_temperature))[np.arange(len(targets)), targets]
        return float(-np.log(np.maximum(likelihoods, np.finfo(float).tiny)).mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=(-7, 7), method="bounded").x))


def _scores(decisions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Decision values (n_clips, n_classes); for two classes scikit-learn returns only (n_clips,)."""
    return np.column_stack([np.zeros_like(decisions), decisions]) if decisions.ndim == 1 else decisions


def _softmax(scores: NDArray[np.float64]) -> Probabilities:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def _count_parameters(estimator: Any) -> int | None:
    """Size of the coefficients, or support vectors and dual coefficients, and intercepts; None for others."""
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    names = ("support_vectors_", "dual_coef_") if hasattr(last, "support_vectors_") else ("coef_",)
    if not hasattr(last, names[0]):
        return None
    return sum(int(np.size(getattr(last, name))) for name in (*names, "intercept_"))


def _first_line(message: object) -> str:
    return str(message).strip().partition("\n")[0] or type(message).__name__
