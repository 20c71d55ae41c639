from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bench = Callable[..., Any]
WRITES = "; bench search or bench export --best writes one"


@pytest.fixture(autouse=True)
def _places() -> None:
    """A folder of audio, an empty one, a file, a finished run's folder."""
    for name in ("audio", "empty", "run"):
        Path(name).mkdir()
    for name in ("audio/a.wav", "b.wav", "run/run.json"):
        Path(name).write_bytes(b"{}")


@pytest.mark.parametrize("sources", [("b.wav",), ("gone.wav",), ("audio",), ("empty",), ("*.mp3",)])
@pytest.mark.parametrize(
    ("bundle", "found"),
    [
        ("gone", f"gone is not a bundle: there is no such folder{WRITES}"),
        ("b.wav", f"b.wav is not a bundle: it is a file{WRITES}"),
        ("audio", f"audio is not a bundle: it has no bundle.json{WRITES}"),
        ("run", "run is a run, not a bundle; make one of it with: bench export run"),
    ],
)
def test_what_is_no_bundle_is_named_whatever_is_to_be_predicted(
    bundle: str, found: str, sources: tuple[str, ...], bench: Bench
) -> None:
    done = bench("predict", bundle, *sources)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, f"bench: {found}")
