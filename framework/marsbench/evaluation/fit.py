"""A unit: one fit of one configuration on one fold. `fit_model` is the only code that trains.

A unit is a pure function of a small picklable description. The description has no test labels: whatever runs
in here cannot learn from them.
"""

import random
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from marsbench.data.audio import DECODER
from marsbench.environment import environment
from marsbench.errors import ConfigError, TrainingError
from marsbench.evaluation.fit_result import UnitResult
from marsbench.evaluation.normalisation import Groups, aligned, standardised
from marsbench.evaluation.predictions import flaw_in
from marsbench.features.feature_file import FeatureFile
from marsbench.hashing import digest
from marsbench.plugin.features import Features, stacked
from marsbench.plugin.model import Examples, FitContext, Model, OnEpoch, Probabilities
from marsbench.plugin.registry import Recipe, make
from marsbench.plugin.search_space import Defaults, Scalar
from marsbench.protocols.protocol import Rows
from marsbench.versions import versions_of


@dataclass(frozen=True, eq=False)
class Unit:
    """What to fit, on which clips, and which clips to predict; rows are positions in the feature file."""

    fold: int
    features: FeatureFile
    model: Recipe
    hyperparameters: dict[str, Scalar]
    """Values set by hand."""
    folders: tuple[Path, ...]
    """Drop-in folders to find the model's plugin in."""
    n_classes: int
    train: Rows
    train_targets: Rows
    train_groups: Rows
    """`FitContext.groups` of the training clips."""
    validation: Rows
    validation_targets: Rows
    test: Rows
    seed: int
    version: str
    """`fit_version` of the driver."""
    validation_is_dev: bool = False
    """`FitContext.validation_is_dev`."""
    proposed: dict[str, Scalar] = field(default_factory=dict)
    """Values that a tuner proposes; all others are at their defaults."""
    is_draft: bool = False
    """Whether only the most probable class of each test clip will be looked at."""
    until: int | None = None
    """Epoch to stop after, for a fit that may go on later."""
    checkpoint: bytes | None = None
    """What such a fit goes on from."""
    standardised_in: Groups = ()
    """Group of each clip of the feature file, by whose statistics features are standardised; empty: none."""
    aligned_in: Groups = ()
    """Group of each training clip whose features are aligned, see `evaluation.normalisation`; empty: none."""
    is_averaged: bool = False
    """Whether probabilities are the mean over a clip and its versions."""


def fit_version() -> str:
    """Digest of the version of the framework's own part in a fit, and of the libraries that decode audio."""
    return digest([DECODER, *versions_of("fit")])


def fit_unit(unit: Unit, on_epoch: OnEpoch = lambda _epoch, _most, _metrics: None) -> UnitResult:
    """Train on the training rows and predict the test rows; raises as `fit_and_predict` does."""
    return fit_and_predict(unit, on_epoch)[0]


def fit_and_predict(
    unit: Unit, on_epoch: OnEpoch = lambda _epoch, _most, _metrics: None
) -> tuple[UnitResult, bytes | None]:
    """Train up to `unit.until` and predict the test rows; also gives what a later call can go on from.

    Raises:
        TrainingError: probabilities of a wrong shape, NaN, negative or not summing to 1.
        ConfigError: as `fit_model` does.
    """
    model, hyperparameters, fit_seconds = fit_model(unit, on_epoch)
    start = time.perf_counter()
    given = probabilities_of(unit, model, unit.test)
    result = UnitResult(
        fold=unit.fold,
        probabilities=_checked(given, (len(unit.test), unit.n_classes), unit.model.name),
        hyperparameters=hyperparameters,
        n_parameters=model.n_parameters_,
        history=list(model.history_),
        warnings=list(model.warnings_),
        finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
        environment=environment(),
        fit_seconds=fit_seconds,
        predict_seconds=time.perf_counter() - start,
        extraction_seconds=sum(file.seconds_per_clip for file in _predicted_from(unit)),
        model_bytes=None if unit.is_draft else _saved_bytes(model),
    )
    return result, model.checkpoint_


def fit_model(
    unit: Unit, on_epoch: OnEpoch = lambda _epoch, _most, _metrics: None
) -> tuple[Model, dict[str, Scalar], float]:
    """Train up to `unit.until`; gives the model, its whole configuration and the seconds that it took.

    Raises:
        ConfigError: a hyperparameter was set by hand that the model does not have; or the marsbench that runs
            here is not the driver's.
    """
    if unit.version != fit_version():
        raise ConfigError("a worker has another version of marsbench than the driver; install the same there")
    # A plugin that draws from the global generators gives the same whatever was fitted before it.
    random.seed(unit.seed)
    np.random.seed(unit.seed)  # noqa: NPY002 - the global generator is the point
    model = cast("Model", make("models", unit.model, unit.folders))
    train = _training_examples(unit, model)
    is_version = np.arange(len(train)) >= len(unit.train)
    hp = Defaults(unit.hyperparameters, unit.proposed)
    validation = _validation(unit, model) if len(unit.validation) else None
    start = time.perf_counter()
    context = FitContext(
        n_classes=unit.n_classes,
        seed=unit.seed,
        validation=validation,
        validation_is_dev=unit.validation_is_dev,
        on_epoch=on_epoch,
        is_draft=unit.is_draft,
        until=unit.until,
        checkpoint=unit.checkpoint,
        groups=_groups(unit),
        is_version=is_version if is_version.any() else None,
    )
    model.fit(train, hp, context)
    hp.refuse_unused(unit.model.name)
    return model, hp.values, time.perf_counter() - start


def _saved_bytes(model: Model) -> int | None:
    try:
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder))
            return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    except Exception:  # noqa: BLE001 - whatever a plugin or a full disk raises: what it predicted is worth keeping
        return None


def _checked(values: Probabilities, shape: tuple[int, int], model: str) -> NDArray[np.float32]:
    """Probabilities as they are stored: a float32 copy; raises TrainingError if they are none."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        found = getattr(values, "dtype", type(values).__name__)
        raise TrainingError(f"{model} gave probabilities of type {found}; a float array is needed")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused below
        stored = values.astype(np.float32)
    if flaw := flaw_in(stored, shape):
        raise TrainingError(f"{model} gave {flaw}")
    return stored


def _validation(unit: Unit, model: Model) -> Examples:
    return Examples(features_of(unit, model, unit.validation), unit.validation_targets.copy())


def _training_examples(unit: Unit, model: Model) -> Examples:
    """The training clips, then each version of them: a version is of its clip's class and group."""
    parts = [_read(unit, unit.train), *_read_versions(unit, unit.train)]
    if unit.aligned_in:
        parts = [aligned(stacked(parts), _for_versions(unit, np.array(unit.aligned_in)))]
    features = stacked([_as_taken(part, model) for part in parts])
    return Examples(features, _for_versions(unit, unit.train_targets))


def _for_versions(unit: Unit, numbers: Rows) -> NDArray[np.int64]:
    """Numbers of the training clips, and again those for each version."""
    return np.tile(numbers, 1 + len(unit.features.versions))


def _groups(unit: Unit) -> NDArray[np.int64]:
    """Group of each training clip and version; a single group is divided, but no clip from its versions."""
    is_divided = bool(unit.features.versions) and len(np.unique(unit.train_groups)) == 1
    return _for_versions(unit, np.arange(len(unit.train)) if is_divided else unit.train_groups)


def probabilities_of(unit: Unit, model: Model, rows: Rows) -> Probabilities:
    """Class probabilities of some clips, (n_clips, n_classes), if asked for the mean over their versions."""
    clips = model.predict_proba(features_of(unit, model, rows))
    if not unit.is_averaged:
        return clips
    versions = [model.predict_proba(_as_taken(part, model)) for part in _read_versions(unit, rows)]
    return np.asarray(np.mean([clips, *versions], axis=0))


def _predicted_from(unit: Unit) -> list[FeatureFile]:
    return [unit.features, *(unit.features.versions if unit.is_averaged else ())]


def features_of(unit: Unit, model: Model, rows: Rows) -> Features:
    """Features of some clips that are not for training, as the unit's model takes them."""
    return _as_taken(_read(unit, rows), model)


def _read(unit: Unit, rows: Rows) -> Features:
    return _standardised(unit, unit.features.read(rows), rows)


def _read_versions(unit: Unit, rows: Rows) -> list[Features]:
    return [_standardised(unit, version, rows) for version in unit.features.versions_of(rows)]


def _standardised(unit: Unit, features: Features, rows: Rows) -> Features:
    """By the clips' own statistics, for versions too."""
    if not unit.standardised_in:
        return features
    return standardised(features, unit.features, rows, unit.standardised_in)


def _as_taken(features: Features, model: Model) -> Features:
    return features.pooled() if model.accepts == "vector" else features
