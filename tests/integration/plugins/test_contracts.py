"""The contract that `bench plugins check` holds a plugin against, over every built-in plugin."""

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


FEWER = {"demo": {"n_speakers": 2, "n_takes": 1}}
"""Parameters with which the audio is made in no time."""


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_built_in_plugin_keeps_its_contract(entry: Entry) -> None:
    problems = {
        item.name: item.problem for item in check(entry.plugin, FEWER.get(entry.name)) if item.problem
    }
    assert problems == {}
