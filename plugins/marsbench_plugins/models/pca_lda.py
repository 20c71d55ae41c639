"""Linear discriminant analysis of pooled embeddings."""

from dataclasses import dataclass
from typing import Any

from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from marsbench.plugin.search_space import HyperParameters
from marsbench.plugin.sklearn import SklearnModel


@dataclass
class PcaLda(SklearnModel):
    """Linear discriminant analysis on principal components: for wide embeddings and few clips.

    The defaults were chosen on training clips of the first fold of emobox6 (RAVDESS speech), split again by
    speaker, with mean and deviation of layers 1 to 3 of a Whisper-tiny encoder (2305 dimensions).
    """

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Pipeline of scaler, PCA and LDA.

        `variance` is the share of variance that the components keep; a fixed number of components could
        exceed the number of clips.
        """
        variance = hp.Float("variance", 0.7, 0.99, default=0.85)
        # Shrinkage also avoids division by almost zero for nearly collinear dimensions.
        shrinkage = hp.Float("shrinkage", 0.005, 0.5, sampling="log", default=0.05)
        analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
        return make_pipeline(StandardScaler(), PCA(variance), analysis)
