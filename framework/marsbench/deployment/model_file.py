"""A model as one file, whose plugin need not be there: Keras's, ONNX or LiteRT.

Each takes what the feature extractor returns for a clip, scaling included, and gives probabilities.

    keras    emotion_NAME.keras    float32 (n_clips, n_frames, n_dims), or (n_clips, n_dims) for vectors
    litert   emotion_NAME.tflite   the same with n_clips 1
    onnx     emotion_NAME.onnx     float32 (n_frames, n_dims) of any number of frames, or (n_dims,)

Keras's and LiteRT's want the number of frames that the model was trained on; rows of zeros behind a clip's
own are padding.
"""

from collections.abc import Callable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from marsbench.environment import import_extra
from marsbench.errors import ExportError, PluginError
from marsbench.plugin.features import FeatureKind, Features, Floats
from marsbench.plugin.keras.setup import import_keras, without_noise
from marsbench.plugin.keras.trainer import trainer_for
from marsbench.plugin.model import Probabilities
from marsbench.plugin.onnx import onnx_session

FileForm = Literal["keras", "onnx", "litert"]
Form = Literal["plugin", FileForm]
"""`plugin`: what the model's plugin itself saves and loads."""
Precision = Literal["int8", "float16"]
"""Of the weights of a quantised file."""
SUFFIXES: dict[FileForm, str] = {"keras": ".keras", "onnx": ".onnx", "litert": ".tflite"}


class Predictor(Protocol):
    """What a bundle asks for probabilities: a model's plugin, or a file."""

    @property
    def accepts(self) -> FeatureKind:
        """Of what kind its features are."""

    def predict_proba(self, features: Features) -> Probabilities:
        """Probability of each class, float64 (n_clips, n_classes), rows summing to 1."""


@dataclass(frozen=True)
class ModelFile:
    """What such a file holds."""

    form: FileForm
    data: bytes
    quantised: Precision | None = None


@dataclass(frozen=True)
class _Opened:
    """A file that was made ready."""

    accepts: FeatureKind
    answer: Callable[[Features], Floats]
    """Rows of outputs, (n_clips, n_classes)."""

    def predict_proba(self, features: Features) -> Probabilities:
        """The outputs as float64, their sums exactly 1; raises PluginError if they are no probabilities."""
        probabilities = self.answer(features).astype(np.float64)
        sums = probabilities.sum(axis=1, keepdims=True)
        if not (np.isfinite(sums) & (sums > 0)).all() or probabilities.min() < 0:
            raise PluginError("the model's file answers what is no probability (NaN, or negative)")
        return np.asarray(probabilities / sums)


def open_model_file(form: FileForm, path: Path) -> Predictor:
    """Make a file ready to be asked; no code of it is run.

    Raises:
        PluginError: it is none of that form.
        ExportError: the package that runs it is missing.
    """
    try:
        return _OPEN[form](path)
    except (ExportError, PluginError):
        raise
    except Exception as error:  # each library has exceptions of its own for what it cannot read
        reason = str(error).strip().partition("\n")[0]
        raise PluginError(f"{path} is no model that can be run: {reason}") from error


def _open_keras(path: Path) -> _Opened:
    network = import_keras().saving.load_model(path, compile=False, safe_mode=True)
    return _Opened(
        _kind(network.input_shape[1:]), lambda features: trainer_for(network).predict(features.values)
    )


def _open_onnx(path: Path) -> _Opened:
    session = onnx_session(path.read_bytes(), "export")
    (given,), (asked,) = session.get_inputs(), session.get_outputs()

    def answer(features: Features) -> Floats:
        is_vector = features.kind == "vector"
        clips = zip(features.values, features.lengths, strict=True)
        return np.stack(
            [
                session.run([asked.name], {given.name: values if is_vector else values[:length]})[0]
                for values, length in clips
            ]
        )

    return _Opened(_kind(given.shape), answer)


def _open_litert(path: Path) -> _Opened:
    runtime = import_extra("ai_edge_litert.interpreter", "litert")
    with without_noise():
        interpreter = runtime.Interpreter(model_content=path.read_bytes(), num_threads=1)
        interpreter.allocate_tensors()
    (given,), (asked,) = interpreter.get_input_details(), interpreter.get_output_details()

    def of_clip(values: Floats) -> Floats:
        interpreter.set_tensor(given["index"], values[None])
        interpreter.invoke()
        return np.array(interpreter.get_tensor(asked["index"])[0])

    return _Opened(
        _kind(given["shape"][1:]), lambda features: np.stack([of_clip(clip) for clip in features.values])
    )


_OPEN: dict[FileForm, Callable[[Path], _Opened]] = {
    "keras": _open_keras,
    "onnx": _open_onnx,
    "litert": _open_litert,
}


def _kind(shape: Sized) -> FeatureKind:
    return "frames" if len(shape) == 2 else "vector"
