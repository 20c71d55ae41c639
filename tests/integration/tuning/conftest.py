"""Fixtures of tuning."""

from fixtures.tuning import fits, tuned, undrawn, usual_results  # noqa: F401 - fixtures
