"""Logistic regression."""

from dataclasses import dataclass
from typing import Any

from sklearn.linear_model import LogisticRegression as Estimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from marsbench.plugin.search_space import HyperParameters
from marsbench.plugin.sklearn import SklearnModel


@dataclass
class LogisticRegression(SklearnModel):
    """Multinomial logistic regression on standardised features.

    Args:
        balanced: weight classes inversely to their number of clips.
        max_iter: maximum number of iterations of the solver.
    """

    balanced: bool = True
    max_iter: int = 2000

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Pipeline of scaler and regression with an L2 penalty of strength 1 / C."""
        regression = Estimator(
            C=hp.Float("C", 1e-3, 100.0, sampling="log", default=1.0),
            class_weight="balanced" if self.balanced else None,
            max_iter=self.max_iter,
        )
        return make_pipeline(StandardScaler(), regression)
