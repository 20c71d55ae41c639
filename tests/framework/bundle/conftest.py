"""A bundle of fakes on sine clips."""

from pathlib import Path
from typing import cast

import pytest

from marsbench.audio_check import check_audio
from marsbench.bundle.bundle import Bundle
from marsbench.bundle.files import write_bundle
from marsbench.corpus import CheckedCorpus
from marsbench.export.refit import fit_bundle
from marsbench.export.samples import golden_samples
from marsbench.planning import make_pipeline
from marsbench.plugin.dataset import Dataset
from marsbench.plugin.registry import Registry, discover


@pytest.fixture
def registry(kit: Path) -> Registry:
    return discover((kit,))


@pytest.fixture
def corpus(registry: Registry) -> CheckedCorpus:
    return check_audio(cast("Dataset", registry.get("datasets", "tones").plugin.create({})).load())


@pytest.fixture
def bundle(corpus: CheckedCorpus, registry: Registry) -> Bundle:
    return fit_bundle(corpus, make_pipeline(registry, "crossings", "nearest_mean", {}), registry, seed=0)


@pytest.fixture
def folder(bundle: Bundle, corpus: CheckedCorpus) -> Path:
    """A bundle as it is written."""
    write_bundle(bundle, Path("bundle"), golden_samples(corpus))
    return Path("bundle")
