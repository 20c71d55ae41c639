"""Mel spectrogram in decibels."""

from dataclasses import dataclass
from typing import Any

from marsbench.plugin.features import Floats
from marsbench_plugins.framing import FrameExtractor, require_whole
from marsbench_plugins.onnx_graphs.extractor import frames_model
from marsbench_plugins.spectrum import Spectrum


@dataclass
class LogMel(FrameExtractor):
    """128 log-mel bands per frame.

    Raises:
        ValueError: a parameter is out of range.
    """

    n_mels: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("n_mels", self.n_mels)

    def describe(self, spectrum: Spectrum) -> Floats:
        """Level of each mel band in dB, (n_frames, n_mels)."""
        return spectrum.log_mel(self.n_mels)

    def onnx_graph(self) -> Any:
        """`extract` as an ONNX graph, equal to it up to rounding."""
        return frames_model(self, lambda spectrum: spectrum.log_mel(self.n_mels))
