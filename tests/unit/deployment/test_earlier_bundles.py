"""Bundles that were exported before digests of code left out comments, of the kit's plugins."""

from pathlib import Path

import pytest

from marsbench.deployment.bundle_files import read_bundle
from marsbench.plugin.registry import Registry

FOLDER = Path(__file__).parents[2] / "fixtures" / "earlier_bundles"


@pytest.mark.parametrize("kind", ["pipeline", "ensemble"])
def test_a_bundle_of_an_earlier_version_is_used_with_a_warning(kind: str, registry: Registry) -> None:
    bundle = read_bundle(FOLDER / kind, registry)
    assert "nearest_mean" in bundle.changed
    found = bundle.predict(FOLDER / kind / "golden" / "2.flac")
    assert (found.label, found.is_unlike) == ("high", None)


@pytest.mark.parametrize("kind", ["pipeline", "ensemble"])
def test_it_keeps_the_scores_of_its_run(kind: str, registry: Registry) -> None:
    origin = read_bundle(FOLDER / kind, registry).record.origin
    assert origin is not None
    assert origin.metrics.confusion == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
