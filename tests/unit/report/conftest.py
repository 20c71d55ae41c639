"""Fixtures of report."""

from fixtures.report import page_of, tags, told_run  # noqa: F401 - fixtures
