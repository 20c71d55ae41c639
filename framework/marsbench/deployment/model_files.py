"""A bundle's model as one file, which its plugin is not needed for."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from marsbench.deployment.bundle import Bundle
from marsbench.deployment.formats.keras import keras_file, litert_file, silence
from marsbench.deployment.formats.onnx import classifier_graph
from marsbench.deployment.model_file import FileForm, ModelFile, Precision
from marsbench.environment import import_extra
from marsbench.errors import ExportError
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.onnx import import_onnx
from marsbench.plugin.registry import Entry

_INTEGER_OPERATORS = {"ConvInteger", "DynamicQuantizeLSTM", "MatMulInteger"}


def require_form(model: Entry, form: FileForm, quantised: Precision | None) -> None:
    """Refuse before anything is fitted what `model_file` could not write.

    Raises:
        ExportError: models of that plugin have no such form, or a package is missing.
    """
    if form == "onnx":
        if quantised not in {None, "int8"}:
            raise ExportError(f"an ONNX file is quantised to int8, not to {quantised}; litert can be both")
        import_onnx()
        import_extra("onnxruntime", "export")
        return
    if not issubclass(model.plugin, KerasModel):
        raise ExportError(
            f"{model.name} is no KerasModel: it can be exported as bundle or onnx, not as {form}"
        )
    if form == "litert":
        import_extra("ai_edge_litert", "litert")
    elif quantised:
        raise ExportError("Keras's own file is not quantised; ask for onnx or litert")


def model_file(bundle: Bundle, form: FileForm, quantised: Precision | None = None) -> ModelFile:
    """The model of a bundle whose plugin is there, as one file.

    Args:
        bundle: fitted, or read.
        form: of the file; one that `require_form` lets through.
        quantised: of what precision its weights are to be; None for that of training.

    Raises:
        ExportError: that model cannot be converted.
    """
    model = bundle.model
    if form == "onnx":
        graph = classifier_graph(model, bundle.extractor.kind)
        return ModelFile(
            form, _quantised(graph, bundle) if quantised else graph.SerializeToString(), quantised
        )
    network = cast("KerasModel", model)
    return ModelFile(
        form, keras_file(network) if form == "keras" else litert_file(network, quantised), quantised
    )


def _quantised(graph: Any, bundle: Bundle) -> bytes:
    """Weights of 8 bits; what flows between them is quantised as it comes."""
    quantization = import_extra("onnxruntime.quantization", "export")
    with TemporaryDirectory() as folder, silence():
        path = Path(folder) / "model.onnx"
        quantization.quantize_dynamic(graph, path, weight_type=quantization.QuantType.QInt8)
        quantised = import_onnx().load(path)
    if not _INTEGER_OPERATORS & {node.op_type for node in quantised.graph.node}:
        raise ExportError(f"{bundle.record.model.name} has no layer that could be quantised")
    return bytes(quantised.SerializeToString())
