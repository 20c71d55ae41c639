"""The floor under every score."""

from dataclasses import dataclass
from typing import Any

from sklearn.dummy import DummyClassifier

from marsbench.plugin.search_space import HyperParameters
from marsbench.plugin.sklearn import SklearnModel


@dataclass
class Majority(SklearnModel):
    """Class frequencies of the training clips, whatever is heard."""

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Estimator that ignores its input."""
        return DummyClassifier(strategy="prior")
