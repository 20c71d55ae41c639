"""Fixtures of app."""

from fixtures.app import bundle, clip, clips, corpus, folder, place, serve_page, served  # noqa: F401 - fixtures
