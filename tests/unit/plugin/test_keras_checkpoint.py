"""Checkpoints come back as they were, hold numbers only, and know which epoch was the best."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from marsbench.errors import TrainingError
from marsbench.plugin.keras.trainer import Checkpoint

dtypes = st.sampled_from([np.dtype(name) for name in ("float32", "float64", "int64", "uint32", "bool")])
arrays = dtypes.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, max_side=3)))
values = st.lists(arrays, max_size=12)
"""More than ten, so that their order is not that of their names."""
metrics = st.dictionaries(
    st.sampled_from(["loss", "accuracy", "val_loss"]), st.floats(allow_nan=False), min_size=1
)
histories = st.lists(metrics, max_size=4)


def with_losses(*losses: float | None, best_epoch: int = 0) -> Checkpoint:
    """After epochs of these validation losses; None is an epoch without validation."""
    history = [{"loss": 1.0} | ({} if loss is None else {"val_loss": loss}) for loss in losses]
    return Checkpoint(history=history, best_epoch=best_epoch)


def identity(group: list[Any]) -> list[tuple[Any, ...]]:
    return [(array.dtype, array.shape, array.tobytes()) for array in group]


@given(values, values, st.integers(0, 100), histories)
def test_a_checkpoint_comes_back_bit_for_bit(
    now: list[Any], best: list[Any], best_epoch: int, history: list[dict[str, float]]
) -> None:
    before = Checkpoint(now, best, best_epoch, history)
    after = Checkpoint.from_bytes(before.to_bytes())
    assert identity(after.values) == identity(before.values)
    assert identity(after.best) == identity(before.best)
    assert (after.best_epoch, after.history) == (before.best_epoch, before.history)


def test_nothing_before_the_first_epoch_comes_back_as_nothing() -> None:
    assert Checkpoint.from_bytes(Checkpoint().to_bytes()) == Checkpoint()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**parts: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **parts)
    return file.getvalue()


def text(plain: Any) -> Any:
    return np.frombuffer(json.dumps(plain).encode(), np.uint8)


STRANGERS = {
    "empty": b"",
    "one byte": b"P",
    "rubbish": b"no archive",
    "an array": npy(np.ones(3)),
    "a pickle": pickle.dumps({"best_epoch": 0}),
    "another archive": npz(values_0=np.ones(3)),
    "no JSON": npz(plain=np.frombuffer(b"{", np.uint8)),
    "no text": npz(plain=np.frombuffer(b"\xff\xfe", np.uint8)),
    "no table": npz(plain=text([1, 2])),
    "no history": npz(plain=text({"best_epoch": 0})),
    "a gap": npz(plain=text({"best_epoch": 0, "history": []}), values_1=np.ones(3)),
}


@pytest.mark.parametrize("data", STRANGERS.values(), ids=STRANGERS)
def test_anything_else_than_a_checkpoint_is_refused(data: bytes) -> None:
    with pytest.raises(TrainingError, match=r"^a checkpoint cannot be read: "):
        Checkpoint.from_bytes(data)


class Opens:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self._path,)


@pytest.fixture(params=["array", "values", "plain", "bare pickle"])
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    """Bytes that would create `touched` if any of them were unpickled."""
    code = np.array([Opens(tmp_path / "touched")], dtype=object)
    plain = text({"best_epoch": 0, "history": []})
    ways = {
        "array": npy(code),
        "values": npz(plain=plain, values_0=code),
        "plain": npz(plain=code),
        "bare pickle": pickle.dumps(code),
    }
    return ways[request.param]


def test_code_in_a_checkpoint_is_refused_and_not_executed(hostile: bytes, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a checkpoint cannot be read"):
        Checkpoint.from_bytes(hostile)
    assert not (tmp_path / "touched").exists()


def test_that_code_would_be_executed_where_pickles_are_allowed(tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    np.load(io.BytesIO(npy(np.array([Opens(tmp_path / "touched")], dtype=object))), allow_pickle=True)
    assert (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([0.5], True),
        ([0.5, 0.4], True),
        ([0.4, 0.5], False),
        ([0.4, 0.4], False),
        ([0.3, 0.5, 0.4], False),
        ([0.5, 0.3, 0.4, 0.2], True),
        ([0.5, 0.0], True),
        ([0.0, -0.5], True),
        ([None, 0.5], True),
        ([0.5, None], False),
        ([None, None], False),
    ],
)
def test_the_best_epoch_is_the_first_of_least_validation_loss(
    losses: list[float | None], expected: bool
) -> None:
    assert with_losses(*losses).is_best() == expected


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8))
def test_the_last_epoch_that_was_best_when_it_came_is_the_best_of_all(losses: list[float]) -> None:
    best = [n for n in range(1, len(losses) + 1) if with_losses(*losses[:n]).is_best()][-1]
    assert best == int(np.argmin(losses)) + 1


@pytest.mark.parametrize(("n_epochs", "best_epoch", "waited"), [(0, 0, 0), (1, 1, 0), (3, 1, 2), (5, 0, 5)])
def test_epochs_since_the_best_are_counted(n_epochs: int, best_epoch: int, waited: int) -> None:
    assert with_losses(*[1.0] * n_epochs, best_epoch=best_epoch).waited == waited


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_a_checkpoint_that_was_cut_off_is_refused(kept: float) -> None:
    whole = Checkpoint([np.ones(3, np.float32)], [np.ones(2)], 1, [{"loss": 1.0}]).to_bytes()
    with pytest.raises(TrainingError, match="a checkpoint cannot be read"):
        Checkpoint.from_bytes(whole[: int(kept * len(whole))])
