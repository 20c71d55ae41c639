"""Statistics of spectral features over a clip."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from marsbench.plugin.features import FeatureKind, Floats
from marsbench.plugin.onnx import Value
from marsbench_plugins.framing import SpectralExtractor, require_percentiles, require_whole
from marsbench_plugins.onnx_graphs import statistics
from marsbench_plugins.onnx_graphs.extractor import vector_model
from marsbench_plugins.onnx_graphs.spectrum import SpectrumGraph
from marsbench_plugins.spectrum import MFCC_BANDS, Spectrum, contrast_bands


@dataclass
class Functionals(SpectralExtractor):
    """Mean, deviation, percentiles and deltas of MFCC, chroma, contrast and log-mel bands over a clip.

    Deltas are differences between neighbouring frames; their mean absolute value and standard deviation are
    used, as their mean only depends on the first and the last frame.

    Raises:
        ValueError: a parameter is out of range.
    """

    kind: ClassVar[FeatureKind] = "vector"

    offset: float = 0.0
    duration: float | None = None
    n_mfcc: int = 40
    n_mels: int = 128
    percentiles: list[float] = field(default_factory=lambda: [5, 25, 50, 75, 95])

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("n_mfcc", self.n_mfcc, MFCC_BANDS)
        require_whole("n_mels", self.n_mels)
        contrast_bands(self.sample_rate, self.n_fft)
        require_percentiles(self.percentiles)

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Statistics of all dimensions, one statistic after the other.

        The shape is ((4 + n_percentiles) * (n_mfcc + 19 + n_mels),).
        """
        frames = self._describe(self.spectrum(waveform, sample_rate))
        # The deltas of a single frame are zero.
        deltas = np.diff(frames, axis=0) if len(frames) > 1 else np.zeros_like(frames)
        delta_moments = [np.abs(deltas).mean(axis=0), deltas.std(axis=0)]
        percentiles = np.percentile(frames, self.percentiles, axis=0)
        moments = [frames.mean(axis=0), frames.std(axis=0)]
        return np.concatenate([*moments, *delta_moments, *percentiles], dtype=np.float32)

    def onnx_graph(self) -> Any:
        """`extract` as an ONNX graph, equal to it up to rounding."""

        def describe(spectrum: SpectrumGraph) -> Value:
            log_mel = spectrum.log_mel(self.n_mels)
            parts = [spectrum.mfcc(self.n_mfcc), spectrum.chroma(), spectrum.contrast(), log_mel]
            frames = spectrum.graph.joined(parts, axis=1)
            spread = [*statistics.moments(frames), *statistics.delta_moments(frames)]
            rows = [*spread, statistics.percentiles(frames, self.percentiles)]
            return spectrum.graph.joined(rows, axis=0).cast(np.float32).reshape(-1)

        return vector_model(self, describe)

    def _describe(self, spectrum: Spectrum) -> Floats:
        """MFCC, chroma, contrast and log-mel bands, concatenated, (n_frames, n_mfcc + 19 + n_mels)."""
        log_mel = spectrum.log_mel(self.n_mels)
        mfcc = spectrum.mfcc(self.n_mfcc)
        return np.hstack([mfcc, spectrum.chroma(), spectrum.contrast(), log_mel])
