"""Times and sizes as texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsbench.options import seconds, size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1d", 86_400), ("500ms", 0.5),
        ("1.5h", 5400), (" 2 min 5 sec ", 125), ("1e-06s", 1e-6), ("90S", 90),
    ],
)  # fmt: skip
def test_a_time_is_numbers_with_units(text: str, value: float) -> None:
    assert seconds(text) == value


@given(st.floats(1e-9, 1e12))
def test_a_time_written_in_seconds_is_read_exactly(value: float) -> None:
    assert seconds(f"{value!r}s") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500MB", 500_000_000),
        ("4GB", 4 * 10**9),
        ("2GiB", 2 << 30),
        ("1.5k", 1500),
        ("10 b", 10),
        ("3mi", 3 << 20),
    ],
)
def test_a_size_is_a_number_with_a_unit(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "soon", "h", "5x", "-5s", "1h30", "m5", "1e999s", "nans", "inf"])
def test_what_is_no_time_is_answered_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a time such as 90s, 30m, 2h or 1h30m is needed$"):
        seconds(text)


@pytest.mark.parametrize("text", ["", "much", "GB", "4XB", "-4GB", "1e400GB"])
def test_what_is_no_size_is_answered_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a size such as 500MB, 4GB or 2GiB is needed$"):
        size(text)


def test_a_number_without_a_unit_is_answered_with_the_units() -> None:
    with pytest.raises(ValueError, match=r"^5 what. Write 5s, 5m or 5h$"):
        seconds("5")
    with pytest.raises(ValueError, match=r"^1.5 what. Write 1.5MB or 1.5GB$"):
        size(" 1.5 ")
