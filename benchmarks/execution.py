"""What worker processes cost a unit, and what a second worker gains.

    python benchmarks/execution.py [--units N] [--times K]

N units that do next to nothing (the test kit's nearest_mean) are run in this process, by one worker and by
one worker of a Dask cluster on this machine; their overhead is the time from the first to the last, less what
fitting and predicting took. Eight units of about a second in one thread are then run by one worker and by
two, and the same work by one and two plain processes: what the machine has to give at that moment. All take
turns; the best of K turns counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import LocalCluster

from marsbench.config import Experiment
from marsbench.progress import Silent
from marsbench.runner.runner import run

_KIT = Path(__file__).parents[1] / "tests" / "kit" / "plugins"
_N_LONG = 8

_SPIN = "sum(number * number % 7 for number in range(ROUNDS))"
_SPINS = f"""
from marsbench.plugin import Model
class Spins(Model):
    "Computes in one thread for about a second."
    accepts = "vector"
    def fit(self, train, hp, context):
        self.width_ = context.n_classes
        {_SPIN}
        return self
    def predict_proba(self, features):
        import numpy as np
        return np.full((len(features), self.width_), 1 / self.width_)
"""


class Stopwatch(Silent):
    """Measures how long the units of a run take, from the first that is begun to the last."""

    seconds: float

    @contextmanager
    def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Callable[[int], None]]:  # noqa: ARG002 - as in Progress
        """Time the bar of folds."""
        start = time.perf_counter()
        yield lambda _steps: None
        if label.endswith(", folds"):
            self.seconds = time.perf_counter() - start


def write_protocol(folder: Path, n_folds: int, n_takes: int) -> Path:
    """A protocol file for the corpus `tones` whose fold N tests every clip of number N modulo `n_folds`."""
    clips = [
        f"{label}/{label}-{speaker}-{take}"
        for label in ("low", "middle", "high")
        for speaker in range(5)
        for take in range(n_takes)
    ]
    path = folder / f"folds{n_folds}.json"
    folds = [clips[number::n_folds] for number in range(n_folds)]
    path.write_text(json.dumps({"name": path.stem, "by": "clip", "folds": folds}), encoding="utf-8")
    return path


def timed_run(model: str, n_units: int, where: int | str, plugins: Path) -> tuple[float, float]:
    """Seconds that the units took together, and those that they say themselves.

    `where` is a number of workers, or the address of a cluster.
    """
    watch, n_takes = Stopwatch(), 2 + n_units // 15
    with tempfile.TemporaryDirectory() as results:
        experiment = Experiment(
            features=["crossings"],
            model=[model],
            data=["tones"],
            set={"tones.n_takes": n_takes},
            protocol=[str(write_protocol(plugins, n_units, n_takes))],
            plugins=[_KIT, plugins],
            results=Path(results),
            **({"cluster": where} if isinstance(where, str) else {"workers": where}),
        )
        ((_, done),) = run(experiment, watch)
    return watch.seconds, done.fit_seconds + done.predict_seconds


def overhead(n_units: int, where: int | str, plugins: Path) -> float:
    """Milliseconds a unit beside its own work."""
    wall, own = timed_run("nearest_mean", n_units, where, plugins)
    return 1e3 * (wall - own) / n_units


def plain(n_processes: int, script: str) -> float:
    """Seconds for the long units' work, divided evenly among processes that know nothing of marsbench."""
    command = [sys.executable, "-c", f"for _ in range({_N_LONG // n_processes}): {script}"]
    start = time.perf_counter()
    processes = [subprocess.Popen(command) for _ in range(n_processes)]  # noqa: S603 - our own command
    for process in processes:
        process.wait()
    return time.perf_counter() - start


def rounds_a_second() -> int:
    """How far the loop of the long units gets in about a second."""
    start = time.perf_counter()
    sum(number * number % 7 for number in range(2_000_000))
    return int(2_000_000 / (time.perf_counter() - start))


def main() -> None:
    """Print overheads and gains."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=200, help="how many units that do next to nothing")
    parser.add_argument("--times", type=int, default=3, help="how many turns")
    asked = parser.parse_args()
    rounds = str(rounds_a_second())
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("MARSBENCH_HOME", f"{scratch}/home")
        plugins = Path(scratch)
        (plugins / "models").mkdir()
        (plugins / "models" / "spins.py").write_text(_SPINS.replace("ROUNDS", rounds), encoding="utf-8")
        print_overheads(asked.units, asked.times, plugins)
        print_gains(asked.times, plugins, _SPIN.replace("ROUNDS", rounds))


def print_overheads(n_units: int, times: int, plugins: Path) -> None:
    """In this process, by one worker and by one of a cluster, in turns."""
    timed_run("nearest_mean", n_units, 0, plugins)  # extracts, and imports what runs need
    with LocalCluster(1, threads_per_worker=1, dashboard_address=None) as cluster:
        places = (0, 1, cluster.scheduler_address)
        turns = [[overhead(n_units, where, plugins) for where in places] for _ in range(times)]
    here, worker, remote = (min(column) for column in zip(*turns, strict=True))
    print(f"overhead a unit, {n_units} units:      in this process {here:6.1f} ms")
    print(f"                               by one worker   {worker:6.1f} ms   (target: under 50)")
    print(f"                               by a cluster's  {remote:6.1f} ms   (target: under 50)")


def print_gains(times: int, plugins: Path, script: str) -> None:
    """By one and two workers, and by one and two plain processes, in turns."""
    print(f"{_N_LONG} long units, s:  1 worker  2 workers    gain   plain: 1 process  2 processes    gain")
    turns = []
    for _ in range(times):
        workers = [timed_run("spins", _N_LONG, n, plugins)[0] for n in (1, 2)]
        turns.append([*workers, *(plain(n, script) for n in (1, 2))])
        print_row("", turns[-1])
    print_row("least", [min(column) for column in zip(*turns, strict=True)])
    print("target: a gain of 1.7 or more where plain processes gain nearly 2")


def print_row(name: str, seconds: list[float]) -> None:
    """Four times and the two ratios."""
    one, two, plain_one, plain_two = seconds
    print(f"{name:16} {one:10.1f} {two:10.1f} {one / two:7.2f}", end="")
    print(f"   {plain_one:16.1f} {plain_two:12.1f} {plain_one / plain_two:7.2f}")


if __name__ == "__main__":
    main()
