"""Fixtures of execution."""

from fixtures.execution import busy_cluster, cluster, gone, nothing_is_left, works  # noqa: F401 - fixtures
