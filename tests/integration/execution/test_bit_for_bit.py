"""The same run gives the same bits however many workers share it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from marsbench.config import Experiment
from marsbench.runner.runner import run

BENCH = Path(sys.executable).with_name("bench")
KEPT = ("probabilities", "hyperparameters", "n_parameters", "history")


def found(folder: Path) -> dict[str, Any]:
    """What the one run in a results folder and its units predict."""
    (table,) = folder.rglob("predictions.parquet")
    units = {path.name: json.loads(path.read_text()) for path in sorted(folder.rglob("fold-?.json"))}
    values = {f"{name} {key}": unit[key] for name, unit in units.items() for key in KEPT}
    return {"table": table.read_bytes()} | values


DRAWS = """
import random
import numpy as np
from marsbench.plugin import Model
class Draws(Model):
    "Draws from the global generators, and leaves them in another state."
    accepts = "vector"
    def fit(self, train, hp, context):
        self.width_ = context.n_classes
        return self
    def predict_proba(self, features):
        drawn = np.random.rand(len(features), self.width_) + random.random()
        return drawn / drawn.sum(axis=1, keepdims=True)
"""


@pytest.mark.parametrize("model", ["nearest_mean", "draws"])
def test_any_number_of_workers_gives_the_same_bits(kit: Path, tmp_path: Path, model: str) -> None:
    plugin = tmp_path / "plugins" / "models" / "draws.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(DRAWS)
    values = {"features": "crossings", "model": model, "data": "tones", "plugins": [kit]}
    for workers in range(3):
        changes = {"workers": workers, "results": tmp_path / str(workers)}
        run(Experiment.model_validate(values | changes))
    here, one, two = (found(tmp_path / str(workers)) for workers in range(3))
    assert len(here) == 1 + 5 * len(KEPT)
    assert here == one
    assert here == two


@pytest.mark.slow  # a minute and a half: TensorFlow starts in five processes
@pytest.mark.parametrize("model", ["random_forest", "cnn2d"])
def test_any_number_of_workers_gives_the_same_bits_of_real_models(
    kit: Path, tmp_path: Path, model: str
) -> None:
    words = ["run", "--features=blocks", f"--model={model}", "--data=tones", f"--plugins={kit}"]
    if model == "cnn2d":
        words.append("--set=cnn2d.epochs=1")
    for workers in range(3):  # each in a process where no library has set its threads yet
        here = [f"--workers={workers}", f"--results={tmp_path / str(workers)}"]
        subprocess.run([BENCH, *words, *here], check=True, capture_output=True)
    assert found(tmp_path / "0") == found(tmp_path / "1")
    assert found(tmp_path / "0") == found(tmp_path / "2")
