"""How a network is trained: the rate of each epoch, the clips of each step, what a rung is."""

from dataclasses import dataclass
from math import cos, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsbench.plugin.keras.model import KerasModel, _Schedule
from marsbench_plugins.models.cnn_lstm import CnnLstm


def schedule(course: str = "constant", rate: float | None = 0.01, batch_size: int = 0) -> _Schedule:
    return _Schedule(
        batch_size=batch_size,
        early_stopping=False,
        class_weights=False,
        augmentation=None,
        learning_rate=rate,
        course=course,
    )


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        ("constant", [None] * 4),
        ("cosine", [0.01 * 0.5 * (1 + cos(pi * share)) for share in (0, 1 / 4, 1 / 2, 3 / 4)]),
        ("one_cycle", [0.005, *(0.01 * 0.5 * (1 + cos(pi * share)) for share in (1 / 6, 1 / 2, 5 / 6))]),
    ],
)
def test_the_rate_stays_or_falls_or_rises_and_falls(course: str, expected: list[float | None]) -> None:
    assert [schedule(course).rate(epoch, 4) for epoch in range(4)] == pytest.approx(expected)


@given(st.integers(1, 200))
def test_one_cycle_rises_once_then_falls_and_never_exceeds_the_rate(epochs: int) -> None:
    rates = [schedule("one_cycle").rate(epoch, epochs) or 0.0 for epoch in range(epochs)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 0.01 for rate in rates)
    assert rates == sorted(rates[:top]) + sorted(rates[top:], reverse=True)
    assert top <= (epochs + 1) / 4


@pytest.mark.parametrize("course", ["constant", "cosine", "one_cycle"])
def test_a_network_with_an_optimiser_of_its_own_keeps_its_rate(course: str) -> None:
    assert schedule(course, rate=None).rate(0, 10) is None


@pytest.mark.parametrize(
    ("n_clips", "passes", "clips"),
    [
        (1, 512, 21),
        (30, 18, 22),
        (192, 3, 24),
        (256, 2, 21),
        (511, 2, 42),
        (512, 1, 21),
        (1000, 1, 41),
        (1536, 1, 64),
        (1952, 1, 64),
        (10**6, 1, 64),
    ],
)
def test_small_corpora_are_passed_several_times_in_batches_of_a_24th(
    n_clips: int, passes: int, clips: int
) -> None:
    assert (schedule().passes(n_clips), schedule().clips_per_step(n_clips)) == (passes, clips)


@given(st.integers(1, 10**6))
def test_an_epoch_has_at_least_24_steps_of_8_to_64_clips(n_clips: int) -> None:
    chosen = schedule()
    assert 8 <= chosen.clips_per_step(n_clips) <= 64
    assert chosen.steps(n_clips) >= 24
    assert chosen.passes(n_clips) * n_clips >= 512


@pytest.mark.parametrize("n_clips", [1, 100, 10**6])
def test_a_batch_size_that_is_set_holds_for_any_number_of_clips(n_clips: int) -> None:
    chosen = schedule(batch_size=32)
    assert (chosen.clips_per_step(n_clips), chosen.passes(n_clips)) == (32, 1)


def test_other_networks_keep_their_batch_size_of_32() -> None:
    assert (KerasModel.batch_size, CnnLstm.batch_size) == (32, 0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_size", -1, "batch_size must be at least 0, not -1"),
        ("epochs", 0, "epochs must be at least 1, not 0"),
        ("patience", -1, "patience must be at least 0, not -1"),
    ],
)
def test_a_parameter_out_of_range_is_refused(name: str, value: int, message: str) -> None:
    @dataclass
    class Net(KerasModel):
        """Any network."""

    with pytest.raises(ValueError, match=message):
        Net(**{name: value})  # type: ignore[arg-type]  # all are integers
