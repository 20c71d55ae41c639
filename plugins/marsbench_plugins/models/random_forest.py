"""Random forest."""

from dataclasses import dataclass
from typing import Any

from sklearn.ensemble import RandomForestClassifier

from marsbench.plugin.search_space import HyperParameters
from marsbench.plugin.sklearn import SklearnModel


@dataclass
class RandomForest(SklearnModel):
    """Random forest.

    Args:
        balanced: weight classes inversely to their number of clips.
    """

    balanced: bool = True

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Random forest with a tunable number of trees, leaf size and number of features per split."""
        return RandomForestClassifier(
            n_estimators=hp.Int("trees", 100, 500, step=100, default=300),
            max_features=hp.Choice("max_features", ["sqrt", "log2"]),
            min_samples_leaf=hp.Int("min_samples_leaf", 1, 8, default=1),
            class_weight="balanced" if self.balanced else None,
        )
