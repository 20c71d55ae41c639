"""A fit gives what it gives in a new process, whatever other plugins did; checks name those that do it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from marsbench.config import Experiment
from marsbench.execution.limits import environment_for
from marsbench.execution.state_checks import state_checks
from marsbench.plugin.registry import discover
from marsbench.runner.runner import run

MODEL = """
import os, sys
import numpy as np
from sklearn.svm import SVC
from marsbench.plugin import Model
{at_import}
class {name}(Model):
    "Nearest mean of what it has seen."
    accepts = "vector"
    seen = []
    def fit(self, train, hp, context):
        self.seen_ = [(train.features.values, train.targets)]
        {in_fit}
        values, targets = (np.concatenate(parts) for parts in zip(*self.seen_))
        self.means_ = [values[targets == k].mean(axis=0) for k in range(context.n_classes)]
        return self
    def predict_proba(self, features):
        distances = np.array([((features.values - mean) ** 2).sum(axis=1) for mean in self.means_])
        likelihoods = np.exp(-distances.T.astype(float)) + 1e-9
        return likelihoods / likelihoods.sum(axis=1, keepdims=True)
"""
REMEMBERS = "self.seen.append(self.seen_[0]); self.seen_ = self.seen"
PATCHES = "SVC.decision_function = lambda self, values: np.ones((len(values), 3))"
SPOILS = (
    "sys.setrecursionlimit(150); np.seterr(all='raise'); os.chdir('/'); os.environ['OMP_NUM_THREADS'] = '9'"
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a model's plugin file; gives its plugin folder."""

    def write(name: str, in_fit: str = "pass", at_import: str = "") -> Path:
        path = tmp_path / "plugins" / "models" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(MODEL.format(name=name.title(), in_fit=in_fit, at_import=at_import))
        discover.cache_clear()
        return path.parents[1]

    return write


def predictions(kit: Path, results: Path, models: list[str], workers: int) -> dict[str, Any]:
    """Table of each model's predictions, by a fit for each of three folds."""
    values = {"features": "crossings", "model": models, "data": "tones", "plugins": [kit], "trials": 0}
    values["protocol"] = "stratified3"
    run(Experiment.model_validate(values | {"workers": workers, "results": results}))
    found = results.rglob("predictions.parquet")
    return {path.parent.name: pq.read_table(path).to_pydict() for path in found}


def test_what_one_plugin_does_to_its_process_changes_no_other_fit(
    kit: Path, tmp_path: Path, write: Write
) -> None:
    write("patches", PATCHES)
    write("spoils", SPOILS, "os.environ['SKLEARN_ASSUME_FINITE'] = '1'")
    alone = predictions(kit, tmp_path / "alone", ["svm"], 1)
    after = predictions(kit, tmp_path / "after", ["patches", "spoils", "svm"], 1)
    assert len(alone) == 1
    assert len(after) == 3
    assert alone.items() <= after.items()


def test_no_fit_sees_the_clips_of_earlier_ones_however_many_workers_there_are(
    kit: Path, tmp_path: Path, write: Write
) -> None:
    write("remembers", REMEMBERS)
    one, two = (predictions(kit, tmp_path / str(n), ["remembers"], n) for n in (1, 2))
    assert one == two
    write("forgets")
    (forgets,) = predictions(kit, tmp_path / "forgets", ["forgets"], 1).values()
    assert list(one.values()) == [forgets]


def test_variables_that_a_plugin_sets_on_import_reach_no_worker(write: Write) -> None:
    folder = write("sets", at_import="os.environ['SET_ON_IMPORT'] = '1'")
    try:
        assert discover((folder,)).get("models", "sets").plugin
        assert os.environ["SET_ON_IMPORT"] == "1"
        assert "SET_ON_IMPORT" not in environment_for(1)
        os.environ["SET_ON_IMPORT"] = "by hand"
        assert environment_for(1)["SET_ON_IMPORT"] == "by hand"
    finally:
        os.environ.pop("SET_ON_IMPORT", None)


slow = pytest.mark.slow
LEAVES = {
    REMEMBERS: ("a fit as in a new process", "keep nothing in classes"),
    PATCHES: ("other models not changed", "a support vector machine gives other values"),
    "sys.setrecursionlimit(5000)": ("settings of the process kept", "recursion limit changed from 1000"),
}
"""What a fit may leave behind, with the check that finds it and some words of its problem."""


@pytest.mark.parametrize(
    ("in_fit", "found"),
    [
        ("pass", {}),
        ("; ".join(LEAVES), dict(LEAVES.values())),
        *(pytest.param(in_fit, dict([found]), marks=slow) for in_fit, found in LEAVES.items()),
        *(
            pytest.param(in_fit, {"settings of the process kept": words}, marks=slow)
            for in_fit, words in [
                ("os.environ['LEFT'] = '1'", "environment variable LEFT changed from None to '1'"),
                ("os.chdir('/')", "working directory changed from"),
                ("np.seterr(over='raise')", "NumPy's error handling changed"),
                ("np.set_printoptions(precision=2)", "NumPy's print options changed"),
                ("import locale; locale.setlocale(locale.LC_ALL, 'C')", "locale changed from"),
                ("os.umask(0o77)", "mode of new files changed from 18 to 63"),
                ("import resource as r; r.setrlimit(r.RLIMIT_CORE, (0, 0))", "resource limit RLIMIT_CORE"),
            ]
        ),
        pytest.param(
            "np.random.default_rng = lambda seed: 0",
            {"a fit as in a new process": "AttributeError"},
            marks=slow,
        ),
    ],
)
def test_checks_find_what_a_fit_leaves_behind(write: Write, in_fit: str, found: dict[str, str]) -> None:
    folder = write("leaves", in_fit)
    checks = state_checks(discover((folder,)).get("models", "leaves"), (folder,))
    assert len(checks) == 3 or checks[0].name in found
    problems = {check.name: check.problem for check in checks if check.problem}
    assert problems.keys() == found.keys()
    assert all(words in problems[name] for name, words in found.items())


EXTRACTOR = """
import numpy as np
from marsbench.plugin import FeatureExtractor
class Running(FeatureExtractor):
    "Level less that of the clips so far."
    kind = "vector"
    seen = []
    def extract(self, waveform, sample_rate):
        self.seen.append(waveform.std())
        return np.array([waveform.std() - np.mean(self.seen)], np.float32)
"""


def test_checks_find_features_that_depend_on_earlier_clips(tmp_path: Path) -> None:
    path = tmp_path / "plugins" / "features" / "running.py"
    path.parent.mkdir(parents=True)
    path.write_text(EXTRACTOR)
    folders = (path.parents[1],)
    first, *others = state_checks(discover(folders).get("features", "running"), folders)
    assert first.name == "a clip's features as in a new process"
    assert "after other clips" in str(first.problem)
    assert not any(check.problem for check in others)


BUILT_IN = [entry for kind in ("features", "models") for entry in discover(()).entries(kind)]


@pytest.mark.parametrize(
    "entry",
    [pytest.param(entry, marks=() if entry.name == "svm" else slow) for entry in BUILT_IN],
    ids=lambda entry: entry.name,
)
def test_a_built_in_plugin_leaves_nothing_behind(entry: Any) -> None:
    assert [check.problem for check in state_checks(entry, ()) if check.problem] == []
