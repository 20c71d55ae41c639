"""What a fit and an extraction are expected to take: a table, corrected by what a search measures."""

from dataclasses import dataclass, field
from math import inf
from statistics import median

from marsbench.automl.selection import Candidate
from marsbench.features.clip_versions import names_of

_FITS = {
    "svm": 1.0,
    "pca_lda": 1.0,
    "kernel_ridge": 1.0,
    "logistic_regression": 1.2,
    "random_forest": 2.0,
    "gradient_boosting": 6.0,
    "cnn2d": 20.0,
    "cnn_lstm": 25.0,
    "res_cnn2d": 30.0,
    "res_lstm": 50.0,
    "conformer": 60.0,
}
_BASELINES = {"majority"}
"""They can win nothing: last, however little time they take."""
_EXTRACTIONS = {
    "functionals": 0.5,
    "mfcc": 0.5,
    "log_mel": 0.5,
    "mfcc_chroma_contrast": 0.7,
    "prosody": 2.0,
    "librosa_frames": 3.0,
    "librosa_features": 15.0,
    "speech_encoder": 20.0,
    "speech_encoder_frames": 20.0,
    "speech_encoder_functionals": 20.0,
}
"""Seconds for 240 clips of 3 s on two cores, as for the fits: only their ratios matter."""
_UNKNOWN, _UNKNOWN_NETWORK = 5.0, 40.0
"""Seconds where the table names no such plugin."""


def _in_table(candidate: Candidate) -> float:
    usual = _UNKNOWN_NETWORK if candidate.pipeline.rungs else _UNKNOWN
    return _FITS.get(candidate.pipeline.model.name, usual) * _n_versions(candidate)


def _n_versions(candidate: Candidate) -> int:
    """How many clips there are for each of the corpus: itself and its versions."""
    return 1 + len(names_of(candidate.pipeline.versions))


@dataclass
class Costs:
    """Expected costs in a search; the more it has measured, the less the table counts."""

    _fits: dict[str, float] = field(default_factory=dict)
    """Measured seconds over those of the table, by model."""
    _extractions: dict[str, float] = field(default_factory=dict)
    """The same by extractor."""

    def measured(self, candidate: Candidate, seconds: float) -> None:
        """Note what a fit took."""
        self._fits[candidate.pipeline.model.name] = seconds / _in_table(candidate)

    def fit(self, candidate: Candidate) -> float:
        """Expected seconds of one fit: a model that was not measured is as fast as the others were."""
        if candidate.pipeline.model.name in _BASELINES:
            return inf
        usual = median(self._fits.values()) if self._fits else 1.0
        return _in_table(candidate) * self._fits.get(candidate.pipeline.model.name, usual)

    @staticmethod
    def extraction(candidate: Candidate) -> float:
        """Seconds of the extraction by the table."""
        return _EXTRACTIONS.get(candidate.pipeline.features.name, _UNKNOWN) * _n_versions(candidate)

    def extracted(self, candidate: Candidate, seconds: float) -> None:
        """Note what an extraction took."""
        self._extractions[candidate.pipeline.features.name] = seconds / self.extraction(candidate)

    def seconds_to_extract(self, candidate: Candidate) -> float:
        """The same if it is as slow here as the others were; 0 while there was none."""
        return median(self._extractions.values() or [0.0]) * self.extraction(candidate)
