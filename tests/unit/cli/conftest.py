"""Fixtures of cli."""

from fixtures.cli import made_once, ran  # noqa: F401 - fixtures
from fixtures.results import predicted_run  # noqa: F401 - fixtures
