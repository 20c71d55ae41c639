"""A frozen pretrained encoder and functionals, in one vector."""

from dataclasses import dataclass

import numpy as np

from marsbench.data.audio import Waveform, resample
from marsbench.plugin.features import Floats
from marsbench_plugins.features.functionals import Functionals
from marsbench_plugins.features.speech_encoder import SpeechEncoder


@dataclass
class SpeechEncoderFunctionals(SpeechEncoder):
    """What `speech_encoder` and `functionals` tell of a clip, side by side: early fusion.

    The parameters are those of `speech_encoder`; the functionals are at their defaults.

    Raises:
        ValueError: a parameter is out of its range.
    """

    sample_rate = Functionals.sample_rate  # the higher one

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """The encoder's means and standard deviations, then the functionals, (n_dims,)."""
        for_encoder = resample(Waveform(waveform, sample_rate), SpeechEncoder.sample_rate)
        by_encoder = super().extract(for_encoder.samples, for_encoder.sample_rate)
        return np.concatenate([by_encoder, Functionals().extract(waveform, sample_rate)])
