"""Base of scikit-learn models: a subclass implements `build`."""

import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.errors import PluginError, TrainingError, first_line
from marsbench.plugin.features import FeatureKind, Features
from marsbench.plugin.kernel_approximation import of_size
from marsbench.plugin.kernel_matrix import decision_values, fit_machine
from marsbench.plugin.model import Examples, FitContext, Model, Probabilities
from marsbench.plugin.search_space import HyperParameters

_FILE = "model.skops"
_ROUNDING = 1e-9
"""Largest negative probability that may be one of rounding."""
_CALIBRATION_FOLDS = 5
_FEWER_CALIBRATION_FOLDS = 3
"""For estimators with `predict_proba`, among which trees take long to fit; as good in trials on RAVDESS."""
_EARLY_STOPPING_FOLDS = 10
"""A tenth of the clips, as scikit-learn holds out by itself."""
_AUTOMATIC_EARLY_STOPPING = 10_000
"""Clips beyond which scikit-learn's `early_stopping="auto"` stops early."""
LEAST_PROBABILITY = 1e-6
"""Smaller probabilities are calibrated as this one; some estimators give 0."""
_LEAST_OF_PROBABILITIES = -2
"""Logarithm of the least temperature of probabilities: few clips without an error prove no certainty."""

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

    Probabilities are calibrated: they are the softmax of the logarithms of the estimator's probabilities, or
    else of its decision function, divided by a temperature (Guo et al. 2017, arXiv:1706.04599). The most
    probable class stays the same. The temperature minimises the log loss on held-out folds of the training
    clips, which keep the groups of `FitContext.groups` together. In a draft nothing is calibrated.

    An estimator with `early_stopping` whose `fit` takes `sample_weight_val`, such as scikit-learn's gradient
    boosting, stops early by whole groups. Other splits that an estimator makes by itself, such as those of
    its `cv`, know no groups; override `fit` to make them from `FitContext.groups`.
    """

    accepts: ClassVar[FeatureKind] = "vector"
    requires: ClassVar[tuple[str, ...]] = ("scikit-learn",)
    late_imports: ClassVar[tuple[str, ...]] = ("scipy.optimize", "skops.io")
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
        clips, dev = _Clips.of(train, context), _Clips.dev(context)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator = of_size(estimator, len(train))
            seed_estimator(estimator, context.seed)
            self.estimator_ = _fitted(estimator, clips, context.seed, dev)
            self.temperature_ = _temperature(estimator, clips, context, dev)
        self.warnings_ = tuple(dict.fromkeys(first_line(entry.message) for entry in caught))
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
            probabilities[:, _classes_of(self.estimator_)] = self._probabilities(values)
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
            raise PluginError(f"{path} is not a model of {self.name}: {first_line(error)}") from error
        return self

    def _require_classifier(self, estimator: Any) -> None:
        from sklearn.base import is_classifier

        returned = f"{self.name}.build returned {getattr(estimator, '__name__', type(estimator).__name__)}"
        if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
            raise PluginError(f"{returned}; an unfitted scikit-learn classifier is needed")
        if getattr(_last_step(estimator), "decision_function_shape", None) == "ovo":
            raise PluginError(f"{returned} with decision_function_shape='ovo'; 'ovr' is needed")
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
            return _softmax(_scores(self.estimator_, values) / self.temperature_)
        return _own_probabilities(self.estimator_, values)

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


class _Clips(NamedTuple):
    """Training clips: values (n_clips, ...), class and group number of each, and whether it is a version."""

    values: NDArray[np.float64]
    targets: NDArray[np.int64]
    groups: NDArray[np.int64]
    is_version: NDArray[np.bool_]

    @classmethod
    def of(cls, train: Examples, context: FitContext) -> Self:
        groups = np.arange(len(train)) if context.groups is None else context.groups
        is_version = np.zeros(len(train), bool) if context.is_version is None else context.is_version
        return cls(train.features.values.astype(np.float64), train.targets, groups, is_version)

    @classmethod
    def dev(cls, context: FitContext) -> Self | None:
        """The dev part of a published split; None without one."""
        if context.validation is None or not context.validation_is_dev:
            return None
        return cls.of(context.validation, replace(context, groups=None, is_version=None))

    def part(self, positions: NDArray[np.int64]) -> Self:
        values, targets, groups, is_version = self
        return type(self)(values[positions], targets[positions], groups[positions], is_version[positions])

    def of_classes(self, classes: NDArray[np.int64]) -> Self:
        """The clips of these classes."""
        return self.part(np.flatnonzero(np.isin(self.targets, classes)))

    @property
    def has_groups(self) -> bool:
        """Whether there are several groups, and one of them has several clips."""
        return 1 < len(np.unique(self.groups)) < len(self.groups)

    def splits(self, n_folds: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Positions of the clips to fit on and of those held out, at least one of each, for up to `n_folds`.

        Classes are balanced and groups stay together. Without groups there is no fold if a class has a single
        clip; a single group is divided like clips without groups. No version is held out, but left out with
        its clip.
        """
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        counts = np.unique(self.targets, return_counts=True)[1]
        most = min(len(np.unique(self.groups)), counts.max()) if self.has_groups else counts.min()
        if (n_folds := min(n_folds, int(most))) < 2:
            return
        kind = StratifiedGroupKFold if self.has_groups else StratifiedKFold
        folds = kind(n_folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a class has fewer clips than there are folds
            pairs = list(folds.split(self.targets, self.targets, self.groups))
        clips = [(kept, aside[~self.is_version[aside]]) for kept, aside in pairs]
        yield from (pair for pair in clips if len(pair[1]))


def _fitted(estimator: Any, clips: _Clips, seed: int, dev: _Clips | None = None) -> Any:
    """The estimator, fitted; if it stops early, by `dev` or, with groups, by whole groups of every class."""
    last = _last_step(estimator)
    stops_early = _stops_early(last, len(clips.targets))
    if stops_early and dev is not None:
        return _fitted_by(estimator, clips, dev.of_classes(np.unique(clips.targets)))
    if not (clips.has_groups and stops_early):
        return fit_machine(estimator, clips.values, clips.targets)
    for kept, aside in clips.splits(_EARLY_STOPPING_FOLDS, seed):
        fit, held_out = clips.part(kept), clips.part(aside)
        if len(np.unique(fit.targets)) == len(np.unique(clips.targets)):
            break
    else:  # some class is in a single group: it cannot be learnt and held out
        last.set_params(early_stopping=False)
        return fit_machine(estimator, clips.values, clips.targets)
    return _fitted_by(estimator, fit, held_out)


def _fitted_by(estimator: Any, fit: _Clips, held_out: _Clips) -> Any:
    """The estimator, fitted with early stopping by clips that are held out."""
    from sklearn.utils.class_weight import compute_sample_weight

    last = _last_step(estimator)
    values, held_out_values = fit.values, held_out.values
    if len(getattr(estimator, "steps", ())) > 1:
        values = estimator[:-1].fit_transform(values, fit.targets)
        held_out_values = estimator[:-1].transform(held_out_values)
    weights = compute_sample_weight(getattr(last, "class_weight", None), held_out.targets)
    last.fit(values, fit.targets, X_val=held_out_values, y_val=held_out.targets, sample_weight_val=weights)
    return estimator


def _stops_early(estimator: Any, n_clips: int) -> bool:
    """Whether an estimator would hold out some of `n_clips` for early stopping, and can be given them."""
    asked = getattr(estimator, "early_stopping", False)
    is_on = n_clips > _AUTOMATIC_EARLY_STOPPING if asked == "auto" else bool(asked)
    return is_on and "sample_weight_val" in signature(estimator.fit).parameters


def _temperature(
    estimator: Any, clips: _Clips, context: FitContext, dev: _Clips | None = None
) -> float | None:
    """Temperature with the least log loss on `dev`, or on held-out folds.

    In a draft, and where nothing can be held out, None if the estimator has `predict_proba`, else 1. Fits on
    parts of the clips that fail are warned of and leave it there.
    """
    from scipy.optimize import minimize_scalar
    from sklearn.dummy import DummyClassifier

    uncalibrated = None if hasattr(estimator, "predict_proba") else 1.0
    if context.is_draft or isinstance(estimator, DummyClassifier):
        return uncalibrated
    try:
        if dev is None:
            scores, targets = _held_out_scores(estimator, clips, context.seed)
        else:
            known = dev.of_classes(estimator.classes_)
            scores, targets = (
                _scores(estimator, known.values),
                np.searchsorted(estimator.classes_, known.targets),
            )
    except (MemoryError, OSError):  # the machine's fault: another one would calibrate
        raise
    except Exception as error:  # noqa: BLE001 - whatever an estimator raises that was fitted on all clips
        warnings.warn(f"probabilities are not calibrated: {first_line(error)}", stacklevel=1)
        return uncalibrated
    if not len(targets):
        return uncalibrated

    def log_loss(log_temperature: float) -> float:
        likelihoods = _softmax(scores / np.exp(log_temperature))[np.arange(len(targets)), targets]
        return float(-np.log(np.maximum(likelihoods, np.finfo(float).tiny)).mean())

    bounds = (-7, 7) if uncalibrated else (_LEAST_OF_PROBABILITIES, 7)
    return float(np.exp(minimize_scalar(log_loss, bounds=bounds, method="bounded").x))


def _held_out_scores(
    estimator: Any, clips: _Clips, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores by fits without each clip's fold, (n, n_present_classes), and the true columns, (n,).

    Clips are left out whose class the other folds do not have.
    """
    from sklearn.base import clone

    classes, targets = np.unique(clips.targets, return_inverse=True)
    scores = np.full((len(targets), len(classes)), -np.inf)
    n_folds = _FEWER_CALIBRATION_FOLDS if hasattr(estimator, "predict_proba") else _CALIBRATION_FOLDS
    for kept, aside in clips.splits(n_folds, seed):
        fit = clips.part(kept)
        if len(np.unique(fit.targets)) < 2:
            continue
        fitted = _fitted(clone(estimator), fit, seed)
        columns = np.searchsorted(classes, fitted.classes_)
        scores[np.ix_(aside, columns)] = _scores(fitted, clips.values[aside])
    usable = np.isfinite(scores[np.arange(len(targets)), targets])
    return scores[usable], targets[usable]


def _scores(estimator: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of probabilities, or else decision values, (n_clips, n_classes)."""
    if hasattr(estimator, "predict_proba"):
        return np.log(np.maximum(_own_probabilities(estimator, values), LEAST_PROBABILITY))
    decisions = decision_values(estimator, values)
    n_classes = len(_classes_of(estimator))
    # Of two classes scikit-learn returns only (n_clips,).
    shape = (len(values),) if n_classes == 2 else (len(values), n_classes)
    _require_numbers(decisions, "decision_function", shape)
    return np.column_stack([np.zeros_like(decisions), decisions]) if decisions.ndim == 1 else decisions


def _own_probabilities(estimator: Any, values: NDArray[np.float64]) -> Probabilities:
    returned = estimator.predict_proba(values)
    _require_numbers(returned, "predict_proba", (len(values), len(_classes_of(estimator))))
    probabilities: Probabilities = np.asarray(returned, np.float64)
    if (probabilities < -_ROUNDING).any():
        raise TrainingError("predict_proba returned negative probabilities")
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True), np.float64)


def _require_numbers(returned: Any, method: str, shape: tuple[int, ...]) -> None:
    """Raise TrainingError if an estimator returned anything else than real numbers of this shape."""
    array = np.asanyarray(returned)
    what = "a masked array" if np.ma.isMaskedArray(array) else f"{array.dtype} of shape {array.shape}"
    if array.dtype.kind not in "fiu" or array.shape != shape or np.ma.isMaskedArray(array):
        raise TrainingError(f"{method} returned {what}; real numbers of shape {shape} are needed")


def _classes_of(estimator: Any) -> Any:
    """Classes of the columns; raises TrainingError if the estimator names none."""
    try:
        return estimator.classes_
    except AttributeError as error:
        raise TrainingError(f"the fitted {type(estimator).__name__} has no classes_") from error


def _last_step(estimator: Any) -> Any:
    return estimator[-1] if hasattr(estimator, "steps") else estimator


def _softmax(scores: NDArray[np.float64]) -> Probabilities:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def _count_parameters(estimator: Any) -> int | None:
    """Size of the coefficients, or support vectors and dual coefficients, and intercepts; None for others."""
    last = _last_step(estimator)
    names = ("support_vectors_", "dual_coef_") if hasattr(last, "support_vectors_") else ("coef_",)
    if not hasattr(last, names[0]):
        return None
    return sum(int(np.size(getattr(last, name))) for name in (*names, "intercept_"))
