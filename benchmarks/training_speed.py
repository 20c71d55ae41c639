"""Training the reference network: as a notebook does it with Keras, and as marsbench does.

    python benchmarks/training_speed.py [--epochs N] [--folds K] [--clips N] [--repeat TIMES]

Plain Keras builds and compiles the reference network's layers anew for every fold and calls `model.fit`,
fold after fold in one process with TensorFlow's own number of threads. marsbench gives `CnnLstm.fit`, with
that network and its recipe, to one worker process of one thread, and all folds to two of them. Each way has
processes of its own, so that none warms another.

In the table, "one fit" is the first fit of a process that has TensorFlow imported, tracing included;
"all K" is everything from a process's start to its end, imports, workers' start and predictions included. The
ways take turns; the least of the turns' seconds counts. Random features have classes that can be learnt, but
not without error: loss and accuracy, means over folds, show whether the ways come to equal quality.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.config import Execution
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import EpochBar, Task
from marsbench.execution.executor import open_executor
from marsbench.execution.limits import THREAD_VARIABLES
from marsbench.plugin.features import Features, Floats
from marsbench.plugin.keras import import_keras
from marsbench.plugin.model import Examples, FitContext, OnEpoch
from marsbench.plugin.search_space import Defaults, Scalar
from marsbench.progress import Silent
from marsbench_plugins.models.cnn_lstm import CnnLstm

_N_CLASSES = 8
_SHAPE = (174, 59)
_BATCH_SIZE = 32
_RECIPE: dict[str, Scalar] = {
    "pooling": "last",
    "dropout": 0.3,
    "norm_momentum": 0.99,
    "schedule": "constant",
    "learning_rate": 1e-3,
}
"""How `cnn_lstm` differs from its defaults here: as `reference_network` and Keras's Adam."""
_WAYS = {"plain": "plain Keras", "alone": "marsbench, 1 worker", "workers": "marsbench, 2 workers"}

Fold = dict[str, float]
"""Seconds of the fit, loss of its last epoch, accuracy on the clips held out."""
Parts = tuple[Floats, NDArray[np.int64], Floats, NDArray[np.int64]]
"""Values and classes to train on, then those held out."""


def write_clips(folder: Path, count: int) -> None:
    """Clips that differ among themselves as much as frames do, and by class somewhat less."""
    random = np.random.default_rng(0)
    classes = np.arange(count) % _N_CLASSES
    means = (
        random.normal(size=(count, _SHAPE[1])) + 0.4 * random.normal(size=(_N_CLASSES, _SHAPE[1]))[classes]
    )
    values = random.standard_normal((count, *_SHAPE), np.float32)
    values += means.astype(np.float32)[:, None]
    np.save(folder / "values.npy", values)
    np.save(folder / "classes.npy", classes)


def parts(folder: Path, fold: int, n_folds: int) -> Parts:
    """A fold holds out every clip of its number, counted around within each class."""
    values, classes = np.load(folder / "values.npy"), np.load(folder / "classes.npy")
    held_out = np.arange(len(classes)) // _N_CLASSES % n_folds == fold
    return values[~held_out], classes[~held_out], values[held_out], classes[held_out]


def in_a_notebook(folder: Path, fold: int, n_folds: int, epochs: int) -> Fold:
    """Fit a new network by Keras's own loop."""
    values, classes, others, truth = parts(folder, fold, n_folds)
    start = time.perf_counter()
    keras = import_keras()
    keras.utils.set_random_seed(fold)
    mean, deviation = values.mean(axis=(0, 1)), values.std(axis=(0, 1))
    network = reference_network()
    network.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    history = network.fit(
        (values - mean) / deviation,
        keras.utils.to_categorical(classes, _N_CLASSES),
        batch_size=_BATCH_SIZE,
        epochs=epochs,
        verbose=0,
    )
    seconds = time.perf_counter() - start
    answer = network.predict((others - mean) / deviation, verbose=0)
    return summary(seconds, history.history["loss"][-1], answer, truth)


def reference_network() -> Any:
    """The layers of `cnn_lstm` with pooling "last", written out, its LSTM left as Keras makes it."""
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(_SHAPE),
            layers.Conv1D(64, 5, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling1D(2, padding="same"),
            layers.Dropout(0.3),
            layers.Conv1D(128, 5, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling1D(2, padding="same"),
            layers.Dropout(0.3),
            layers.Bidirectional(layers.LSTM(64)),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(_N_CLASSES, activation="softmax"),
        ]
    )


def by_marsbench(folder: Path, fold: int, n_folds: int, epochs: int, on_epoch: OnEpoch) -> Fold:
    """Fit as a unit does, in a worker process."""
    values, classes, others, truth = parts(folder, fold, n_folds)
    import_keras()
    start = time.perf_counter()
    context = FitContext(_N_CLASSES, fold, on_epoch=on_epoch)
    model = CnnLstm(epochs=epochs, batch_size=_BATCH_SIZE, patience=0)
    model.fit(Examples(whole(values), classes), Defaults(_RECIPE), context)
    seconds = time.perf_counter() - start
    return summary(seconds, model.history_[-1]["loss"], model.predict_proba(whole(others)), truth)


def whole(values: Floats) -> Features:
    """Features without padding."""
    return Features(values, np.full(len(values), _SHAPE[0]))


def summary(seconds: float, loss: float, answer: NDArray[Any], truth: NDArray[np.int64]) -> Fold:
    """What a fit came to."""
    accuracy = float((answer.argmax(axis=1) == truth).mean())
    return {"seconds": seconds, "loss": float(loss), "accuracy": accuracy}


def through_workers(folder: Path, folds: range, n_folds: int, epochs: int, workers: int) -> Iterator[Fold]:
    """Folds as they are done."""
    work = importlib.import_module(Path(__file__).stem).by_marsbench  # `__main__` is another in a worker
    tasks = [Task(f"fold {fold}", partial(work, folder, fold, n_folds, epochs)) for fold in folds]
    with open_executor(Execution(workers=workers)) as executor, ThreadPoolExecutor(workers) as pool:
        for outcome in pool.map(lambda task: executor.submit(task, EpochBar(Silent(), task.name)), tasks):
            if isinstance(outcome.value, Failure):
                raise SystemExit(f"{outcome.value.message}\n{outcome.value.traceback}\n{outcome.log}")
            yield outcome.value


def go(way: str, folder: Path, n_folds: int, epochs: int) -> list[Fold]:
    """What a way's folds come to; one fold for one worker alone."""
    if way == "plain":
        import_keras()
        return [in_a_notebook(folder, fold, n_folds, epochs) for fold in range(n_folds)]
    folds, workers = (range(1), 1) if way == "alone" else (range(n_folds), 2)
    return list(through_workers(folder, folds, n_folds, epochs, workers))


def in_own_process(way: str, folder: Path, asked: argparse.Namespace) -> tuple[float, list[Fold]]:
    """Seconds that a way's process takes, and its folds."""
    words = [way, str(folder), str(asked.folds), str(asked.epochs)]
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    start = time.perf_counter()
    command = [sys.executable, __file__, "--way", *words]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own command
    return time.perf_counter() - start, json.loads(done.stdout.splitlines()[-1])


def average(folds: list[Fold], name: str) -> float:
    """Mean over folds."""
    return sum(fold[name] for fold in folds) / len(folds)


def compare(folder: Path, asked: argparse.Namespace) -> None:
    """Print the ways side by side, and the ratios of their least seconds."""
    print(
        f"{asked.clips} clips of {_SHAPE}, {asked.epochs} epochs, {os.cpu_count()} cores; seconds, quality:"
    )
    print(f"{'':22} {'one fit':>9} {f'all {asked.folds}':>9} {'loss':>8} {'accuracy':>9}")
    fits: dict[str, list[float]] = {way: [] for way in _WAYS}
    runs: dict[str, list[float]] = {way: [] for way in _WAYS}
    for _ in range(asked.repeat):
        for way, name in _WAYS.items():
            seconds, folds = in_own_process(way, folder, asked)
            fits[way].append(folds[0]["seconds"])
            runs[way].append(seconds)
            one = f"{folds[0]['seconds']:9.1f}" if way != "workers" else f"{'':9}"
            run = f"{seconds:9.1f}" if way != "alone" else f"{'':9}"
            print(
                f"{name:22} {one} {run} {average(folds, 'loss'):8.4f} {average(folds, 'accuracy'):9.3f}",
                flush=True,
            )
    print(f"{'plain / marsbench':22} {least(fits, 'alone'):9.2f} {least(runs, 'workers'):9.2f}")


def least(seconds: dict[str, list[float]], way: str) -> float:
    """Ratio of plain Keras's least seconds to another way's."""
    return min(seconds["plain"]) / min(seconds[way])


def main() -> None:
    """Print both ways' seconds and what they came to; or go one way, for the process that compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--folds", type=int, default=5, help="at least 2; the ways run them all")
    parser.add_argument("--clips", type=int, default=1952, help="that each fold trains on")
    parser.add_argument("--repeat", type=int, default=1, help="how many turns")
    parser.add_argument("--way", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        way, folder, n_folds, epochs = asked.way
        print(json.dumps(go(way, Path(folder), int(n_folds), int(epochs))))
        return
    if asked.folds < 2:
        parser.error("--folds must be at least 2: something is to be held out")
    with tempfile.TemporaryDirectory() as folder:
        write_clips(Path(folder), asked.clips * asked.folds // (asked.folds - 1))
        compare(Path(folder), asked)


if __name__ == "__main__":
    main()
