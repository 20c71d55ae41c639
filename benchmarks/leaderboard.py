"""Time and memory of `bench leaderboard`, `report` and `compare` over many finished runs.

    python benchmarks/leaderboard.py [--runs N] [--times K]

A run of the test kit's fakes on the embedded corpus (eight classes, as RAVDESS has) is written N times under
other ids, seeds, settings and scores, every twentieth as failed; its predictions are copied. Folders of 2,
N / 10 and N are then read in turns, each time by a process of its own with the files in memory and the best
rows compared before; the best of K turns counts.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.scores import Metrics, Score
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder, find_runs

_BENCH = Path(sys.executable).with_name("bench")
_KIT = Path(__file__).parents[1] / "tests" / "kit" / "plugins"
_GRID = ("--features", "crossings", "--model", "nearest_mean", "--trials", "0")
_FAILURE = Failure(fold=0, kind="RuntimeError", message="RuntimeError: no luck today", traceback="…\n" * 40)


class Cost(NamedTuple):
    """What one process took."""

    wall: float
    """Seconds, as are `cpu`'s."""
    cpu: float
    memory: float
    """Most that it held at a time, MiB."""


def real_run(scratch: Path) -> RunFolder:
    """A run as `bench run` leaves it, untuned."""
    # By a process of its own: children begin as copies of this one, whose memory would count as theirs.
    command: list[str | Path] = [_BENCH, "run", *_GRID, "--plugins", _KIT, "--results", scratch / "real"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own command
    (folder,) = find_runs(scratch / "real")
    return folder


def varied(done: Run, number: int) -> Run:
    """The same run with another id, seed, settings and scores, or failed."""
    changes: dict[str, object] = {
        "run_id": f"crossings-nearest_mean-s{number % 7}-{number * 0x9E37_79B9 % 16**12:012x}",
        "seed": number % 7,
        "settings": {"crossings.scale": number / 7},
    }
    if number % 20 == 19:
        changes |= {"status": "failed", "metrics": None, "verdict": None, "failures": [_FAILURE]}
    elif done.metrics:
        changes["metrics"] = _scored(done.metrics, (number * 7919 % 10_007) / 10_007)
    return done.model_copy(update=changes)


def _scored(metrics: Metrics, value: float) -> Metrics:
    score = Score(value=value, low=0.9 * value, high=(value + 9) / 10)
    return metrics.model_copy(update={"accuracy": score, "macro_f1": score, "uar": score})


def write_runs(root: Path, done: RunFolder, count: int) -> Path:
    """Results folder `root` with `count` runs in it."""
    run = done.read_run()
    for copy in (varied(run, number) for number in range(count)):
        folder = RunFolder(root / copy.corpus.name / copy.protocol.name / copy.run_id)
        folder.write_run(copy)
        if copy.metrics is not None:
            shutil.copy(done.predictions, folder.predictions)
    return root


def commands(root: Path) -> dict[str, list[str | Path]]:
    """What is measured of a folder, without the name of the program."""
    first, second = [folder.path.name for folder in find_runs(root)][:2]
    return {
        "leaderboard": ["leaderboard", "--results", root],
        "report": ["report", "--results", root, "-o", root.with_suffix(".html")],
        "compare": ["compare", first, second, "--results", root],
    }


def cost(command: list[str | Path]) -> Cost:
    """One command, from its start to its end."""
    start = time.perf_counter()
    with subprocess.Popen([_BENCH, *command], stdout=subprocess.DEVNULL) as process:  # noqa: S603 - our own command
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"bench {command[0]} ended with exit code {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def report(counts: list[int], times: int) -> None:
    """Print what each command costs over the runs of each count."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        os.environ.setdefault("MARSBENCH_HOME", str(scratch / "home"))
        done = real_run(scratch)
        asked = [commands(write_runs(scratch / str(count), done, count)) for count in counts]
        for name in asked[0]:
            # Every folder in turn, so that what else the machine does meets all of them.
            turns = [[cost(one[name]) for one in asked] for _ in range(times + 1)][1:]
            print(f"bench {name}, best of {times}")
            print_costs(counts, turns)


def print_costs(counts: list[int], turns: list[list[Cost]]) -> None:
    """Print one command's best turn over the folders of each count, and the ratios to the smallest."""
    print(f"{'runs':>8} {'wall s':>14} {'CPU s':>14} {'MiB':>14}")
    best = [Cost(*map(min, zip(*column, strict=True))) for column in zip(*turns, strict=True)]
    for count, found in zip(counts, best, strict=True):
        cells = (f"{value:.2f} ({value / least:.2f}x)" for value, least in zip(found, best[0], strict=True))
        print(f"{count:8,} " + " ".join(f"{cell:>14}" for cell in cells))


def main() -> None:
    """Read the command line and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3_000, help="how many runs at most")
    parser.add_argument("--times", type=int, default=3, help="how many turns")
    options = parser.parse_args()
    report(sorted({2, max(2, options.runs // 10), max(2, options.runs)}), options.times)


if __name__ == "__main__":
    main()
