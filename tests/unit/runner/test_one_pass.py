"""Checking and extracting in one pass gives what the two give one after the other."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from marsbench.atomic_files import try_lock
from marsbench.data.audio_validation import EXAMINED_HERE, Examiner, Sources, check_audio
from marsbench.data.corpus import AudioFacts, Corpus
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import EpochBar, Executor, Outcome, Task, attempt
from marsbench.execution.executor import InProcess, LocalPool
from marsbench.execution.limits import Limits
from marsbench.features import store as store_module
from marsbench.features.extraction import Examination, Extracted, Extraction
from marsbench.features.feature_file import FeatureFile
from marsbench.features.store import FeatureStore
from marsbench.planning.pipelines import make_pipeline
from marsbench.plugin.base import Dataset
from marsbench.plugin.registry import Recipe, discover
from marsbench.runner import one_pass
from marsbench.runner.one_pass import examiner_for


class Inline(LocalPool):
    """Does the tasks of worker processes in this one; the first few come to nothing."""

    def __init__(self, n_failures: int = 0) -> None:
        super().__init__(1, 1, Limits())
        self.n_failures = n_failures

    def submit(self, task: Task, bar: EpochBar) -> Outcome:  # noqa: ARG002 - no epochs
        if self.n_failures > 0:
            self.n_failures -= 1
            return Outcome(Failure(kind="WorkerDied", message="killed"))
        return Outcome(attempt(task.work, lambda *_: None))


@pytest.fixture
def corpus(kit: Path) -> Corpus:
    return cast("Dataset", discover((kit,)).get("datasets", "tones").plugin.create({})).load()


FEATURES = "log_mel"


@pytest.fixture
def recipe() -> Recipe:
    return discover(()).get("features", FEATURES).recipe({})


def examiner(executor: Executor, features: str = FEATURES, folders: tuple[Path, ...] = ()) -> Examiner:
    return examiner_for(executor, [make_pipeline(discover(folders), features, "svm", {})], folders)


def arrays(file: FeatureFile) -> list[bytes]:
    return [file.array(position).tobytes() for position in range(len(file.clips))]


@pytest.mark.parametrize("n_failures", [0, 1])
def test_one_pass_gives_the_facts_and_the_features_of_two(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_failures: int
) -> None:
    bad = corpus.clips[7].path
    bad.write_bytes(b"no audio")
    first = FeatureStore(recipe, (), tmp_path / "apart")
    apart = check_audio(corpus)
    expected = arrays(first.features_of(apart))
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "another"))
    together = check_audio(corpus, examiner=examiner(Inline(n_failures)))
    assert (together.facts, together.bad) == (apart.facts, apart.bad)
    assert len(together.bad) == 1
    store, extracted = FeatureStore(recipe, ()), list[Extraction]()

    def run_all(extractions: Iterable[Extraction]) -> Iterator[Extracted]:
        for extraction in extractions:
            extracted.append(extraction)
            yield extraction()

    assert arrays(store.features_of(together, run_all=run_all)) == expected
    # What a worker that died should have extracted is left for the extraction.
    assert sum(len(one.clips) for one in extracted) == 16 * n_failures


def test_the_label_says_what_is_extracted(corpus: Corpus) -> None:  # noqa: ARG001 - the home is empty
    assert examiner(Inline()).label == "Checking audio, extracting log_mel"


def test_after_an_interruption_the_rest_is_done_in_one_pass_too(corpus: Corpus, recipe: Recipe) -> None:
    store, half = FeatureStore(recipe, ()), len(corpus.clips) // 2
    one_pass = examiner(Inline())

    def interrupted(files: Sequence[Sources]) -> Iterator[list[AudioFacts]]:
        yield from one_pass.examine_all(files[:half])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_audio(corpus, examiner=Examiner("", interrupted))
    seen: list[int] = []

    def rest(files: Sequence[Sources]) -> Iterator[list[AudioFacts]]:
        seen.append(len(files))
        yield from examiner(Inline()).examine_all(files)

    checked = check_audio(corpus, examiner=Examiner("", rest))
    assert seen == [len(corpus.clips) - half]
    missing = list[Extraction]()

    def run_all(extractions: Iterable[Extraction]) -> Iterator[Extracted]:
        missing.extend(extractions)
        return iter([one() for one in missing])

    store.features_of(checked, run_all=run_all)
    assert not missing


def test_clips_that_have_features_already_are_only_checked(corpus: Corpus, recipe: Recipe) -> None:
    FeatureStore(recipe, ()).features_of(check_audio(corpus))
    assert examiner(Inline()) is EXAMINED_HERE


@pytest.mark.parametrize(
    ("executor", "features"), [(InProcess(1), FEATURES), (Inline(), "blocks")], ids=["process", "drop-in"]
)
def test_only_worker_processes_and_built_in_extractors_do_it(
    kit: Path, executor: Executor, features: str
) -> None:
    assert examiner(executor, features, (kit,)) is EXAMINED_HERE


def test_audio_is_only_checked_while_another_process_extracts(corpus: Corpus, recipe: Recipe) -> None:
    store, in_one_pass = FeatureStore(recipe, ()), examiner(Inline())
    lock = try_lock(store.folder)
    assert lock is not None
    assert len(check_audio(corpus, examiner=in_one_pass).facts) == len(corpus.clips)
    lock.release()
    assert store.holds_no_corpus


def test_an_extractor_that_fails_does_not_keep_audio_from_being_checked(
    corpus: Corpus, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = discover((kit,)).get("features", "blocks")
    monkeypatch.setattr(entry.plugin, "extract", lambda *_: 1 / 0)
    files = tuple((clip.source,) for clip in corpus.clips)
    examined = Examination(entry.recipe({}), (kit,), files)()
    assert [one.problem for (one,) in examined.facts] == [None] * len(files)
    assert examined.features == {}


def test_the_check_does_not_wait_for_a_slow_extractor(
    corpus: Corpus, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled, first, cancel = threading.Event(), iter([True]), one_pass._cancel

    class Waiting(Inline):
        """Goes on after its first task once the others are cancelled."""

        def submit(self, task: Task, bar: EpochBar) -> Outcome:
            assert next(first, False) or cancelled.wait(60)
            return super().submit(task, bar)

    def cancelling(tasks: Sequence[one_pass._Task]) -> None:
        cancel(tasks)
        cancelled.set()

    monkeypatch.setattr(one_pass, "_cancel", cancelling)
    monkeypatch.setattr(one_pass, "_SLOW", 0.0)
    monkeypatch.setattr(store_module, "_CHUNK", 2)
    checked = check_audio(corpus, examiner=examiner(Waiting()))
    assert len(checked.clips) == len(corpus.clips)
    n_extracted = sum(len(file.clips) for file in FeatureStore(recipe, ())._whole_files())
    assert n_extracted == 4  # of the first task, and of the one that was under way
