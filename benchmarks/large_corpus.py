"""Extract features of a corpus whose features are larger than the memory that extraction takes.

Generates many short clips (0.2 s of noise each) and extracts 16 KB of features from each, in two worker
processes. Prints, after every tenth of the clips, the throughput of that tenth and the resident memory of all
processes together; last the peak. The throughput should not fall and the memory not grow with the clips.

    python benchmarks/large_corpus.py [N_CLIPS]    # 100,000 by default: five minutes, 4 GB of disk
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import soundfile

from marsbench.data.audio_validation import check_audio
from marsbench.data.corpus import CheckedCorpus, Clip, Corpus
from marsbench.execution.base import EpochBar, Task
from marsbench.execution.executor import LocalPool
from marsbench.execution.limits import Limits
from marsbench.features.extraction import Extracted, Extraction
from marsbench.features.store import FeatureStore
from marsbench.plugin.registry import discover
from marsbench.progress import Silent

RATE = 8000
EXTRACTOR = '''
import numpy as np
from marsbench.plugin import FeatureExtractor

class Wide(FeatureExtractor):
    """64 frames of 64 samples' magnitudes: quick to make and large to keep."""
    kind = "frames"
    def __init__(self, sample_rate: int = 8000):
        self.sample_rate = sample_rate
    def extract(self, waveform, sample_rate):
        return np.abs(np.resize(waveform, (64, 64))).astype(np.float32)
'''


def make_corpus(folder: Path, n_clips: int) -> CheckedCorpus:
    """So many different clips of two classes."""
    noise = np.random.default_rng(0)
    clips = []
    for number in range(n_clips):
        path = folder / f"{number // 1000}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise.normal(0, 0.1, RATE // 5), RATE)
        clips.append(Clip(str(number), path, "ab"[number % 2]))
    return check_audio(Corpus("large", ("a", "b"), tuple(clips)))


def resident() -> int:
    """Bytes of resident memory of this process and its children."""
    here = psutil.Process()
    return sum(process.memory_info().rss for process in [here, *here.children(recursive=True)])


class Meter:
    """Prints a line for each tenth of the clips."""

    def __init__(self, n_clips: int) -> None:
        self.step = max(1, n_clips // 10)
        self.done = 0
        self.peak = 0
        self.start = time.perf_counter()

    def watch(self, ended: threading.Event) -> None:
        """Look at the memory again and again until the event."""
        while not ended.wait(0.05):
            self.peak = max(self.peak, resident())

    def advance(self, steps: int) -> None:
        """Count clips."""
        before, self.done = self.done, self.done + steps
        if self.done // self.step > before // self.step:
            now, megabytes = time.perf_counter(), resident() / 1e6
            print(f"{self.done:9,} {self.step / (now - self.start):9.0f} {megabytes:9.0f}", flush=True)
            self.start = now


class Metered(Silent):
    """Progress that feeds the meter."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    @contextmanager
    def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Callable[[int], None]]:  # noqa: ARG002 - needs neither
        """Count the clips of the extraction."""
        yield self.meter.advance


def main(n_clips: int) -> None:
    """Make the corpus, extract, print."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["MARSBENCH_HOME"] = str(folder / "home")
        plugin = folder / "plugins" / "features" / "wide.py"
        plugin.parent.mkdir(parents=True)
        plugin.write_text(EXTRACTOR)
        corpus = make_corpus(folder / "audio", n_clips)
        print(f"{'clips':>9} {'clips/s':>9} {'MB':>9}", flush=True)
        meter = Meter(n_clips)
        folders = (folder / "plugins",)
        store = FeatureStore(discover(folders).get("features", "wide").recipe({}), folders)
        with LocalPool(2, 1, Limits()) as executor, ThreadPoolExecutor(executor.slots) as pool:

            def run_all(extractions: Iterable[Extraction]) -> Iterator[Extracted]:
                tasks = (Task("extraction", extraction) for extraction in extractions)
                for outcome in pool.map(
                    lambda task: executor.submit(task, EpochBar(Silent(), task.name)), tasks
                ):
                    yield outcome.value

            ended = threading.Event()
            threading.Thread(target=meter.watch, args=(ended,)).start()
            try:
                features = store.features_of(corpus, Metered(meter), run_all)
            finally:
                ended.set()
        print(f"{features.path.stat().st_size / 1e6:,.0f} MB of features")
        print(f"peak resident memory, all processes together: {meter.peak / 1e6:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
