"""A model that misbehaves towards the process that it is in, as its parameters say."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.hashing import derived_seed
from marsbench.plugin import (
    Examples,
    FeatureKind,
    Features,
    FitContext,
    HyperParameters,
    Model,
    Probabilities,
)

_FOREVER = 3600.0
_MOST_MEMORY = 3 << 30
"""Bytes: where no limit holds it, the machine survives."""


@dataclass
class Unruly(Model):
    """The class whose mean is nearest; what else a fit does is `how`."""

    accepts: ClassVar[FeatureKind] = "vector"
    how: str = "nothing"
    marker: str = ""
    """A path: only the fit that makes this file misbehaves, so a second try of the same does not."""
    seconds: float = 0.0
    """How long `sleeps`, `hangs`, `holds_gil` and `threads` take; 0 is for ever, with `sleeps` no time."""
    fold: int = -1
    """Only this fold of a run with seed 0 misbehaves; -1 for all."""

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Misbehave; whoever survives it takes each class's mean."""
        if self.fold in (-1, _fold_of(context.seed)) and _is_first(self.marker):
            _WAYS[self.how](self, train, context)
        values = train.features.values
        means = [values[train.targets == target].mean(axis=0) for target in range(context.n_classes)]
        self.means_: NDArray[np.float32] = np.stack(means)
        self.n_parameters_ = self.means_.size
        return self

    def predict_proba(self, features: Features) -> Probabilities:
        """Softmax over negative distances."""
        distances = np.linalg.norm(features.values[:, None] - self.means_, axis=2).astype(np.float64)
        scores = np.exp(distances.min(axis=1, keepdims=True) - distances)
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), np.float64)

    def save(self, folder: Path) -> None:
        """Write the means."""
        np.save(folder / "means.npy", self.means_, allow_pickle=False)

    def load(self, folder: Path) -> Self:
        """Read the means."""
        self.means_ = np.load(folder / "means.npy", allow_pickle=False)
        return self


def _fold_of(seed: int) -> int:
    """Fold of a run with seed 0 whose units have this seed, if it is among the first hundred."""
    return next((fold for fold in range(100) if derived_seed(0, fold) == seed), -1)


def _is_first(marker: str) -> bool:
    try:
        if marker:
            Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


_Way = Callable[[Unruly, Examples, FitContext], object]


def _raises(_model: Unruly, _train: Examples, _context: FitContext) -> None:
    raise RuntimeError("no luck today")


def _interrupts(_model: Unruly, _train: Examples, _context: FitContext) -> None:
    raise KeyboardInterrupt


def _hangs(model: Unruly, _train: Examples, _context: FitContext) -> None:
    end = time.monotonic() + (model.seconds or _FOREVER)
    while time.monotonic() < end:
        time.sleep(0.01)


def _holds_gil(model: Unruly, _train: Examples, _context: FitContext) -> None:
    ctypes.PyDLL(None).sleep(int(model.seconds or _FOREVER))


def _takes_memory(_model: Unruly, _train: Examples, _context: FitContext) -> None:
    taken: list[NDArray[np.uint8]] = []
    while sum(block.nbytes for block in taken) < _MOST_MEMORY:
        taken.append(np.ones(32 << 20, np.uint8))
        time.sleep(0.02)
    raise MemoryError("nothing held it")


def _prints(_model: Unruly, _train: Examples, _context: FitContext) -> None:
    for number in range(1_000_000):
        print(f"line {number}")  # noqa: T201 - the trouble


def _writes_to_stdout(_model: Unruly, _train: Examples, _context: FitContext) -> None:
    """Past Python: what a native library would do."""
    os.write(1, b"rubbish on standard output\n")
    os.write(2, b"rubbish on standard error\n")


def _leaves_thread(model: Unruly, _train: Examples, _context: FitContext) -> None:
    threading.Thread(target=time.sleep, args=(model.seconds or _FOREVER,), daemon=True).start()


def _leaves_process(_model: Unruly, _train: Examples, _context: FitContext) -> None:
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({_FOREVER})"])


def _writes_into_input(_model: Unruly, train: Examples, _context: FitContext) -> None:
    train.features.values[:] = 0
    train.targets[:] = 0


def _counts_epochs(_model: Unruly, _train: Examples, context: FitContext) -> None:
    for epoch in range(1, 4):
        context.on_epoch(epoch, 3, {})


_WAYS: dict[str, _Way] = {
    "nothing": lambda *_: None,
    "raises": _raises,
    "interrupts": _interrupts,
    "leaves": lambda *_: sys.exit(3),
    "exit": lambda *_: os._exit(7),
    "segfault": lambda *_: ctypes.string_at(0),
    "killed": lambda *_: os.kill(os.getpid(), signal.SIGKILL),
    "stopped": lambda *_: os.kill(os.getpid(), signal.SIGSTOP),
    "aborts": lambda *_: os.abort(),
    "sleeps": lambda model, *_: time.sleep(model.seconds),
    "hangs": _hangs,
    "holds_gil": _holds_gil,
    "memory": _takes_memory,
    "prints": _prints,
    "stdout": _writes_to_stdout,
    "closes": lambda *_: os.closerange(0, 64),
    "threads": _leaves_thread,
    "processes": _leaves_process,
    "writes": _writes_into_input,
    "epochs": _counts_epochs,
}
