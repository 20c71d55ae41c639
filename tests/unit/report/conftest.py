"""Fixtures of report."""

from fixtures.report import page_of, tags, told_run  # noqa: F401 - fixtures
from fixtures.results import predicted_run  # noqa: F401 - fixtures
