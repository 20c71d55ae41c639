"""A model fitted on a whole corpus: to predict with, to save, to load again."""

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
from pydantic import BaseModel, ConfigDict

from marsbench.api.corpora import registry_of
from marsbench.audio import examine
from marsbench.corpus import CheckedCorpus
from marsbench.environment import environment
from marsbench.errors import AudioError, DamagedError, PluginError, ResultsError
from marsbench.evaluation.unit import fit_model
from marsbench.execution.threads import limited_threads
from marsbench.extraction import Extraction
from marsbench.feature_store import FeatureStore
from marsbench.files import require_writable, write_atomically, write_sealed
from marsbench.planning import make_pipeline
from marsbench.plugin.features import FeatureExtractor, Features, Floats, pad
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Kind, Recipe, make
from marsbench.progress import progress_for
from marsbench.results.sealed import read_record
from marsbench.runner.units import Units

_RECORD = "fitted.json"


class FittedRecord(BaseModel):
    """Where a fitted model comes from and what it needs; `fitted.json`, sealed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    features: Recipe
    model: Recipe
    hyperparameters: dict[str, Any]
    """The whole configuration, defaults included."""
    labels: list[str]
    """In the order of the probabilities."""
    sample_rate: int
    """In Hz; audio is resampled to it."""
    input_shape: list[int]
    """Of one clip's features."""
    corpus: str
    fingerprint: str
    seed: int
    environment: dict[str, str]
    """Where it was fitted."""
    files: dict[str, str] = {}
    """sha256 of each file that the model wrote, by path below the folder."""


@dataclass(frozen=True, repr=False)
class Fitted:
    """A feature extractor and a model that was trained on its features."""

    record: FittedRecord
    model: Model
    folders: tuple[Path, ...]
    """Drop-in folders of plugins."""

    def __repr__(self) -> str:
        return f"<Fitted {self.record.features.name} + {self.record.model.name} on {self.record.corpus}>"

    def predict(self, path: str | Path) -> pd.Series:
        """Probability of each class for an audio file, by label; raises AudioError if it cannot be used."""
        facts = examine(Path(path))
        if facts.problem:
            raise AudioError(f"{path}: {facts.problem}")
        with limited_threads(1):
            extracted = Extraction(self.record.features, self.folders, ((facts.sha256, Path(path)),))()
            (probabilities,) = self.model.predict_proba(self._features(extracted[facts.sha256].array))
        return pd.Series(probabilities, self.record.labels, name=Path(path).name)

    def _features(self, array: Floats) -> Features:
        """As the model saw its training clips; what is longer than any of them is cut off."""
        if self.model.accepts == "vector":
            return pad([array], None).pooled()
        n_frames = self.record.input_shape[0]
        return pad([array[:n_frames]], n_frames)

    def save(self, folder: str | Path) -> None:
        """Write the model and `fitted.json` into a folder, which is made if need be.

        The model is in its plugin's own format, which executes no code when it is read.

        Raises:
            StorageError: it cannot be written.
        """
        folder = Path(folder)
        require_writable(folder)
        (folder / _RECORD).unlink(missing_ok=True)  # with it, the folder would seem whole meanwhile
        hashes = {}
        with tempfile.TemporaryDirectory() as temporary:
            self.model.save(Path(temporary))
            for path in sorted(path for path in Path(temporary).rglob("*") if path.is_file()):
                name = path.relative_to(temporary).as_posix()
                hashes[name] = _keep(folder / name, path.read_bytes())
        record = self.record.model_copy(update={"files": hashes})
        write_sealed(folder / _RECORD, record.model_dump_json(indent=1))


def _keep(path: Path, data: bytes) -> str:
    """Write a file; gives its sha256."""
    write_atomically(path, lambda file: file.write(data))
    return hashlib.sha256(data).hexdigest()


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
    store = FeatureStore(pipeline.features, registry.folders)
    extractor = cast("FeatureExtractor", make("features", pipeline.features, registry.folders))
    units = Units(corpus, pipeline, seed, by_speaker, (), registry.folders)
    with limited_threads(1):
        extracted = store.features_of(corpus, progress_for(verbose))
        fitted, hyperparameters, _ = fit_model(units.whole(extracted))
    record = FittedRecord(
        features=pipeline.features,
        model=pipeline.model,
        hyperparameters=hyperparameters,
        labels=list(corpus.labels),
        sample_rate=extractor.sample_rate,
        input_shape=list(extracted.input_shape),
        corpus=corpus.name,
        fingerprint=corpus.fingerprint,
        seed=seed,
        environment=environment(),
    )
    return Fitted(record, fitted, registry.folders)


def load_fitted(folder: str | Path, *, plugins: Iterable[str | Path] = ()) -> Fitted:
    """Read what `Fitted.save` wrote.

    Raises:
        BenchError: nothing there, a damaged file, or the plugins are not those that it was fitted with.
    """
    folder = Path(folder)
    record = read_record(folder / _RECORD, FittedRecord)
    _refuse_damaged(folder, record.files)
    registry = registry_of(plugins)
    recipes: dict[Kind, Recipe] = {"features": record.features, "models": record.model}
    for kind, recipe in recipes.items():
        if registry.get(kind, recipe.name).source != recipe.source:
            raise PluginError(f"{folder} was fitted with other code of {recipe.name}; fit it again")
    model = cast("Model", make("models", record.model, registry.folders))
    return Fitted(record, model.load(folder), registry.folders)


def _refuse_damaged(folder: Path, files: Mapping[str, str]) -> None:
    for name, sha256 in files.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise ResultsError(f"{folder / name} cannot be read: {error.strerror}") from error
        if found != sha256:
            raise DamagedError(f"{folder / name} is damaged: its checksum does not fit")
