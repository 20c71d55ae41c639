"""Fixtures for every test."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test out of the user's cache and the checkout's own plugins folder."""
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
