"""Clusters as users start them: processes that talk over the loopback."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from marsbench.config import Experiment
from marsbench.errors import ConfigError, ExecutionError
from marsbench.execution.base import EpochBar, Executor, Outcome, Task, Work
from marsbench.execution.dask_cluster import DaskExecutor
from marsbench.execution.limits import Limits
from marsbench.features.store import FeatureStore
from marsbench.planning.plans import make_plans
from marsbench.progress import Silent
from marsbench.runner.runner import run

KIT = Path(__file__).parents[2] / "kit" / "plugins"
NO_LIMITS = Limits()


def outcomes(executor: Executor, *works: Work) -> list[Outcome]:
    """In the order of the works."""
    tasks = [Task(str(number), work) for number, work in enumerate(works)]
    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(lambda task: executor.submit(task, EpochBar(Silent(), task.name)), tasks))


@pytest.mark.slow
def test_workers_that_come_while_tasks_run_are_used(cluster: Any, works: Any) -> None:
    cluster.start_worker()
    with DaskExecutor(cluster.address, 1, NO_LIMITS) as executor:
        assert executor.slots == 1
        threading.Timer(0.3, cluster.start_worker).start()
        done = outcomes(executor, *[works.call(works.getppid_after, 1.0)] * 8)
        assert executor.slots == 2
    assert len({outcome.value for outcome in done}) == 2


def test_no_process_is_left_on_the_workers_when_the_driver_ends(busy_cluster: Any, works: Any) -> None:
    with DaskExecutor(busy_cluster.address, 1, NO_LIMITS) as executor:
        (outcome,) = outcomes(executor, works.call(os.getppid))
        assert psutil.pid_exists(outcome.value)
    assert not psutil.pid_exists(outcome.value)


def experiment(kit: Path, **changes: Any) -> Experiment:
    """Five units of the kit's fakes."""
    values = {"features": "crossings", "model": "unruly", "data": "tones", "plugins": [kit]}
    return Experiment.model_validate(values | changes)


def predictions(asked: Experiment, progress: Silent | None = None) -> bytes:
    """Of the one complete run."""
    ((folder, done),) = run(asked, progress)
    assert done.status == "complete", done.failures
    return folder.predictions.read_bytes()


class After(Silent):
    """Does something once so many folds are finished."""

    def __init__(self, n_folds: int, then: Callable[[], object]) -> None:
        self.left, self.then = n_folds, then
        self.lines: list[str] = []

    @contextmanager
    def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        yield self.advance if label.endswith(", folds") else lambda _steps: None

    def advance(self, steps: int) -> None:
        self.left -= steps
        if self.left == 0:
            self.then()

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Predictions of the experiment when nothing goes wrong, in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARSBENCH_HOME", str(folder / "home"))
        patch.chdir(folder)
        return predictions(experiment(KIT, workers=0))


SLOW = {"unruly.how": "sleeps", "unruly.seconds": 0.2}


@pytest.mark.parametrize(
    ("n_workers", "n_killed"), [(2, 1), pytest.param(4, 2, marks=pytest.mark.slow)], ids=str
)
def test_a_run_that_loses_workers_half_way_ends_as_if_nothing_had_been(
    n_workers: int, n_killed: int, kit: Path, cluster: Any, undisturbed: bytes
) -> None:
    workers = [cluster.start_worker() for _ in range(n_workers)]
    kill = After(2, lambda: [cluster.kill(victim) for victim in workers[-n_killed:]])
    assert predictions(experiment(kit, set=SLOW, cluster=cluster.address), kill) == undisturbed
    assert kill.left < 0


def test_a_run_that_loses_all_workers_waits_for_new_ones(kit: Path, cluster: Any) -> None:
    only = cluster.start_worker()

    def replace() -> None:
        cluster.kill(only)
        threading.Timer(3, cluster.start_worker).start()  # workers are counted once a second

    lost = After(1, replace)
    predictions(experiment(kit, set=SLOW, cluster=cluster.address), lost)
    assert any("the cluster has no workers left; waiting for new ones" in line for line in lost.lines)


def test_a_lost_scheduler_ends_the_run_which_goes_on_when_asked_again(
    kit: Path, cluster: Any, undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marsbench.execution.dask_cluster._PATIENCE", 1)
    cluster.start_worker()
    with pytest.raises(ExecutionError, match=r"^the .*; rerun the same command to resume$"):
        run(
            experiment(kit, set=SLOW, cluster=cluster.address),
            After(2, lambda: cluster.kill(cluster.scheduler)),
        )
    kept = {path: path.read_bytes() for path in Path("results").rglob("fold-?.json")}
    assert len(kept) >= 2
    assert predictions(experiment(kit, set=SLOW)) == undisturbed
    assert {path: path.read_bytes() for path in kept} == kept


def test_features_reach_workers_that_share_no_files_with_the_driver(
    kit: Path, cluster: Any, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, away = tmp_path / "home" / "features", tmp_path / "away"
    provide = DaskExecutor.provide

    def provide_and_hide(self: DaskExecutor, files: tuple[Path, Path]) -> None:
        provide(self, files)
        store.rename(away)

    monkeypatch.setattr(DaskExecutor, "sees", lambda *_: False)
    monkeypatch.setattr(DaskExecutor, "provide", provide_and_hide)
    for number in range(2):
        cluster.start_worker(MARSBENCH_HOME=str(tmp_path / f"home of worker {number}"))
    assert predictions(experiment(kit, cluster=cluster.address)) == undisturbed
    assert away.exists()
    assert len(list(tmp_path.glob("home of worker */features/crossings-*/*"))) == 4


def test_features_reach_workers_that_come_later(kit: Path, cluster: Any, works: Any, tmp_path: Path) -> None:
    (plan,) = make_plans(experiment(kit), Silent())
    features = FeatureStore(plan.pipelines[0].features, plan.folders).features_of(plan.corpus)
    expected = features.array(3).tolist()
    with DaskExecutor(cluster.address, 1, NO_LIMITS) as executor:
        assert not executor.sees(features.path)
        executor.provide(features.files)
        (tmp_path / "home" / "features").rename(tmp_path / "away")
        cluster.start_worker(MARSBENCH_HOME=str(tmp_path / "home of worker"))
        (outcome,) = outcomes(executor, works.partial(works.read_features, features, 3))
    assert outcome.value == expected


def test_workers_without_a_common_folder_extract_and_fetch_features_from_the_shared_place(
    kit: Path, cluster: Any, undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, place = tmp_path / "home" / "features", tmp_path / "bucket"
    monkeypatch.setenv("MARSBENCH_FEATURES", place.as_uri())
    for number in range(2):
        away = tmp_path / f"machine {number}"
        away.mkdir()
        cluster.start_worker(
            MARSBENCH_HOME=str(away / "home"), TMPDIR=str(away), MARSBENCH_FEATURES="", HOME=str(away)
        )
    provide = DaskExecutor.provide

    def provide_and_hide(self: DaskExecutor, files: tuple[Path, Path]) -> None:
        provide(self, files)
        store.rename(tmp_path / "hidden")

    monkeypatch.setattr(DaskExecutor, "provide", provide_and_hide)
    assert predictions(experiment(kit, cluster=cluster.address)) == undisturbed
    assert len(list(place.glob("crossings-*/*"))) == 2
    assert list(tmp_path.glob("machine */home/features/crossings-*/*.f32"))


@pytest.mark.slow
def test_two_drivers_share_a_cluster(kit: Path, busy_cluster: Any, tmp_path: Path) -> None:
    make_plans(experiment(kit), Silent())  # its corpus is written once
    asked = [
        experiment(kit, model=model, cluster=busy_cluster.address, results=tmp_path / model)
        for model in ("nearest_mean", "unruly")
    ]
    with ThreadPoolExecutor(2) as drivers:
        ((_, first),), ((_, second),) = drivers.map(run, asked)
    assert (first.status, second.status) == ("complete", "complete")


@contextmanager
def server(answer: bytes | None) -> Iterator[str]:
    """Address of something that is no scheduler: it says that to whoever connects, or nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    kept.append(connection)
                    if answer is not None:
                        connection.sendall(answer)
                        connection.close()

        kept: list[socket.socket] = []
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


def no_scheduler(address: str) -> str:
    """The message of a failure to connect."""
    return f"no Dask scheduler answers at {address}; start one with: dask scheduler"


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:1", "127.0.0.1:1", "tcp://no-such-host.invalid:8786", "smoke://x", "nonsense", ""],
)
def test_an_address_without_a_scheduler_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marsbench.execution.dask_cluster._PATIENCE", 0.3)
    with pytest.raises(ExecutionError) as error, DaskExecutor(address, 1, NO_LIMITS):
        pass
    assert str(error.value) == no_scheduler(address)


@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 99, bytes(999)])
def test_a_server_that_is_no_scheduler_is_one_line(
    answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marsbench.execution.dask_cluster._PATIENCE", 0.3)
    with server(answer) as address:
        with pytest.raises(ExecutionError) as error, DaskExecutor(address, 1, NO_LIMITS):
            pass
        assert str(error.value) == no_scheduler(address)


def test_a_worker_is_no_scheduler(busy_cluster: Any) -> None:
    address = busy_cluster.worker_address
    with pytest.raises(ExecutionError) as error, DaskExecutor(address, 1, NO_LIMITS):
        pass
    assert str(error.value) == no_scheduler(address)


def test_a_cluster_without_workers_is_one_line(
    kit: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marsbench.execution.dask_cluster._PATIENCE", 1)
    with pytest.raises(ExecutionError) as error:
        run(experiment(kit, cluster=cluster.address))
    address = cluster.address
    message = f"the cluster at {address} has no workers; start one with: dask worker {address}"
    assert str(error.value) == message


def test_workers_with_another_marsbench_are_refused_in_one_line(
    kit: Path, busy_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marsbench.runner.pipeline_job.fit_version", lambda: "another")
    with pytest.raises(
        ConfigError, match=r"^a worker has another version of marsbench than the driver; install"
    ):
        run(experiment(kit, cluster=busy_cluster.address))
    assert not list(Path("results").rglob("fold-*.json"))


def test_a_notebook_can_use_a_cluster(busy_cluster: Any, works: Any) -> None:
    async def cell() -> list[Outcome]:
        with DaskExecutor(busy_cluster.address, 1, NO_LIMITS) as executor:
            return outcomes(executor, works.call(abs, -1))

    assert asyncio.run(cell()) == [Outcome(1)]
