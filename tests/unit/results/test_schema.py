"""Records of earlier versions are read."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from marsbench.atomic_files import write_checksummed
from marsbench.config import Criteria
from marsbench.evaluation.scores import Grade, Score
from marsbench.results.row import row_of
from marsbench.results.schema import LeakageRecord
from marsbench.results.store import RunFolder

SCORE = Score(value=0.9, low=0.85, high=0.95)
GRADES = [Grade(criterion="accuracy", threshold=0.8, score=SCORE, reached=True, outcome="pass")]


@pytest.mark.parametrize("key", ["dropped_duplicates", "dropped"])
def test_dropped_duplicates_are_read_under_both_names(key: str) -> None:
    record = LeakageRecord.model_validate({key: [[0, "a.wav"]]})
    assert record.dropped_duplicates == [(0, "a.wav")]
    assert "dropped_duplicates" in record.model_dump()


def older(folder: RunFolder, **protocol: Any) -> None:
    """Write a run as versions did that told of no speakers."""
    record = json.loads(folder.read_run().model_dump_json(exclude={"limits", "independent_clips"}))
    record["protocol"] |= protocol
    write_checksummed(folder.path / "run.json", json.dumps(record))


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ({"leakage": {"speakers_shared": 0}}, "undecided"),
        ({"leakage": {"speakers_shared": 3}}, "pass"),
        ({"leakage": {"speakers_shared": 0}, "by_speaker": True}, "pass"),
    ],
)
def test_an_older_run_is_limited_unless_it_tells_that_speakers_were_known(
    finished_run: Callable[..., RunFolder], protocol: dict[str, Any], expected: str
) -> None:
    folder = finished_run("a", 0.95, verdict="pass", pass_confidence=0.99, grades=GRADES)
    older(folder, **protocol)
    run, standing = folder.read_run(), folder.read_standing()
    assert standing is not None
    easier = Criteria(accuracy=0.5, macro_f1=0.5, class_recall=0.5)
    verdicts = {run.verdict, *(row_of(standing, asked).verdict for asked in (run.criteria, easier))}
    assert verdicts == {grade.outcome for grade in run.grades} == {expected}
    assert bool(run.limits) == (run.pass_confidence is None) == (expected == "undecided")


def test_a_fail_stays_one_whatever_limits_the_verdict(finished_run: Callable[..., RunFolder]) -> None:
    folder = finished_run("a", 0.2, verdict="fail")
    older(folder, leakage={"speakers_shared": 0})
    assert folder.read_run().verdict == "fail"
    assert folder.read_run().limits
