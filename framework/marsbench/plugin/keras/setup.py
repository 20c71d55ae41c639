"""TensorFlow and Keras, imported when a model first needs them and not before, without start-up noise."""

import importlib
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from marsbench.errors import PluginError

_LOCK = threading.Lock()
_STDERR = 2
# Lines of TensorFlow's C++ log, which TF_CPP_MIN_LOG_LEVEL does not govern before the log is set up.
_NOISE = re.compile(
    r"WARNING: All log messages before absl"
    r"|[IWE]\d{4} .*\.cc:\d+\]"
    r"|\d{4}-\d\d-\d\d .*\.cc:\d+\]"
    r"|To enable the following instructions"
    r"|INFO: Created TensorFlow Lite"
)


def import_keras() -> Any:
    """Module `keras` on TensorFlow.

    Raises:
        PluginError: TensorFlow or Keras is missing or cannot be imported, or Keras runs on another backend.
    """
    keras = _imported("keras")
    if keras.backend.backend() != "tensorflow":
        raise PluginError(
            f"Keras was imported with the backend {keras.backend.backend()}; set KERAS_BACKEND=tensorflow"
        )
    return keras


def import_tensorflow() -> Any:
    """Module `tensorflow`; raises PluginError as `import_keras` does."""
    return _imported("tensorflow")


def has_gpu() -> bool:
    """Whether TensorFlow computes on a GPU here."""
    return bool(import_tensorflow().config.list_physical_devices("GPU"))


def make_deterministic(seed: int) -> None:
    """Forget earlier models' names, seed Python, NumPy and TensorFlow, and fix the order of sums.

    Two fits that start here with equal arguments are bit-identical on one machine; models made before still
    predict.
    """
    keras = import_keras()
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    import_tensorflow().config.experimental.enable_op_determinism()


def _imported(module: str) -> Any:
    with _LOCK:
        if module not in sys.modules:
            _import_quietly()
        return importlib.import_module(module)


def _import_quietly() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with without_noise(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("tensorflow").get_logger().setLevel("ERROR")
            importlib.import_module("keras")
    except ImportError as error:
        reason = str(error).strip().partition("\n")[0]
        raise PluginError(
            f"TensorFlow cannot be imported ({reason}); pip install tensorflow keras"
        ) from error


@contextmanager
def without_noise() -> Iterator[None]:
    """Hold back stderr, C++'s too; afterwards pass on what is no start-up noise of TensorFlow or LiteRT.

    After a failure everything is passed on.
    """
    with tempfile.TemporaryFile() as caught:
        keep: Callable[[str], bool] = lambda _line: True  # noqa: E731 - replaced on success
        sys.stderr.flush()
        saved = os.dup(_STDERR)
        os.dup2(caught.fileno(), _STDERR)
        try:
            yield
            keep = _is_no_noise
        finally:
            sys.stderr.flush()
            os.dup2(saved, _STDERR)
            os.close(saved)
            caught.seek(0)
            lines = caught.read().decode(errors="replace").splitlines(keepends=True)
            sys.stderr.writelines(line for line in lines if keep(line))


def _is_no_noise(line: str) -> bool:
    return not _NOISE.match(line)
