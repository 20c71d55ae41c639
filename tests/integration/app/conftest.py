"""Fixtures of app."""

from fixtures.app import bundle, clip, clips, corpus, folder, place, served  # noqa: F401 - fixtures
