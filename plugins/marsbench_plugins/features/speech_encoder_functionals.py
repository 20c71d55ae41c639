"""Pretrained speech encoder and functionals in one vector (early fusion)."""

from dataclasses import dataclass

import numpy as np

from marsbench.data.audio import Waveform, resample
from marsbench.plugin.features import Floats
from marsbench_plugins.features.functionals import Functionals
from marsbench_plugins.features.speech_encoder import SpeechEncoder


@dataclass
class SpeechEncoderFunctionals(SpeechEncoder):
    """The features of `speech_encoder` and `functionals`, concatenated (early fusion).

    The parameters are those of `speech_encoder`; `functionals` has its defaults.

    Raises:
        ValueError: a parameter is out of range.
    """

    sample_rate = Functionals.sample_rate  # the higher of the two

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """The vector of `speech_encoder`, followed by that of `functionals`, (n_dims,)."""
        for_encoder = resample(Waveform(waveform, sample_rate), SpeechEncoder.sample_rate)
        by_encoder = super().extract(for_encoder.samples, for_encoder.sample_rate)
        return np.concatenate([by_encoder, Functionals().extract(waveform, sample_rate)])
