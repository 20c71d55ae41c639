"""Support vector machine."""

from dataclasses import dataclass
from typing import Any

from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from marsbench.plugin.search_space import HyperParameters
from marsbench.plugin.sklearn import SklearnModel


@dataclass
class Svm(SklearnModel):
    """Support vector machine with an RBF kernel on standardised features.

    Args:
        balanced: weight classes inversely to their number of clips.
    """

    balanced: bool = True

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Pipeline of scaler and SVC; `gamma` is in units of 1 / n_dims, scikit-learn's "scale" at 1."""
        machine = SVC(
            C=hp.Float("C", 0.1, 1000.0, sampling="log", default=10.0),
            gamma=hp.Float("gamma", 0.1, 10.0, sampling="log", default=1.0) / input_shape[-1],
            class_weight="balanced" if self.balanced else None,
            break_ties=True,  # predicts the largest decision value, consistent with the probabilities
        )
        return make_pipeline(StandardScaler(), machine)
