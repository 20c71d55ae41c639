"""The contract of a model format: how a bundle stores its model.

Each module of `marsbench.deployment.formats` defines one subclass of `ModelFormat`; the module's name is the
format's name. A new format is one new file there.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Protocol

import numpy as np

from marsbench.deployment.formats import format_names
from marsbench.environment import import_extra
from marsbench.errors import BenchError, ExportError, PluginError, first_line, unknown
from marsbench.plugin.base import Plugin
from marsbench.plugin.features import FeatureKind, Features, Floats
from marsbench.plugin.model import Model, Probabilities
from marsbench.plugin.registry import Entry


class Predictor(Protocol):
    """What a bundle predicts with: a model plugin, or a model read from a file."""

    @property
    def accepts(self) -> FeatureKind:
        """Kind of its features."""

    def predict_proba(self, features: Features) -> Probabilities:
        """Probability of each class, float64 (n_clips, n_classes), rows summing to 1."""


@dataclass(frozen=True)
class FileModel:
    """A model read from a file, which predicts without its plugin."""

    accepts: FeatureKind
    outputs: Callable[[Features], Floats]
    """The file's outputs, (n_clips, n_classes)."""

    def predict_proba(self, features: Features) -> Probabilities:
        """Outputs divided by their sum, float64 (n_clips, n_classes).

        Raises:
            PluginError: the file cannot be run, an output is NaN, infinite or negative, or all are 0.
        """
        try:
            outputs = self.outputs(features)
        except Exception as error:  # each library has exceptions of its own for what it cannot run
            raise PluginError(f"the model's file cannot be run: {first_line(error)}") from error
        if outputs.ndim != 2 or outputs.dtype.kind != "f":
            raise PluginError(
                f"the model's file gives {outputs.dtype} of shape {outputs.shape[1:]} for a clip"
            )
        probabilities = outputs.astype(np.float64)
        sums = probabilities.sum(axis=1, keepdims=True)
        if not (np.isfinite(sums) & (sums > 0)).all() or probabilities.min() < 0:
            raise PluginError("the outputs of the model's file are not probabilities (NaN, infinite or < 0)")
        return np.asarray(probabilities / sums)


class ModelFormat(ABC):
    """How a fitted model is written into a bundle and read again.

    The input of a model's file is what the feature extractor returns for a clip: scaling is part of the file.
    """

    suffix: ClassVar[str]
    """Suffix of the model's file, such as `.onnx`."""
    models: ClassVar[tuple[type[Model], ...]]
    """Base classes of the models that have this format."""
    packages: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Packages that write and read it, each with the extra of marsbench that installs it."""
    tolerance: ClassVar[float] = 1e-5
    """Largest difference of a probability on the golden clips."""
    precisions: ClassVar[Mapping[str, float]] = MappingProxyType({})
    """Number types that weights can be quantised to, each with its tolerance."""
    needs_plugin: ClassVar[bool] = False
    """Whether the model's plugin reads it."""
    any_length: ClassVar[bool] = False
    """Whether clips of any number of frames can be predicted, not only those of the training's length."""

    def has(self, plugin: type[Plugin]) -> bool:
        """Whether models of a plugin have this format."""
        return issubclass(plugin, self.models)

    @abstractmethod
    def write(self, path: Path, model: Model, kind: FeatureKind, quantised: str | None) -> None:
        """Write a fitted model of one of the types in `models`; raises ExportError: it cannot be converted.

        `kind` is that of the extractor's features; `quantised` is one of `precisions`, None for the weights
        as trained.
        """

    @abstractmethod
    def read(self, path: Path, plugin: Callable[[], Model]) -> Predictor:
        """Read what `write` wrote without running code from it; `plugin` makes the model, not fitted."""

    @property
    def name(self) -> str:
        """Name of the module that defines it."""
        return type(self).__module__.rpartition(".")[2]

    def location(self, model: str) -> str:
        """Path below the bundle's folder of the model of that name."""
        return f"emotion_{model}{self.suffix}"

    def open(self, path: Path, plugin: Callable[[], Model]) -> Predictor:
        """`read`, where whatever goes wrong is one line.

        Raises:
            PluginError: the file is not of this format, or is damaged.
            ExportError: a package is not installed.
        """
        try:
            return self.read(path, plugin)
        except BenchError:
            raise
        except Exception as error:  # each library has exceptions of its own for what it cannot read
            raise PluginError(
                f"{path} cannot be read in the format '{self.name}': {first_line(error)}"
            ) from error

    def require(self, model: Entry, quantised: str | None = None) -> None:
        """Refuse before a fit what `write` could not write.

        Raises:
            ExportError: the model has not this format, or the format not this precision; or a package is not
                installed.
        """
        if not self.has(model.plugin):
            possible = [name for name in format_names() if find_format(name).has(model.plugin)]
            raise ExportError(
                f"Model '{model.name}' cannot be exported in the format '{self.name}'. "
                f"Available: {', '.join(possible)}."
            )
        self.tolerance_of(quantised)
        for package, extra in self.packages.items():
            import_extra(package, extra)

    def tolerance_of(self, quantised: str | None) -> float:
        """Largest difference of a probability on the golden clips; raises ExportError: no such precision."""
        if quantised is None:
            return self.tolerance
        if quantised not in self.precisions:
            raise ExportError(
                f"Format '{self.name}' cannot be quantised to '{quantised}'. "
                f"Available: {', '.join(self.precisions) or 'none'}."
            )
        return self.precisions[quantised]


def find_format(name: str) -> ModelFormat:
    """The format of that name, whose module is imported now; raises ExportError: there is none."""
    if name not in format_names():
        raise ExportError(unknown("format", name, format_names()))
    module = import_module(f"marsbench.deployment.formats.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ModelFormat) and value.__module__ == module.__name__
    )
    return found()


def feature_kind(clip_shape: Sized) -> FeatureKind:
    """Kind of features by the shape of one clip's, (n_frames, n_dims) or (n_dims,)."""
    return "frames" if len(clip_shape) == 2 else "vector"
