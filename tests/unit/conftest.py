"""Fixtures of made runs and local servers."""

from fixtures.made_runs import finished_run, serve  # noqa: F401 - fixtures
