"""A model fitted on a whole corpus: predict with it, save it, load it again."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsbench.api.corpora import registry_of
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import AnyBundle, Sample, golden_samples, read_bundle
from marsbench.deployment.export import Target
from marsbench.deployment.formats import DEFAULT_FORMAT
from marsbench.deployment.refit import fit_bundle
from marsbench.planning import make_pipeline
from marsbench.plugin.registry import discover
from marsbench.progress import progress_for


@dataclass(frozen=True, repr=False)
class Fitted(Bundle):
    """A feature extractor and a model trained on its features."""

    samples: tuple[Sample, ...] = ()
    """Golden clips of the bundle that `save` writes."""

    def save(self, folder: str | Path, form: str = DEFAULT_FORMAT, quantised: str | None = None) -> None:
        """Write a bundle into a folder of its own, verified on one clip per class.

        These clips are part of it, and are predicted again whenever it is loaded. No code in it is executed.

        Args:
            folder: a new one, or that of an older bundle.
            form: format of the model: `plugin` as its plugin saves it, or `keras`, `onnx` or `litert`.
            quantised: number type of smaller weights: `int8` (`onnx`, `litert`) or `float16` (`litert`).

        Raises:
            BenchError: it cannot be written, the folder holds something else, or the check fails.
        """
        target = Target(form, quantised)
        target.require([(self.record.features.name, self.record.model.name)], discover(self.folders))
        target.write(self, self.samples, Path(folder))


def fit(  # noqa: PLR0913 - one argument an option
    corpus: CheckedCorpus,
    *,
    features: str,
    model: str,
    seed: int = 0,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - the option's name
    by_speaker: bool = False,
    plugins: Iterable[str | Path] = (),
    verbose: bool = False,
) -> Fitted:
    """Fit one pipeline on all clips of a corpus, in this process, as `run` fits it on a fold's training part.

    No clip is left to test it on; `run` estimates its scores. A model that stops early keeps a tenth of the
    clips aside for that.

    Args:
        corpus: what `load_corpus` returned.
        features: name of a feature extractor.
        model: name of a model.
        seed: of training.
        set: parameters of both, by NAME.PARAMETER, such as `{"svm.C": 1.0}`.
        by_speaker: keep whole speakers aside, as a protocol by speaker does.
        plugins: folders of plugins beside `./plugins`.
        verbose: print progress.

    Raises:
        BenchError: a name or parameter that does not exist, a pair that does not fit.
    """
    registry = registry_of(plugins)
    pipeline = make_pipeline(registry, features, model, dict(set or {}))
    progress = progress_for(verbose)
    made = fit_bundle(corpus, pipeline, registry, seed, progress=progress, by_speaker=by_speaker)
    return Fitted(made.record, made.model, made.folders, samples=tuple(golden_samples(corpus)))


def load(folder: str | Path, *, plugins: Iterable[str | Path] = ()) -> AnyBundle:
    """Read what `bench export` or `Fitted.save` wrote, and verify it on its golden clips.

    Warns if a plugin's code has changed since the fit.

    Raises:
        BenchError: no bundle there, a damaged file, a missing plugin, or golden clips are predicted otherwise
            than at export.
    """
    bundle = read_bundle(Path(folder), registry_of(plugins))
    if bundle.warning:
        warnings.warn(bundle.warning, stacklevel=2)
    return bundle
