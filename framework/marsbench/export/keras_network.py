"""A Keras network as an ONNX graph."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from marsbench.errors import ExportError
from marsbench.plugin.onnx_builder import OPSET, import_onnx
from marsbench.plugin.tensorflow_setup import import_keras


def network_graph(network: Any, name: str) -> Any:
    """One clip's values, float32 (1, *input_shape), to its row of outputs.

    Raises:
        ExportError: a layer without an ONNX operator.
    """
    onnx = import_onnx()
    shape = (1, *network.input_shape[1:])
    signature = [import_keras().InputSpec(shape=shape, dtype="float32")]
    with TemporaryDirectory() as folder, _silence():
        network(np.zeros(shape, np.float32))  # Keras exports only what was called
        path = Path(folder) / "network.onnx"
        try:
            network.export(path, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise ExportError(f"{name}: tf2onnx makes no ONNX graph of the network: {reason}") from error
        return onnx.load(path)


@contextmanager
def _silence() -> Iterator[None]:
    """tf2onnx reports its progress, and warns of NumPy's deprecations."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
