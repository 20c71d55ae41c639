"""Time and memory from a plan to a report over made-up corpora, to see what grows faster than the clips.

The planner, the checks of duplicates, the protocols, the feature store, the scheduler, the runs' files, the
scores and the board are the real ones. Made up is what other machines would do: reading audio (every clip has
facts, a hundredth have the same audio as another one), extraction (one number a clip) and fits (the true
class has a probability of 0.6 in six of ten clips). Each size has a process of its own, and nothing of it is
kept. Printed are the units and, by step, CPU and wall seconds and the most memory that the process has had
until then.

    python benchmarks/scale.py [--clips N ...] [--classes N] [--speakers N] [--protocol NAME] [--runs N]

Without --speakers no speaker is known, and single clips are drawn for the intervals.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from marsbench.config import Experiment
from marsbench.data import audio_validation
from marsbench.data.corpus import AudioFacts, ClipSource
from marsbench.environment import environment
from marsbench.evaluation.fit import Unit
from marsbench.evaluation.fit_result import UnitResult
from marsbench.execution.base import EpochBar, Executor, Outcome, Task
from marsbench.features.extraction import ExtractedClip, Extraction
from marsbench.hashing import digest
from marsbench.planning.plans import make_plans
from marsbench.progress import Advance, Silent
from marsbench.report.page import build_page
from marsbench.report.selection import select_all
from marsbench.results.leaderboard import leaderboards
from marsbench.runner import runner

DATASET = '''
from dataclasses import dataclass
from pathlib import Path
from marsbench.data.corpus import Clip, Corpus
from marsbench.plugin import Dataset

@dataclass
class MadeUp(Dataset):
    """Clips without audio: their classes in turn, as many of each speaker."""
    n_clips: int = 1000
    n_classes: int = 4
    n_speakers: int = 10

    def load(self):
        labels = tuple(f"class{number}" for number in range(self.n_classes))
        clips = (
            Clip(
                f"{number // 1000}/{number}.wav",
                Path(f"/made-up/{number}.wav"),
                labels[number % self.n_classes],
                f"speaker{number * self.n_speakers // self.n_clips}" if self.n_speakers else None,
            )
            for number in range(self.n_clips)
        )
        return Corpus("made-up", labels, tuple(clips), synthetic=True, licence="none")
'''
EXTRACTOR = '''
from marsbench.plugin import FeatureExtractor

class Nothing(FeatureExtractor):
    """One number a clip."""
    kind = "vector"
'''
MODEL = '''
from marsbench.plugin import Model

class Guess{number}(Model):
    """Fits nothing."""
    accepts = "vector"
'''


def made_up_facts(sources: list[ClipSource], _advance: Advance) -> dict[ClipSource, AudioFacts]:
    """Facts of clips that no file holds; every 101st has the same audio as the one before it."""
    facts = {}
    for source in sources:
        number = int(source.path.stem)
        content = digest(number - (number % 101 == 100))  # of no class all clips
        facts[source] = AudioFacts(content, content, 16_000, 1, 2.0, peak=0.5)
    return facts


class Elsewhere(Executor):
    """Makes up what a task comes to."""

    runs_in_caller = True
    slots = 2

    def __init__(self) -> None:
        self.n_units = 0

    def sees(self, path: Path) -> bool:  # noqa: ARG002 - there is none
        """Whether tasks see a file."""
        return True

    def submit(self, task: Task, bar: EpochBar) -> Outcome:  # noqa: ARG002 - no epochs
        """Features, or a fold's probabilities."""
        if isinstance(task.work, Extraction):
            keys = (key for key, _ in task.work.clips)
            return Outcome({key: ExtractedClip(np.zeros(1, np.float32), 0.01) for key in keys})
        self.n_units += 1
        return Outcome(guessed(task.work.args[0]))  # type: ignore[attr-defined]


def guessed(unit: Unit) -> UnitResult:
    """Probabilities of a fold's clips, of which sixty in a hundred are right."""
    generator = np.random.default_rng(unit.seed)
    rows, n_classes = np.asarray(unit.test), unit.n_classes
    # Rows are in the order of the clips' ids, so these are not the true classes: that changes no cost.
    wrong = generator.random(len(rows)) > 0.6 + 0.1 * generator.random()
    given = (rows + wrong * generator.integers(1, n_classes, len(rows))) % n_classes
    probabilities = np.full((len(rows), n_classes), 0.4 / (n_classes - 1), np.float32)
    probabilities[np.arange(len(rows)), given] = 0.6
    return UnitResult(
        fold=unit.fold,
        probabilities=probabilities,
        hyperparameters={},
        n_parameters=1,
        history=[],
        warnings=[],
        finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
        environment=environment(),
        fit_seconds=1.0,
        predict_seconds=0.1,
    )


@contextmanager
def measured(step: str) -> Iterator[None]:
    """Print what a step takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    taken = time.process_time() - cpu, time.perf_counter() - wall
    print(f"  {step:<34} {taken[0]:9.2f} {taken[1]:9.2f} {peak:9.0f}", flush=True)


def timed(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is measured."""

    def call(*arguments: Any, **options: Any) -> Any:
        with measured(step):
            return function(*arguments, **options)

    return call


def write_plugins(folder: Path, n_models: int) -> None:
    """A dataset, an extractor and so many models, as files of a user's."""
    texts = {"datasets/made_up": DATASET, "features/nothing": EXTRACTOR}
    texts |= {f"models/guess{number}": MODEL.format(number=number) for number in range(n_models)}
    for name, text in texts.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def simulate(options: argparse.Namespace) -> None:
    """From a plan to a leaderboard, for one number of clips, in this process."""
    (n_clips,) = options.clips
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["MARSBENCH_HOME"] = str(folder / "home")
        write_plugins(folder / "plugins", options.runs)
        elsewhere = Elsewhere()
        vars(audio_validation).update(_examine_all=made_up_facts)
        planned = timed("planning", make_plans)
        vars(runner).update(open_executor=lambda _asked: elsewhere, make_plans=planned)
        asked = {
            "data": ["made_up"],
            "features": ["nothing"],
            "model": [f"guess{number}" for number in range(options.runs)],
            "protocol": [options.protocol],
            "plugins": [str(folder / "plugins")],
            "results": str(folder / "results"),
            "trials": 0,
            "set": {
                "made_up.n_clips": n_clips,
                "made_up.n_classes": options.classes,
                "made_up.n_speakers": options.speakers,
            },
        }
        print(f"{n_clips:,} clips", flush=True)
        with measured("planning, and all runs"):
            runner.run(Experiment.parse(asked, "benchmark"), Silent())
        for step in ("leaderboard", "leaderboard again"):
            with measured(step):
                (board,), _ = leaderboards(folder / "results")
        with measured("report"):
            page = build_page(select_all(folder / "results", None))
        print(f"  {elsewhere.n_units:,} units, {len(board.rows):,} rows, {len(page):,} characters of report")


def main() -> None:
    """Read the command line; a process for each number of clips."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--speakers", type=int, default=0)
    parser.add_argument("--protocol", default="stratified5")
    parser.add_argument("--runs", type=int, default=4)
    options = parser.parse_args()
    if len(options.clips) == 1:
        simulate(options)
        return
    print(f"  {'step':<34} {'CPU s':>9} {'wall s':>9} {'peak MiB':>9}", flush=True)
    same = [f"--{name}={value}" for name, value in vars(options).items() if name != "clips"]
    for n_clips in options.clips:
        subprocess.run([sys.executable, __file__, "--clips", str(n_clips), *same], check=True)  # noqa: S603 - this very file


if __name__ == "__main__":
    main()
