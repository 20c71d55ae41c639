"""Fixtures of protocols."""

from fixtures.protocols import corpus, of_clips, ravdess, write  # noqa: F401 - fixtures
