"""The contract that `bench plugins check` holds a plugin against, over every built-in plugin."""

from typing import Any

import pytest

from marsbench.plugin.checks import check
from marsbench.plugin.registry import KINDS, Entry, discover

# The networks are held against it in models/, where TensorFlow is loaded, librosa's features with librosa;
# RAVDESS has nothing to load here and is held against it with made-up files of its own.
ELSEWHERE = {
    *("cnn_lstm", "cnn2d", "conformer", "encoder_finetune", "res_cnn2d", "res_lstm"),
    *("librosa_features", "librosa_frames"),
    *("speech_encoder", "speech_encoder_frames", "speech_encoder_functionals"),
}
ENTRIES = [entry for kind in KINDS for entry in discover(()).entries(kind) if entry.name not in ELSEWHERE]


FEWER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "demo": ({"n_speakers": 2, "n_takes": 1}, {}),
    "gradient_boosting": ({"max_iter": 20}, {}),
    "random_forest": ({}, {"trees": 100}),
}
"""Parameters and hyperparameters with which audio is made and models are fitted in no time."""


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_built_in_plugin_keeps_its_contract(entry: Entry) -> None:
    checks = check(entry.plugin, *FEWER.get(entry.name, ()))
    assert {item.name: item.problem for item in checks if item.problem} == {}
