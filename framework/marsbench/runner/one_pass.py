"""Check audio and extract features in one pass over the files, in worker processes.

Each file is read and decoded once instead of twice. It is done for one built-in extractor whose store is
empty; other extractors, and clips that have features already, come afterwards as usual. So does one that
turns out to be slow, as encoders are: reading twice costs little beside it, and what is wrong with the audio
is to be told before.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import median

from marsbench.data.audio_validation import EXAMINED_HERE, Examiner, Sources, examine_file, examined_here
from marsbench.data.corpus import AudioFacts
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Called, EpochBar, Executor, Outcome, Task
from marsbench.execution.executor import LocalPool
from marsbench.features.extraction import Examination, Examined
from marsbench.features.store import FeatureStore, Keep, chunk_size
from marsbench.planning.pipelines import Pipeline
from marsbench.plugin.registry import Recipe
from marsbench.progress import Silent

_SLOW = 0.005
"""CPU seconds to extract a second of audio, above which an extractor is slow; `prosody` takes 0.01."""
_Task = tuple[Sequence[Sources], Future[Outcome]]
"""Some files, and what a worker finds of them."""


def examiner_for(executor: Executor, pipelines: Sequence[Pipeline], folders: Sequence[Path]) -> Examiner:
    """What examines audio for these pipelines, whose drop-in plugins are in `folders`."""
    if isinstance(executor, LocalPool):
        for recipe in {one.features.name: one.features for one in pipelines}.values():
            called = Called("features", recipe.name, tuple(folders))
            if called.entry.is_builtin and FeatureStore(recipe, called.folders).holds_no_corpus:
                one_pass = _OnePass(executor, recipe, called)
                return Examiner(f"Checking audio, extracting {recipe.name}", one_pass.examine_all)
    return EXAMINED_HERE


class _OnePass:
    def __init__(self, executor: Executor, recipe: Recipe, plugin: Called) -> None:
        self._executor, self._recipe, self._plugin = executor, recipe, plugin

    def examine_all(self, files: Sequence[Sources]) -> Iterator[list[AudioFacts]]:
        """Facts of the clips of each file, while features are kept."""
        with FeatureStore(self._recipe, self._plugin.folders).filled_early() as keep:
            if keep is None:
                yield from examined_here(files)
                return
            with ThreadPoolExecutor(self._executor.slots) as pool:
                tasks = [(part, pool.submit(self._outcome, part)) for part in _parts(files)]
                try:
                    yield from self._facts(tasks, keep)
                finally:
                    _cancel(tasks)

    def _facts(self, tasks: Sequence[_Task], keep: Keep) -> Iterator[list[AudioFacts]]:
        for part, future in tasks:
            if future.cancelled():
                yield from examined_here(part)
                continue
            outcome = future.result()
            if isinstance(outcome.value, Failure):  # such as a worker that died; extraction will tell
                yield from map(examine_file, part)
                continue
            keep(outcome.value.features)
            yield from outcome.value.facts
            if _is_slow(outcome.value):
                _cancel(tasks)

    def _outcome(self, files: Sequence[Sources]) -> Outcome:
        work = Examination(self._recipe, self._plugin.folders, tuple(map(tuple, files)))
        task = Task(f"{self._recipe.name}, {len(files)} files", work, self._plugin)
        return self._executor.submit(task, EpochBar(Silent(), task.name))


def _parts(files: Sequence[Sources]) -> Iterator[Sequence[Sources]]:
    """Files of one task each: as many clips as a task of extraction has, or those of one file."""
    size = chunk_size(sum(map(len, files)))
    part: list[Sources] = []
    for file in files:
        part.append(file)
        if sum(map(len, part)) >= size:
            yield part
            part = []
    if part:
        yield part


def _is_slow(examined: Examined) -> bool:
    """Whether extraction takes so long that the check should not wait for it."""
    lengths = [max(clip.seconds, 1.0) for file in examined.facts for clip in file if not clip.problem]
    return bool(examined.cpu_seconds) and median(examined.cpu_seconds) > _SLOW * median(lengths)


def _cancel(tasks: Sequence[_Task]) -> None:
    for _, future in tasks:
        future.cancel()
