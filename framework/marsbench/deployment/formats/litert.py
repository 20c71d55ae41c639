"""A Keras network with its scaling in front, for LiteRT (TensorFlow Lite): `emotion_NAME.tflite`.

Input: float32 (1, n_frames, n_dims) with as many frames as in training, zeros behind the clip's last frame;
or (1, n_dims) for vectors.
"""

from collections.abc import Callable
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from marsbench.deployment.formats.keras import input_signature, scaled_network, silence
from marsbench.deployment.model_format import FileModel, ModelFormat, Predictor, feature_kind
from marsbench.environment import import_extra
from marsbench.errors import ExportError, PluginError, first_line
from marsbench.plugin.features import FeatureKind, Floats
from marsbench.plugin.keras import import_tensorflow, without_noise
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.model import Model

_MAX_VALUES = 1 << 29
"""Values of all tensors of a file: 2 GiB."""


class LiteRtFormat(ModelFormat):
    """One clip at a time: LiteRT cannot run a file made for any number of clips."""

    suffix = ".tflite"
    models = (KerasModel,)
    packages = MappingProxyType({"ai_edge_litert": "litert"})
    tolerance = 1e-4
    precisions = MappingProxyType({"int8": 1e-2, "float16": 1e-2})

    def write(self, path: Path, model: Model, kind: FeatureKind, quantised: str | None) -> None:
        """Convert the network; raises ExportError: a layer has no LiteRT operator."""
        tensorflow = import_tensorflow()
        options: dict[str, Any] = {"optimizations": [tensorflow.lite.Optimize.DEFAULT]} if quantised else {}
        if quantised == "float16":
            options["target_spec"] = {"supported_types": [tensorflow.float16]}
        network = scaled_network(cast("KerasModel", model))
        signature = input_signature(network)
        with silence(), without_noise():
            try:
                network.export(path, format="litert", verbose=False, input_signature=signature, **options)
            except Exception as error:  # whatever the converter raises for a network
                raise ExportError(
                    f"{model.name} cannot be converted to LiteRT: {first_line(error)}"
                ) from error

    def read(self, path: Path, plugin: Callable[[], Model]) -> Predictor:
        """Allocate an interpreter of one thread."""
        runtime = import_extra("ai_edge_litert.interpreter", "litert")
        with without_noise():
            interpreter = runtime.Interpreter(model_content=path.read_bytes(), num_threads=1)
            _require_bounded(interpreter)
            interpreter.allocate_tensors()
        (given,), (asked,) = interpreter.get_input_details(), interpreter.get_output_details()

        def run(clip: Floats) -> Floats:
            interpreter.set_tensor(given["index"], clip[None])
            interpreter.invoke()
            return np.array(interpreter.get_tensor(asked["index"])[0])

        kind = feature_kind(given["shape"][1:])
        return FileModel(kind, lambda features: np.stack([run(clip) for clip in features.values]))


def _require_bounded(interpreter: Any) -> None:
    """Raise PluginError if the tensors of the file need gigabytes."""
    n_values = sum(prod(map(int, one["shape"])) for one in interpreter.get_tensor_details())
    if n_values > _MAX_VALUES:
        raise PluginError(f"the LiteRT model has tensors of {n_values:,} values, too many to be accepted")
