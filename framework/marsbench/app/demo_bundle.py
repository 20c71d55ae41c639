"""A model to try the page with: the synthetic voices of the demo corpus, fitted in seconds."""

from pathlib import Path
from threading import Lock

from marsbench.atomic_files import home
from marsbench.deployment.bundle_files import golden_samples, write_bundle
from marsbench.deployment.refit import fit_bundle
from marsbench.planning import checked_corpus, make_pipeline
from marsbench.plugin.registry import Registry
from marsbench.progress import Progress, Silent

CORPUS, FEATURES, MODEL = "demo", "functionals", "svm"
_ONE_AT_A_TIME = Lock()
"""Two visitors may ask for it."""


def demo_folder() -> Path:
    """Where it is kept."""
    return home() / "bundles" / "demo"


def train_demo(registry: Registry, progress: Progress | None = None) -> None:
    """Fit it, write it to `demo_folder()` in place of an older one, and check it; raises BenchError."""
    progress = progress or Silent()
    with _ONE_AT_A_TIME:
        corpus = checked_corpus(registry, CORPUS, {}, progress)
        pipeline = make_pipeline(registry, FEATURES, MODEL, {})
        bundle = fit_bundle(corpus, pipeline, registry, seed=0, progress=progress)
        write_bundle(bundle, demo_folder(), golden_samples(corpus))
