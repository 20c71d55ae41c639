"""Fixtures of plugins features."""

from fixtures.plugin_features import ravdess, ravdess_48k, voice  # noqa: F401 - fixtures
from marsbench.plugin.numba_cache import share_compiled_code

# Before the tests are collected: those that call librosa directly compile it as they are imported, in several
# processes at once.
share_compiled_code()
