"""A model fitted on a whole corpus: to predict with, to save, to load again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsbench.api.corpora import registry_of
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import AnyBundle, Sample, golden_samples, read_bundle
from marsbench.deployment.export import Parts, Target
from marsbench.deployment.model_file import Form, Precision
from marsbench.deployment.refit import fit_bundle
from marsbench.planning import make_pipeline
from marsbench.plugin.registry import discover
from marsbench.progress import progress_for


@dataclass(frozen=True, repr=False)
class Fitted(Bundle):
    """A feature extractor and a model that was trained on its features."""

    samples: tuple[Sample, ...] = ()
    """Clips that go with it when it is saved."""

    def save(self, folder: str | Path, form: Form = "plugin", quantised: Precision | None = None) -> None:
        """Write a bundle into a folder of its own, and check what was written.

        A clip of each class goes with it, by which whoever loads it sees that it answers as it did. Nothing
        in it is executed when it is read.

        Args:
            folder: a new one, or that of an older bundle.
            form: of the model: as its plugin saves it, or `keras`, `onnx` or `litert` for one file.
            quantised: `int8` (`onnx`, `litert`) or `float16` (`litert`).

        Raises:
            BenchError: it cannot be written, the folder holds something else, or the check fails.
        """
        target = Target(form, quantised)
        target.require([Parts(self.record.features.name, self.record.model.name)], discover(self.folders))
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

    There is no clip left to test it on: what it is worth, `run` has told. A model that stops early keeps a
    tenth of the clips aside for that.

    Args:
        corpus: of `load_corpus`.
        features: name of a feature extractor.
        model: name of a model.
        seed: of training.
        set: parameters of both, by NAME.PARAMETER, such as `{"svm.C": 1.0}`.
        by_speaker: keep whole speakers aside, as a protocol by speaker does.
        plugins: folders of plugins beside `./plugins`.
        verbose: print what is under way.

    Raises:
        BenchError: a name or parameter that does not exist, a pair that does not fit.
    """
    registry = registry_of(plugins)
    pipeline = make_pipeline(registry, features, model, dict(set or {}))
    progress = progress_for(verbose)
    made = fit_bundle(corpus, pipeline, registry, seed, progress=progress, by_speaker=by_speaker)
    return Fitted(made.record, made.model, made.folders, tuple(golden_samples(corpus)))


def load(folder: str | Path, *, plugins: Iterable[str | Path] = ()) -> AnyBundle:
    """Read what `bench export` or `Fitted.save` wrote, and let it answer the clips that go with it.

    Raises:
        BenchError: nothing there, a damaged file, or the plugins are not those that it was fitted with.
    """
    return read_bundle(Path(folder), registry_of(plugins))
