"""Seconds to a quality on RAVDESS: the prototype's recipe in plain Keras, and courses of `cnn_lstm`.

    python benchmarks/time_to_quality.py PATH_TO_RAVDESS [--folds K] [--seeds N] [--ways WAY ...]

All train on the same features (`mfcc_chroma_contrast`, extracted before) and folds (`stratified5`). Plain
Keras fits the prototype's network and recipe (last step of the LSTM, batches of 32, Adam at a constant rate,
40 epochs), fold after fold in one process with TensorFlow's own number of threads. marsbench fits the untuned
`cnn_lstm` as `bench run` does, in two worker processes of one thread: its default, the same with 16 epochs,
and the slow course, 40 epochs with mixup. Each way and seed has a process of its own. Seconds are from
features in memory to predictions of the last fold, TensorFlow's import and workers' start included; CPU
seconds are those of all processes. Macro F1 is that of the predictions of all folds.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.config import Execution, Experiment
from marsbench.evaluation.fit import Unit, fit_unit
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.metrics import objective_score
from marsbench.execution.base import EpochBar, Task
from marsbench.execution.executor import open_executor
from marsbench.execution.limits import THREAD_VARIABLES
from marsbench.features.store import FeatureStore
from marsbench.planning.plans import make_plans
from marsbench.plugin.keras import import_keras
from marsbench.plugin.model import OnEpoch
from marsbench.plugin.search_space import Scalar
from marsbench.progress import Silent
from marsbench.runner.pipeline_job import Units

_PLAIN = "plain"
_NAMES = {
    _PLAIN: "plain Keras, prototype's recipe",
    "default": "marsbench, default",
    "longer": "marsbench, 16 epochs",
    "slow": "marsbench, 40 epochs, mixup",
}
_COURSES: dict[str, dict[str, Scalar]] = {
    _PLAIN: {},
    "default": {},
    "longer": {"cnn_lstm.epochs": 16},
    "slow": {"cnn_lstm.epochs": 40, "cnn_lstm.augment": True},
}
"""Settings by way."""
_BATCH_SIZE, _EPOCHS, _WORKERS = 32, 40, 2

Outcome = dict[str, float]
"""Wall and CPU seconds, and macro F1."""


def units_of(way: str, data: str, seed: int, n_folds: int) -> tuple[list[Unit], NDArray[np.int64]]:
    """The fits of the untuned pipeline, one a fold, and the class of every clip."""
    values = {
        "features": "mfcc_chroma_contrast",
        "model": "cnn_lstm",
        "data": data,
        "protocol": "stratified5",
        "set": _COURSES[way],
    }
    (plan,) = make_plans(Experiment.parse(values, "time_to_quality"), Silent())
    pipeline = plan.pipelines[0]
    features = FeatureStore(pipeline.features, plan.folders).features_of(plan.corpus)
    units = Units.of(plan, pipeline, seed)
    return [units.outer(fold, features) for fold in range(n_folds)], plan.corpus.targets


def reference_network(shape: tuple[int, ...], n_classes: int) -> Any:
    """The prototype's network, written out."""
    keras = import_keras()
    layers = keras.layers
    network = keras.Sequential([keras.Input(shape)])
    for filters in (64, 128):
        network.add(layers.Conv1D(filters, 5, padding="same", activation="relu"))
        network.add(layers.BatchNormalization())
        network.add(layers.MaxPooling1D(2, padding="same"))
        network.add(layers.Dropout(0.3))
    network.add(layers.Bidirectional(layers.LSTM(64)))
    network.add(layers.Dense(128, activation="relu"))
    network.add(layers.Dropout(0.3))
    network.add(layers.Dense(n_classes, activation="softmax"))
    network.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return network


def by_plain_keras(units: list[Unit]) -> tuple[list[NDArray[Any]], float]:
    """Predictions of each fold, by Keras's own loop; no CPU seconds of other processes."""
    keras = import_keras()
    answers = []
    for unit in units:
        keras.utils.set_random_seed(unit.seed % 2**32)
        values, others = (unit.features.read(rows).values for rows in (unit.train, unit.test))
        mean, deviation = values.mean(axis=(0, 1)), values.std(axis=(0, 1))
        network = reference_network(values.shape[1:], unit.n_classes)
        targets = keras.utils.to_categorical(unit.train_targets, unit.n_classes)
        network.fit((values - mean) / deviation, targets, batch_size=_BATCH_SIZE, epochs=_EPOCHS, verbose=0)
        answers.append(network.predict((others - mean) / deviation, verbose=0))
    return answers, 0.0


def fit_in_worker(unit: Unit, on_epoch: OnEpoch) -> tuple[UnitResult, int, float]:
    """Fit as a run does; also gives the process and the CPU seconds that it has used since its start."""
    return fit_unit(unit, on_epoch), os.getpid(), time.process_time()


def by_marsbench(units: list[Unit]) -> tuple[list[NDArray[Any]], float]:
    """Predictions of each fold, by worker processes, and their CPU seconds."""
    work = importlib.import_module(Path(__file__).stem).fit_in_worker  # `__main__` is another in a worker
    tasks = [Task(f"fold {unit.fold}", partial(work, unit)) for unit in units]
    answers, used = [], dict[int, float]()
    with open_executor(Execution(workers=_WORKERS)) as executor, ThreadPoolExecutor(_WORKERS) as pool:
        for outcome in pool.map(lambda task: executor.submit(task, EpochBar(Silent(), task.name)), tasks):
            if isinstance(outcome.value, Failure):
                raise SystemExit(f"{outcome.value.message}\n{outcome.value.traceback}\n{outcome.log}")
            result, process, seconds = outcome.value
            answers.append(result.probabilities)
            used[process] = max(seconds, used.get(process, 0.0))
    return answers, sum(used.values())


def go(way: str, data: str, seed: int, n_folds: int) -> Outcome:
    """Train all folds one way."""
    units, targets = units_of(way, data, seed, n_folds)
    wall, cpu = time.perf_counter(), time.process_time()
    answers, of_workers = (by_plain_keras if way == _PLAIN else by_marsbench)(units)
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu + of_workers}
    rows = [row for unit in units for row in unit.test]
    answer = np.concatenate(answers).astype(np.float32)
    return seconds | {"macro F1": objective_score("macro_f1", answer, targets[rows])}


def in_own_process(way: str, asked: argparse.Namespace, seed: int) -> Outcome:
    """`go` in a new process, which has TensorFlow's own number of threads."""
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    command = [sys.executable, __file__, asked.path, "--folds", str(asked.folds), "--way", way, str(seed)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own command
    outcome: Outcome = json.loads(done.stdout.splitlines()[-1])
    return outcome


def line(name: str, outcomes: list[Outcome]) -> str:
    """A row of the table: means over seeds, and the standard deviation of macro F1."""
    wall, cpu, scores = ([one[key] for one in outcomes] for key in ("wall", "cpu", "macro F1"))
    spread = f" ± {100 * stdev(scores):.1f}" if len(scores) > 1 else ""
    return f"{name:34} {fmean(wall):7.0f} {fmean(cpu):7.0f}   {100 * fmean(scores):.1f}{spread}"


def compare(asked: argparse.Namespace) -> None:
    """Let the ways take turns, seed by seed, and print what each came to."""
    found: dict[str, list[Outcome]] = {way: [] for way in asked.ways}
    for seed in range(asked.seeds):
        for way, outcomes in found.items():
            outcomes.append(in_own_process(way, asked, seed))
            print(f"seed {seed}, {line(_NAMES[way], outcomes[-1:])}", flush=True)
    print(f"\n{asked.folds} of 5 folds, {asked.seeds} seeds, {os.cpu_count()} cores; macro F1 in %")
    print(f"{'':34} {'wall s':>7} {'CPU s':>7}   macro F1")
    for way, outcomes in found.items():
        print(line(_NAMES[way], outcomes))
    for way in [way for way in found if _PLAIN in found and way != _PLAIN]:
        wall, cpu = (
            fmean(one[key] for one in found[way]) / fmean(one[key] for one in found[_PLAIN])
            for key in ("wall", "cpu")
        )
        print(f"{f'{way} / {_PLAIN}':34} {wall:7.2f} {cpu:7.2f}")


def main(words: list[str] | None = None) -> None:
    """Print the ways' seconds and macro F1; or go one way, for the process that compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", help="RAVDESS, or demo")
    parser.add_argument("--folds", type=int, default=5, choices=range(1, 6), help="the first of the folds")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, 100), metavar="N")
    parser.add_argument("--ways", nargs="+", choices=_NAMES, default=list(_NAMES), metavar="WAY")
    parser.add_argument("--way", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.way:
        print(json.dumps(go(asked.way[0], asked.path, int(asked.way[1]), asked.folds)))
    else:
        compare(asked)


if __name__ == "__main__":
    main()
