"""The demo commands give the predictions that they gave before the redesign, bit for bit."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.results.predictions import read_predictions
from marsbench.results.schema import Run
from marsbench.results.store import find_runs

RECORDED = json.loads(Path(__file__).with_name("prediction_digests.json").read_text("utf-8"))


def name_of(run: Run) -> str:
    return f"{run.features.name} + {run.model.name}{', tuned' if run.tuning else ''}"


BEFORE = {
    "epochs": 40,
    "patience": 10,
    "batch_size": 32,
    "dropout": 0.3,
    "norm_momentum": 0.99,
    "pooling": "last",
    "schedule": "constant",
    "learning_rate": 0.001,
}
"""The training course of `cnn_lstm` that was its default when the predictions were recorded."""
NETWORK = ("cnn_lstm", "--trials", "0", *(f"--set=cnn_lstm.{name}={value}" for name, value in BEFORE.items()))


@pytest.mark.slow  # two minutes of training; the digests are of one kind of processor, another may differ
@pytest.mark.parametrize("options", [("svm",), NETWORK], ids=lambda words: words[0])
def test_the_demo_commands_predict_what_is_recorded(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.delenv("MARSBENCH_WORKERS")
    result = bench("run", "--features", "mfcc_chroma_contrast", "--model", *options)
    assert result.exit_code == 0, result.stderr
    for folder in find_runs(Path("results")):
        run = folder.read_run()
        predictions = read_predictions(folder, run)
        rows = np.argsort(np.array(predictions.clips))
        data = np.ascontiguousarray(predictions.probabilities[rows], "<f4").tobytes()
        assert hashlib.sha256(data).hexdigest() == RECORDED[name_of(run)]["float32"]
