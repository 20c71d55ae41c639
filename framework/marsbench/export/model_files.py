"""A bundle's model as one file, which its plugin is not needed for."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from marsbench.bundle.bundle import Bundle
from marsbench.bundle.model_file import FileForm, ModelFile, Precision
from marsbench.errors import ExportError
from marsbench.export.keras_network import keras_file, litert_file, silence
from marsbench.export.onnx_model import classifier_graph
from marsbench.plugin.extras import import_extra
from marsbench.plugin.keras_model import KerasModel

_INTEGER_OPERATORS = {"ConvInteger", "DynamicQuantizeLSTM", "MatMulInteger"}


def model_file(bundle: Bundle, form: FileForm, quantised: Precision | None = None) -> ModelFile:
    """The model of a bundle whose plugin is there.

    Args:
        bundle: fitted or read.
        form: of the file.
        quantised: of what precision its weights are to be; None for that of training.

    Raises:
        ExportError: that model has no such form, or a package is missing.
    """
    model = bundle.model
    if form == "onnx":
        graph = classifier_graph(model, bundle.extractor.kind)
        data = _quantised(graph, bundle, quantised) if quantised else graph.SerializeToString()
        return ModelFile(form, data, quantised)
    name = bundle.record.model.name
    if not isinstance(model, KerasModel):
        raise ExportError(f"{name} is no KerasModel: it can be exported as bundle or onnx, not as {form}")
    if form == "litert":
        return ModelFile(form, litert_file(model, quantised), quantised)
    if quantised:
        raise ExportError("Keras's own file is not quantised; ask for onnx or litert")
    return ModelFile(form, keras_file(model))


def _quantised(graph: Any, bundle: Bundle, precision: Precision) -> bytes:
    """Weights of 8 bits; what flows between is quantised as it comes."""
    if precision != "int8":
        raise ExportError(f"an ONNX file is quantised to int8, not to {precision}; litert can be both")
    quantization = import_extra("onnxruntime.quantization", "export")
    with TemporaryDirectory() as folder, silence():
        path = Path(folder) / "model.onnx"
        quantization.quantize_dynamic(graph, path, weight_type=quantization.QuantType.QInt8)
        quantised = import_extra("onnx", "export").load(path)
    if not _INTEGER_OPERATORS & {node.op_type for node in quantised.graph.node}:
        raise ExportError(f"{bundle.record.model.name} has no layer that could be quantised")
    return bytes(quantised.SerializeToString())
