"""A Keras network in other forms: as an ONNX graph, and with its scaling in one file."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from marsbench.deployment.model_file import Precision
from marsbench.environment import import_extra
from marsbench.errors import ExportError
from marsbench.plugin.features import FEATURES
from marsbench.plugin.keras.model import KerasModel, without_optimiser
from marsbench.plugin.keras.setup import import_keras, import_tensorflow, without_noise
from marsbench.plugin.onnx import OPSET, import_onnx


def network_graph(network: Any, name: str) -> Any:
    """One clip's values, float32 (1, *input_shape), to its row of outputs.

    Raises:
        ExportError: a layer without an ONNX operator.
    """
    onnx = import_onnx()
    signature = _signature(network)
    with TemporaryDirectory() as folder, silence():
        import_extra("tf2onnx", "export")
        network(np.zeros(signature[0].shape, np.float32))  # Keras exports only what was called
        path = Path(folder) / "network.onnx"
        try:
            network.export(path, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET)
        except Exception as error:
            raise ExportError(
                f"{name}: tf2onnx makes no ONNX graph of the network: {_reason(error)}"
            ) from error
        return onnx.load(path)


def keras_file(model: KerasModel) -> bytes:
    """The network with the scaling in front of it, as Keras saves it; layers of Keras's own in front."""
    with TemporaryDirectory() as folder, silence():
        path = Path(folder) / "network.keras"
        _with_scaling(model).save(path)
        return path.read_bytes()


def litert_file(model: KerasModel, quantised: Precision | None) -> bytes:
    """The same for LiteRT, of one clip at a time: with any number of clips its files cannot be run.

    Raises:
        ExportError: a layer without an operator of LiteRT's.
    """
    lite = import_tensorflow().lite
    options: dict[str, Any] = {"optimizations": [lite.Optimize.DEFAULT]} if quantised else {}
    if quantised == "float16":
        options["target_spec"] = {"supported_types": [import_tensorflow().float16]}
    network = _with_scaling(model)
    with TemporaryDirectory() as folder, silence(), without_noise():
        path = Path(folder) / "network.tflite"
        try:
            network.export(
                path, format="litert", verbose=False, input_signature=_signature(network), **options
            )
        except Exception as error:
            raise ExportError(f"{model.name}: no LiteRT file of the network: {_reason(error)}") from error
        return path.read_bytes()


def _with_scaling(model: KerasModel) -> Any:
    """Takes features as an extractor returns them, rows of zeros behind the last frame."""
    keras = import_keras()
    network, scaling = without_optimiser(model.network_), model.scaling_
    inputs = keras.Input(network.input_shape[1:], name=FEATURES)
    values = keras.layers.Normalization(
        mean=scaling.mean.astype(np.float32), variance=(scaling.deviation**2).astype(np.float32)
    )(inputs)
    if len(inputs.shape) == 3:
        is_real = keras.ops.any(keras.ops.not_equal(inputs, 0.0), axis=-1, keepdims=True)
        values *= keras.ops.cast(is_real, "float32")
    return keras.Model(inputs, network(values), name=f"emotion_{model.name}")


def _signature(network: Any) -> list[Any]:
    """Of one clip."""
    return [import_keras().InputSpec(shape=(1, *network.input_shape[1:]), dtype="float32")]


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


@contextmanager
def silence() -> Iterator[None]:
    """The converters report their progress, and warn of deprecations that nobody here can mend."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
