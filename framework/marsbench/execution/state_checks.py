"""Check that a plugin leaves no state behind: what it computes in a used process equals that in a new one.

Fits and extractions of plugins that are not built in have processes of their own, so such state spoils no
run. It does spoil a notebook, a service or an export, in which one process computes again and again.
"""

import locale
import os
import pickle
import random
import sys
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from marsbench.errors import ConfigError, PluginError
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Called, Work
from marsbench.execution.limits import Limits
from marsbench.execution.worker import Isolation, close_session, run_isolated
from marsbench.plugin.checks import N_CLASSES, N_DIMS, Check, made_examples, made_voice, short_training
from marsbench.plugin.features import FeatureExtractor
from marsbench.plugin.model import Examples, FitContext, Model, OnEpoch
from marsbench.plugin.registry import Entry, Kind, Recipe, make
from marsbench.plugin.search_space import Defaults

_NEW_CLIPS = 100
"""Seed of the clips that are predicted."""
_LIBRARIES_OWN = ("TF", "TPU", "KERAS", "KMP", "OMP", "XLA", "HDF5_", "ENABLE_RUNTIME_UPTIME")
"""First letters of environment variables that TensorFlow and its parts set when they are imported."""


def state_checks(
    entry: Entry,
    folders: tuple[Path, ...],
    parameters: Mapping[str, Any] | None = None,
    by_hand: Mapping[str, Any] | None = None,
    n_dims: int = N_DIMS,
) -> list[Check]:
    """Checks of a model or feature extractor in worker processes; the other arguments are those of `check`.

    There are none for a dataset, and none for a plugin that cannot be constructed.

    Raises:
        PluginError: the plugin cannot be imported.
    """
    plugin = entry.plugin
    try:
        recipe = entry.recipe(short_training(plugin) | dict(parameters or {}))
    except (ConfigError, PluginError):
        return []
    if entry.kind == "datasets":
        return []
    session = Isolation(uuid.uuid4().hex, 1, Limits(), plugin=Called(entry.kind, entry.name, folders))
    try:
        predict = partial(_predicted, by_hand=dict(by_hand or {}), n_dims=n_dims)
        compute = partial(_compute, entry.kind, recipe, folders, predict)
        used, alone = (_result(session, partial(compute, n)) for n in (2, 1))
        witness = _result(session, _witness)
    finally:
        close_session(session.session)
    return list(_compared(entry.kind, used, alone, witness))


def _result(session: Isolation, work: Work) -> Any:
    return run_isolated(pickle.dumps(work), session, lambda: None, lambda *_: None).value


def _compared(kind: Kind, used: Any, alone: Any, witness: Any) -> list[Check]:
    one = "a fit" if kind == "models" else "a clip's features"
    names = (
        f"{one} as in a new process",
        "settings of the process kept",
        "other models not changed",
    )
    if failures := [value for value in (alone, used, witness) if isinstance(value, Failure)]:
        return [Check(names[0], failures[0].message)]
    what = "fits" if kind == "models" else "clips"
    problems = (
        None
        if _equal(used[0], alone[0])
        else f"{one} after other {what} differs from the same in a new process: "
        "keep nothing in classes, modules or files that a later one reads",
        _changes(used[1]),
        None
        if _equal(used[2], witness)
        else f"a support vector machine gives other values after {what} of this plugin: "
        "do not change functions or settings of libraries",
    )
    return [Check(name, problem) for name, problem in zip(names, problems, strict=True)]


def _equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return first.shape == second.shape and np.array_equal(first, second, equal_nan=True)


def _changes(pairs: dict[str, tuple[Any, Any]]) -> str | None:
    if not pairs:
        return None
    name, (before, after) = next(iter(pairs.items()))
    return f"{name} changed from {before!r} to {after!r}: set it back"


def _compute(
    kind: Kind,
    recipe: Recipe,
    folders: tuple[Path, ...],
    predict: Callable[[Model, int], NDArray[np.float64]],
    n: int,
    _on_epoch: OnEpoch,
) -> Any:
    """What the last of `n` computations gives, the settings that they changed, and what a witness gives."""
    before = _settings()
    plugin = make(kind, recipe, folders)
    for number in reversed(range(n)):
        if kind == "models":
            result: NDArray[Any] = predict(cast("Model", plugin.create(plugin.parameters)), number)
        else:
            result = _extracted(cast("FeatureExtractor", plugin), number)
    after = _settings()
    changed = {name: (before.get(name), after.get(name)) for name in before | after}
    return result, {name: pair for name, pair in changed.items() if pair[0] != pair[1]}, _witness()


def _predicted(model: Model, number: int, by_hand: Mapping[str, Any], n_dims: int) -> NDArray[np.float64]:
    """Probabilities that a model gives after a fit; other numbers mean other clips."""
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - as before each fit of a run
    features = made_examples(model.accepts == "frames", number, n_dims).features
    targets = (
        made_examples(frames=False).targets + number
    ) % N_CLASSES  # what an earlier fit learnt misleads
    examples = Examples(features, targets)
    validation = examples if model.wants_validation else None
    model.fit(examples, Defaults(by_hand), FitContext(N_CLASSES, number, validation))
    return model.predict_proba(made_examples(model.accepts == "frames", _NEW_CLIPS, n_dims).features)


def _extracted(extractor: FeatureExtractor, number: int) -> NDArray[np.float32]:
    """Features of a clip; other numbers mean other clips."""
    rate = extractor.sample_rate
    return extractor.checked_extract(made_voice(rate, 1.0 + number)[::-1].copy(), rate)


def _witness(_on_epoch: object = None) -> NDArray[np.float64]:
    """Decisions of a support vector machine: NumPy, SciPy and scikit-learn take part in them."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    examples = made_examples(frames=False)
    machine = make_pipeline(StandardScaler(), SVC()).fit(examples.features.values, examples.targets)
    scores = machine.decision_function(examples.features.values)
    return np.column_stack([scores, machine.predict(examples.features.values)])


def _settings() -> dict[str, Any]:
    ours: dict[str, Any] = {
        f"environment variable {name}": value
        for name, value in os.environ.items()
        if not name.startswith(_LIBRARIES_OWN)
    }
    with suppress(ImportError):  # not on Windows
        import resource

        limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
        ours |= {f"resource limit {name}": resource.getrlimit(getattr(resource, name)) for name in limits}
    os.umask(mode := os.umask(0))
    return ours | {
        "recursion limit": sys.getrecursionlimit(),
        "working directory": str(Path.cwd()),
        "mode of new files": mode,
        "locale": locale.setlocale(locale.LC_ALL),
        "NumPy's error handling": np.geterr(),
        "NumPy's print options": np.get_printoptions(),
    }
