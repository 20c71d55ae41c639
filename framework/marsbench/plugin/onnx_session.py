"""How graphs are run."""

from typing import Any

from marsbench.plugin.extras import import_extra


def onnx_session(data: bytes, extra: str) -> Any:
    """An `onnxruntime.InferenceSession` on one core, whose last digits do not depend on the machine's cores.

    Weights in other files, which `data` may point to, are not looked for. `extra` is named in the ExportError
    raised where onnxruntime is missing.
    """
    runtime = import_extra("onnxruntime", extra)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
