"""Fixtures of plugins features."""

import pytest

from fixtures.plugin_features import ravdess, ravdess_48k, voice  # noqa: F401 - fixtures
from marsbench.plugin.numba_cache import share_compiled_code


@pytest.fixture(scope="session", autouse=True)
def _compile_alone() -> None:
    """Tests call librosa directly, in several processes at once."""
    share_compiled_code(("librosa",))
