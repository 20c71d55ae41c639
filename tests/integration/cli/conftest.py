"""Fixtures of cli."""

from fixtures.cli import made_once, ran  # noqa: F401 - fixtures
