"""Fixtures of plugins features."""

from fixtures.plugin_features import ravdess, ravdess_48k, voice  # noqa: F401 - fixtures
