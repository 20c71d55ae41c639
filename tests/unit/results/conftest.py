"""Fixtures of results."""

from fixtures.results import predicted_run  # noqa: F401 - fixtures
