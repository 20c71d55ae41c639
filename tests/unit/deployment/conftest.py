"""Fixtures of deployment."""

from fixtures.bundle import bundle, corpus, folder, registry  # noqa: F401 - fixtures
