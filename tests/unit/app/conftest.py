"""Fixtures of app."""

from fixtures.app import browser, bundle, clip, clips, corpus, folder, place, served  # noqa: F401 - fixtures
