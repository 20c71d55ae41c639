"""Runs on disk without running anything, and servers of this machine."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from marsbench.evaluation.criteria import Criteria
from marsbench.evaluation.scores import ClassScores, FoldScores, Metrics, Score
from marsbench.evaluation.unit_result import Failure
from marsbench.plugin.registry import Recipe
from marsbench.results.schema import CorpusRecord, ProtocolRecord, Run
from marsbench.results.store import RunFolder

Serve = Callable[[HTTPServer], AbstractContextManager[None]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Let a server of this machine answer as long as the context lasts."""

    @contextmanager
    def serving(server: HTTPServer) -> Iterator[None]:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()

    return serving


RECIPE = Recipe("tiny", {}, "", {})
CORPUS = CorpusRecord(
    name="tones",
    dataset=RECIPE,
    fingerprint="",
    labels=["low", "high"],
    n_clips=20,
    synthetic=True,
    licence="none",
    bad_audio={},
    notes=[],
)
PROTOCOL = ProtocolRecord(name="stratified5", hash="5" * 64, by_speaker=False, n_folds=2, notes=[])


def metrics(value: float) -> Metrics:
    """Every score is `value`, give or take a tenth, on each of two folds."""
    score = Score(value=value, low=value - 0.1, high=value + 0.1)
    return Metrics(
        accuracy=score,
        macro_f1=score,
        uar=score,
        classes=[
            ClassScores(label=label, n_clips=10, recall=score, precision=value, f1=value)
            for label in CORPUS.labels
        ],
        confusion=[[5, 5], [5, 5]],
        folds=[
            FoldScores(fold=fold, n_clips=10, accuracy=value, macro_f1=value, uar=value) for fold in (0, 1)
        ],
        log_loss=0.5,
        calibration_error=0.1,
    )


@pytest.fixture
def finished_run() -> Callable[..., RunFolder]:
    """Write a run of that id and score below ./results, a failed one without; other fields can be given."""

    def write(run_id: str, score: float | None, **changes: Any) -> RunFolder:
        failed = Failure(fold=0, kind="RuntimeError", message="no luck today", traceback="")
        run = Run(
            run_id=run_id,
            status="failed" if score is None else "complete",
            finished="2026-01-01T00:00:00.000+00:00",
            corpus=CORPUS,
            protocol=PROTOCOL,
            features=RECIPE,
            model=RECIPE,
            settings={"tiny.id": run_id},
            seed=0,
            threads=1,
            hyperparameters=[],
            criteria=Criteria(),
            metrics=None if score is None else metrics(score),
            grades=[],
            verdict=None if score is None else "undecided",
            failures=[failed] if score is None else [],
            warnings=[],
            fit_seconds=0.5,
            predict_seconds=0.5,
            n_parameters=3,
            environment={},
        )
        folder = RunFolder(Path("results") / CORPUS.name / PROTOCOL.name / run_id)
        folder.write_run(run.model_copy(update=changes))
        return folder

    return write
