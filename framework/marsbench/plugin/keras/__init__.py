"""Import TensorFlow and Keras on first use, without their start-up messages, and make them deterministic."""

import importlib
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from marsbench.environment import no_search_for_cycles, without_lines
from marsbench.errors import PluginError, first_line

_LOCK = threading.Lock()
# Lines of TensorFlow's C++ log that are printed before TF_CPP_MIN_LOG_LEVEL takes effect.
_NOISE = re.compile(
    r"WARNING: All log messages before absl"
    r"|[IWE]\d{4} .*\.cc:\d+\]"
    r"|\d{4}-\d\d-\d\d .*\.cc:\d+\]"
    r"|To enable the following instructions"
    r"|INFO: Created TensorFlow Lite"
)


def import_keras() -> Any:
    """Import `keras` with the TensorFlow backend, whatever KERAS_BACKEND or Keras's own settings say.

    Raises:
        PluginError: TensorFlow or Keras cannot be imported, or Keras uses another backend.
    """
    keras = _imported("keras")
    if keras.backend.backend() != "tensorflow":
        raise PluginError(
            f"Keras was imported before, with the backend {keras.backend.backend()}, and networks need "
            "TensorFlow: set KERAS_BACKEND=tensorflow and start Python again"
        )
    return keras


def import_tensorflow() -> Any:
    """Import `tensorflow`; raises PluginError if that fails."""
    return _imported("tensorflow")


def has_gpu() -> bool:
    """Whether TensorFlow has a GPU on this machine."""
    return bool(import_tensorflow().config.list_physical_devices("GPU"))


def make_deterministic(seed: int, *, is_stateless: bool = False) -> None:
    """Reset Keras's layer names, seed Python, NumPy and TensorFlow, and enable deterministic operations.

    Two fits that start with this and have equal arguments are bit-identical on one machine. Models created
    before can still predict. If what is fitted `is_stateless`, it uses no random operation of TensorFlow's
    own, whose kernels have a state: then functions that were optimised before stay so.
    """
    keras = import_keras()
    with _kept_kernels() if is_stateless else nullcontext():
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(seed)
    import_tensorflow().config.experimental.enable_op_determinism()


@contextmanager
def _kept_kernels() -> Iterator[None]:
    """Let nothing clear TensorFlow's cache of kernels: a network's functions would be optimised again.

    That takes as long as 15 training steps. There is no public way to reset the one without the other; a
    TensorFlow without this private one clears both.
    """
    bindings: Any = importlib.import_module("tensorflow.python.pywrap_tfe")
    clear = getattr(bindings, "TFE_ContextClearCaches", None)
    if clear is None:
        yield
        return
    bindings.TFE_ContextClearCaches = lambda _context: None
    try:
        yield
    finally:
        bindings.TFE_ContextClearCaches = clear


def _imported(module: str) -> Any:
    with _LOCK:
        if module not in sys.modules:
            _import_quietly()
        return importlib.import_module(module)


def _import_quietly() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # no other can fit these networks
    try:
        with no_search_for_cycles(), without_noise(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("tensorflow").get_logger().setLevel("ERROR")
            importlib.import_module("keras")
    except ImportError as error:
        reason = first_line(error)
        raise PluginError(
            f"TensorFlow cannot be imported ({reason}); pip install tensorflow keras"
        ) from error


@contextmanager
def without_noise() -> Iterator[None]:
    """Buffer stderr, including that of C++; then print all except start-up messages of TensorFlow and LiteRT.

    If an exception is raised, everything is printed.
    """
    is_done = False
    with without_lines(lambda line: is_done and _NOISE.match(line) is not None):
        yield
        is_done = True
