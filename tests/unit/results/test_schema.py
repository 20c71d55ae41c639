"""Records of earlier versions are read."""

import pytest

from marsbench.results.schema import LeakageRecord


@pytest.mark.parametrize("key", ["dropped_duplicates", "dropped"])
def test_dropped_duplicates_are_read_under_both_names(key: str) -> None:
    record = LeakageRecord.model_validate({key: [[0, "a.wav"]]})
    assert record.dropped_duplicates == [(0, "a.wav")]
    assert "dropped_duplicates" in record.model_dump()
