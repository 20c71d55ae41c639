"""The reference features: MFCC, chroma and spectral contrast."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from marsbench.plugin.features import Floats
from marsbench.plugin.onnx import Value
from marsbench_plugins.framing import FrameExtractor, require_whole
from marsbench_plugins.onnx_graphs.extractor import frames_model
from marsbench_plugins.onnx_graphs.spectrum import SpectrumGraph
from marsbench_plugins.spectrum import MFCC_BANDS, Spectrum, contrast_bands


@dataclass
class MfccChromaContrast(FrameExtractor):
    """40 MFCC, 12 chroma and 7 spectral contrast per frame: the reference features.

    Raises:
        ValueError: a parameter is out of range.
    """

    n_mfcc: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("n_mfcc", self.n_mfcc, MFCC_BANDS)
        contrast_bands(self.sample_rate, self.n_fft)

    def describe(self, spectrum: Spectrum) -> Floats:
        """MFCC, chroma and contrast, concatenated, (n_frames, n_mfcc + 19)."""
        return np.hstack([spectrum.mfcc(self.n_mfcc), spectrum.chroma(), spectrum.contrast()])

    def onnx_graph(self) -> Any:
        """`extract` as an ONNX graph, equal to it up to rounding."""

        def describe(spectrum: SpectrumGraph) -> Value:
            parts = [spectrum.mfcc(self.n_mfcc), spectrum.chroma(), spectrum.contrast()]
            return spectrum.graph.joined(parts, axis=1)

        return frames_model(self, describe)
