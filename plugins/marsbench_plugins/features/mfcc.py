"""Mel-frequency cepstral coefficients."""

from dataclasses import dataclass
from typing import Any

from marsbench.plugin.features import Floats
from marsbench_plugins.framing import FrameExtractor, require_whole
from marsbench_plugins.onnx_graphs.extractor import frames_model
from marsbench_plugins.spectrum import MFCC_BANDS, Spectrum


@dataclass
class Mfcc(FrameExtractor):
    """40 MFCC per frame.

    Raises:
        ValueError: a parameter is out of range.
    """

    n_mfcc: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("n_mfcc", self.n_mfcc, MFCC_BANDS)

    def describe(self, spectrum: Spectrum) -> Floats:
        """The first `n_mfcc` coefficients, including the zeroth, (n_frames, n_mfcc)."""
        return spectrum.mfcc(self.n_mfcc)

    def onnx_graph(self) -> Any:
        """`extract` as an ONNX graph, equal to it up to rounding."""
        return frames_model(self, lambda spectrum: spectrum.mfcc(self.n_mfcc))
