"""A Keras network with its scaling in front, for LiteRT (TensorFlow Lite): `emotion_NAME.tflite`.

Input: float32 (1, n_frames, n_dims) with as many frames as in training, zeros behind the clip's last frame;
or (1, n_dims) for vectors.
"""

import os
import signal
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from threading import Lock
from types import MappingProxyType
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from marsbench.deployment.formats import _litert_main as litert_main
from marsbench.deployment.formats.keras import input_signature, scaled_network, silence
from marsbench.deployment.model_format import FileModel, ModelFormat, Predictor, feature_kind
from marsbench.environment import import_extra
from marsbench.errors import ExportError, first_line
from marsbench.execution.limits import environment_for
from marsbench.plugin.features import FeatureKind, Floats
from marsbench.plugin.keras import import_tensorflow, without_noise
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.model import Model

RUN_SECONDS = 60.0
"""Longest time to load a file, or to run it on a clip."""
MAX_BYTES = 1 << 31
"""Memory for the file and its tensors."""


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
        """Allocate an interpreter of one thread, in a process of its own."""
        import_extra("ai_edge_litert", "litert")
        process = _Process(path.read_bytes())
        kind = feature_kind(process.input_shape()[1:])
        return FileModel(kind, lambda features: np.stack([process.run(clip) for clip in features.values]))


class _Process:
    """A process that runs one file; it is started when it is needed, and again after it had to end."""

    def __init__(self, data: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._lock = Lock()
        self._owner = 0
        """Id of the process that started it: a fork of that one must not read its answers."""
        self._end: Callable[[], object] = lambda: None

    def input_shape(self) -> tuple[int, ...]:
        """(1, *shape of a clip); raises ValueError as `run`."""
        with self._lock:
            return self._started()

    def run(self, clip: Floats) -> Floats:
        """Outputs for a clip's features, (n_classes,).

        Raises:
            ValueError: the file cannot be run, or not within the bounds of time and memory.
        """
        with self._lock:
            if self._owner != os.getpid():
                self._started()
            return self._answer(clip)

    def _started(self) -> tuple[int, ...]:
        program = [sys.executable, "-m", litert_main.__name__, str(RUN_SECONDS), str(MAX_BYTES)]
        self._process = Popen(  # noqa: S603 - this package's own program
            program, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment_for(1)
        )
        self._end = weakref.finalize(self, _end, self._process, os.getpid())
        shape = self._answer(self._data)
        self._owner = os.getpid()
        return tuple(map(int, shape))

    def _answer(self, array: NDArray[Any]) -> NDArray[Any]:
        """Answer of the process, which ends where there is none: a late one would be the next clip's."""
        requests, answers = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        answer = None
        try:
            with suppress(OSError):  # it has ended: there is no answer
                litert_main.send(requests, array)
            answer = litert_main.receive(answers)
        finally:
            if answer is None:
                self._owner = 0
                self._end()
        if answer is None:
            raise ValueError(_how_it_ended(self._process.wait()))
        if answer.dtype.kind == "U":
            raise ValueError(str(answer))
        return answer


def _how_it_ended(code: int) -> str:
    if hasattr(signal, "SIGALRM") and code == -signal.SIGALRM:
        return f"it took longer than {RUN_SECONDS:g} s"
    return f"it crashed, or needs more than {MAX_BYTES >> 30} GiB of memory"


def _end(process: "Popen[bytes]", owner: int) -> None:
    """End a process, if it was not started by the one of which this is a fork."""
    if os.getpid() == owner:
        process.kill()
        with suppress(OSError):  # what was not sent cannot be flushed
            process.communicate()
