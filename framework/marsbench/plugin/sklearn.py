"""Base of scikit-learn models: a subclass writes `build`, the rest is here."""

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
"""Parts of scikit-learn's classifiers that hold data only, beside those that skops itself takes for safe.

Whole modules are not trusted: NumPy, SciPy and scikit-learn have functions that run the text they are given.
"""


class SklearnModel(Model):
    """A scikit-learn classifier or pipeline.

    An estimator without `predict_proba` (a support vector machine, say) gets probabilities by softmax of its
    decision function over a temperature (Guo et al. 2017, arXiv:1706.04599) that minimises log loss on
    held-out folds of the training clips, or of temperature 1 in a draft; the most probable class is the
    estimator's own choice.
    """

    accepts: ClassVar[FeatureKind] = "vector"
    requires: ClassVar[tuple[str, ...]] = ("scikit-learn",)
    trusted: ClassVar[tuple[str, ...]] = ()
    """Further types, by full name, that a saved estimator of this plugin may hold."""

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Unfitted estimator of this configuration.

        `input_shape` is (n_dims,), or (n_frames, n_dims) if the plugin accepts `frames`, which then has to
        deal with three-dimensional input. Every `random_state` is set to the fit's seed afterwards.
        """
        raise NotImplementedError

    def declare(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> None:
        """Build an estimator and drop it."""
        self.build(hp, input_shape, n_classes)

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Train on `train`.

        Raises:
            PluginError: `build` returned no classifier.
            TrainingError: fewer than two classes among the clips.
        """
        present = len(np.unique(train.targets))
        if present < 2:
            raise TrainingError(
                f"{self.name}: {len(train)} clips of {present} classes; two classes are needed"
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
        """Probability of each class, float64 (n_clips, n_classes); 0 for a class without training clips.

        Raises:
            TrainingError: the estimator answers NaN.
        """
        probabilities = np.zeros((len(features), self.n_classes_))
        if len(features):
            values = features.values.astype(np.float64)
            probabilities[:, self.estimator_.classes_] = self._probabilities(values)
        if not np.isfinite(probabilities).all():
            raise TrainingError(f"{self.name}: the estimator's probabilities are NaN or infinite")
        return probabilities

    def save(self, folder: Path) -> None:
        """Write one skops file; raises PluginError if it holds types that `load` would refuse."""
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
            PluginError: not a skops file of `save`, or one with a type that is not trusted.
        """
        import skops.io

        path = folder / _FILE
        try:
            state = skops.io.load(path, trusted=self._trusted_types(path))
            self.estimator_, self.n_classes_ = state["estimator"], int(state["n_classes"])
            self.temperature_, self.n_parameters_ = state["temperature"], state["n_parameters"]
        except (OSError, ValueError, TypeError, LookupError, AttributeError, zipfile.BadZipFile) as error:
            raise PluginError(f"{path} is no model of {self.name}: {_first_line(error)}") from error
        return self

    def _require_classifier(self, estimator: Any) -> None:
        able = hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")
        if isinstance(estimator, type) or not hasattr(estimator, "get_params") or not able:
            what = getattr(estimator, "__name__", type(estimator).__name__)
            raise PluginError(
                f"{self.name}.build returned {what}; an unfitted scikit-learn classifier is needed"
            )

    def _probabilities(self, values: NDArray[np.float64]) -> Probabilities:
        """One column for each class of the training clips."""
        if self.temperature_ is not None:
            return _softmax(_scores(self.estimator_.decision_function(values)) / self.temperature_)
        probabilities: Probabilities = np.asarray(self.estimator_.predict_proba(values), np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return probabilities

    def _trusted_types(self, path: Path) -> list[str]:
        """Types of the file beyond skops's own list, all of them trusted here."""
        import skops.io

        types = list(skops.io.get_untrusted_types(file=path))
        strangers = sorted(set(types) - TRUSTED - set(self.trusted))
        if strangers:
            raise PluginError(
                f"{path.name} of {self.name} holds the type {strangers[0]}, which is not trusted; "
                "if it runs no code when loaded, name it in the plugin's `trusted`"
            )
        return types


def seed_estimator(estimator: Any, seed: int) -> None:
    """Set every `random_state` of an estimator, of those nested in it and of its shuffling splitters."""
    parameters = estimator.get_params(deep=True)
    estimator.set_params(**{name: seed for name in parameters if name.split("__")[-1] == "random_state"})
    for value in parameters.values():
        if getattr(value, "shuffle", False) and hasattr(value, "split"):
            value.random_state = seed


def _temperature(
    estimator: Any, values: NDArray[np.float64], targets: NDArray[np.int64], context: FitContext
) -> float | None:
    """Temperature of least log loss on held-out folds; None if the estimator has probabilities of its own.

    1 in a draft, and where the smallest class has one clip: no fold could hold it out.
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
    """Decision values with one column a class; two classes have one column between them."""
    return np.column_stack([np.zeros_like(decisions), decisions]) if decisions.ndim == 1 else decisions


def _softmax(scores: NDArray[np.float64]) -> Probabilities:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def _count_parameters(estimator: Any) -> int | None:
    """Coefficients of a linear model, or support vectors and their weights; intercepts of both."""
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    names = ("support_vectors_", "dual_coef_") if hasattr(last, "support_vectors_") else ("coef_",)
    if not hasattr(last, names[0]):
        return None
    return sum(int(np.size(getattr(last, name))) for name in (*names, "intercept_"))


def _first_line(message: object) -> str:
    return str(message).strip().partition("\n")[0] or type(message).__name__
