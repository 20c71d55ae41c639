"""Fixtures of cli."""

from fixtures.cli import ran  # noqa: F401 - fixtures
