"""Fixtures of tuning."""

from fixtures.tuning import fits, tuned, usual_results  # noqa: F401 - fixtures
