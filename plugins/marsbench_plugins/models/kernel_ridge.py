"""Kernel ridge regression onto the classes (a least-squares support vector machine)."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.errors import PluginError, TrainingError, first_line
from marsbench.plugin.features import FeatureKind, Features
from marsbench.plugin.model import Examples, FitContext, Model, Probabilities
from marsbench.plugin.search_space import HyperParameters

Array = NDArray[np.float64]
Solved = NDArray[np.floating[Any]]
_FILE = "kernel_ridge.npz"
_ARRAYS = ("clips", "mean", "scale", "coefficients", "offset", "classes", "settings")


class _Settings(NamedTuple):
    gamma: float
    penalty: float


@dataclass
class KernelRidge(Model):
    """Least squares with an RBF kernel on standardised features, one output for each class.

    Suykens and Vandewalle 1999, doi:10.1023/A:1018628609742. Every training clip is kept, and time and memory
    grow with the cube and the square of their number: for some thousands of clips.

    Probabilities are the softmax of the outputs divided by a temperature. It minimises the log loss of the
    outputs that each group of training clips has when it is left out, which follow without further fits.

    The defaults were chosen on training clips of the first fold of utterance5 (RAVDESS), split again by
    utterance, with `speech_encoder`, `functionals` and `prosody` joined.

    Args:
        balanced: weight classes inversely to their number of clips.
    """

    accepts: ClassVar[FeatureKind] = "vector"
    requires: ClassVar[tuple[str, ...]] = ("numpy", "scipy")
    late_imports: ClassVar[tuple[str, ...]] = ("scipy.optimize",)

    balanced: bool = True

    def declare(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> None:
        """Declare `gamma`, in units of 1 / n_dims as that of `svm`, and `penalty`, the ridge."""
        _settings(hp)

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Solve the equations of all training clips.

        Raises:
            TrainingError: fewer than two classes among the clips.
        """
        self.gamma_, penalty = _settings(hp)
        values = train.features.values.astype(np.float64)
        self.classes_, targets = np.unique(train.targets, return_inverse=True)
        self.n_classes_ = context.n_classes
        if len(self.classes_) < 2:
            raise TrainingError(f"{self.name}: {len(train)} clips of one class; two classes are needed")
        self.mean_, self.scale_ = values.mean(axis=0), values.std(axis=0)
        self.scale_[self.scale_ < np.finfo(np.float32).tiny] = 1.0
        self.clips_ = (values - self.mean_) / self.scale_
        members = np.eye(len(self.classes_))[targets]
        weights = (len(train) / len(self.classes_) / members.sum(axis=0))[targets]
        weights = weights if self.balanced else np.ones(len(train))
        self.offset_ = np.average(members, axis=0, weights=weights)
        inverse = np.linalg.inv(self._kernel(self.clips_) + np.diag(penalty / weights))
        self.coefficients_ = inverse @ (members - self.offset_)
        self.n_parameters_ = self.clips_.size + self.coefficients_.size
        self.temperature_ = 1.0 if context.is_draft else self._temperature(inverse, targets, context)
        return self

    def predict_proba(self, features: Features) -> Probabilities:
        """Class probabilities, float64 (n_clips, n_classes); 0 for a class without training clips."""
        probabilities = np.zeros((len(features), self.n_classes_))
        probabilities[:, self.classes_] = _softmax(self._outputs(features) / self.temperature_)
        return probabilities

    def save(self, folder: Path) -> None:
        """Write one file of arrays."""
        settings = np.array([self.gamma_, self.temperature_, self.n_classes_], np.float64)
        values = [getattr(self, f"{name}_") for name in _ARRAYS[:-1]]
        np.savez(folder / _FILE, **dict(zip(_ARRAYS, [*values, settings], strict=True)))

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            PluginError: not a file that `save` wrote.
        """
        path = folder / _FILE
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                for name in _ARRAYS[:-1]:
                    setattr(self, f"{name}_", stored[name])
                self.gamma_, self.temperature_, n_classes = stored["settings"].tolist()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise PluginError(f"{path} is not a model of {self.name}: {first_line(error)}") from error
        self.n_classes_ = int(n_classes)
        self.n_parameters_ = self.clips_.size + self.coefficients_.size
        return self

    def onnx_graph(self) -> Any:
        """`predict_proba` as an ONNX graph, in double precision."""
        from marsbench.plugin.onnx import Graph, rbf_kernel

        graph, n_dims = Graph(self.name), self.clips_.shape[1]
        features = graph.input("features", np.float32, [n_dims]).cast(np.float64).reshape(1, n_dims)
        kernel = rbf_kernel((features - self.mean_) / self.scale_, self.clips_, self.gamma_ / n_dims)
        outputs = (kernel @ self.coefficients_ + self.offset_) / self.temperature_
        probabilities = outputs.apply("Softmax", axis=1) @ np.eye(self.n_classes_)[self.classes_]
        values = probabilities.cast(np.float32).reshape(self.n_classes_)
        graph.output("probabilities", values, [self.n_classes_])
        return graph.model()

    def _kernel(self, inputs: Array) -> Array:
        """RBF kernel of standardised inputs and the training clips, (n_inputs, n_training_clips)."""
        lengths = np.square(inputs).sum(axis=1)[:, None] + np.square(self.clips_).sum(axis=1)
        squares = np.maximum(lengths - 2 * inputs @ self.clips_.T, 0)
        return np.asarray(np.exp(-self.gamma_ / inputs.shape[1] * squares), np.float64)

    def _outputs(self, features: Features) -> Array:
        inputs = (features.values.astype(np.float64) - self.mean_) / self.scale_
        return np.asarray(self._kernel(inputs) @ self.coefficients_ + self.offset_, np.float64)

    def _temperature(self, inverse: Solved, targets: NDArray[np.int64], context: FitContext) -> float:
        """Temperature with the least log loss on the dev part, or on groups of clips that are left out."""
        from scipy.optimize import minimize_scalar

        outputs = self._left_out(inverse, targets, context.groups)
        if context.validation is not None and context.validation_is_dev:
            known = np.isin(context.validation.targets, self.classes_)
            outputs = self._outputs(context.validation.features)[known]
            targets = np.searchsorted(self.classes_, context.validation.targets[known])
        if not len(outputs):
            return 1.0

        def log_loss(log_temperature: float) -> float:
            true = _softmax(outputs / np.exp(log_temperature))[np.arange(len(targets)), targets]
            return float(-np.log(np.maximum(true, np.finfo(np.float64).tiny)).mean())

        return float(np.exp(minimize_scalar(log_loss, bounds=(-7, 7), method="bounded").x))

    def _left_out(
        self, inverse: Solved, targets: NDArray[np.int64], groups: NDArray[np.int64] | None
    ) -> Array:
        """Outputs for each training clip of the fit without its group, all with the offset of all clips.

        Their errors are the coefficients of the group times the inverse of its block of `inverse` (Rifkin and
        Lippert 2007, MIT-CSAIL-TR-2007-025). A single group is left out clip by clip.
        """
        outputs = np.eye(len(self.classes_))[targets]
        if groups is None or len(np.unique(groups)) < 2:
            groups = np.arange(len(targets))
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            outputs[rows] -= np.linalg.solve(inverse[np.ix_(rows, rows)], self.coefficients_[rows])
        return outputs


def _settings(hp: HyperParameters) -> _Settings:
    gamma = hp.Float("gamma", 0.02, 2.0, sampling="log", default=0.2)
    return _Settings(gamma, hp.Float("penalty", 1e-3, 1.0, sampling="log", default=0.02))


def _softmax(outputs: Array) -> Array:
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)
