"""The quiet import, without importing anything."""

import importlib
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from marsbench.errors import PluginError
from marsbench.plugin.keras import import_keras, without_noise

NOISE = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795395123.326363    4508 port.cc:153] oneDNN custom operations are on.",
    "2026-01-01 00:00:00.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] optimized to use",
    "To enable the following instructions: AVX2 FMA, rebuild TensorFlow.",
]


@pytest.mark.parametrize("line", NOISE)
def test_start_up_noise_is_dropped(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    with without_noise():
        os.write(2, f"{line}\n".encode())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "line", ["Illegal instruction", "F0000 00:00:17.3 1 x.cc:1] Check failed", "I am here"]
)
def test_anything_else_is_passed_on(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    with without_noise():
        os.write(2, f"{line}\n".encode())
    assert capfd.readouterr().err == f"{line}\n"


def fail_aloud() -> None:
    os.write(2, f"{NOISE[1]}\n".encode())
    raise ImportError


def test_after_a_failure_all_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImportError), without_noise():
        fail_aloud()
    assert capfd.readouterr().err == f"{NOISE[1]}\n"


def test_a_missing_tensorflow_is_one_line_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(PluginError, match=r"TensorFlow cannot be imported .*pip install tensorflow"):
        import_keras()


@pytest.mark.parametrize("backend", ["torch", "jax", "", None])
def test_networks_get_tensorflow_whatever_backend_is_set(
    backend: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    def load(_name: str) -> Any:
        seen.append(os.environ.get("KERAS_BACKEND"))
        return SimpleNamespace(get_logger=lambda: SimpleNamespace(setLevel=lambda _: None), backend=RIGHT)

    monkeypatch.setenv("KERAS_BACKEND", backend or "")
    if backend is None:
        monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setattr(importlib, "import_module", load)
    import_keras()
    assert set(seen) == {"tensorflow"}


RIGHT = SimpleNamespace(backend=lambda: "tensorflow")


def test_another_backend_that_is_in_use_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    keras = ModuleType("keras")
    keras.backend = SimpleNamespace(backend=lambda: "torch")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keras", keras)
    with pytest.raises(PluginError, match=r"with the backend torch, .*: set KERAS_BACKEND=tensorflow and"):
        import_keras()
