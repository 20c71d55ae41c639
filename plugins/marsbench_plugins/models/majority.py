"""A baseline that ignores the features."""

from dataclasses import dataclass
from typing import Any

from sklearn.dummy import DummyClassifier

from marsbench.plugin.search_space import HyperParameters
from marsbench.plugin.sklearn import SklearnModel


@dataclass
class Majority(SklearnModel):
    """Predicts the class frequencies of the training clips for every clip."""

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Dummy classifier, which ignores its input."""
        return DummyClassifier(strategy="prior")
