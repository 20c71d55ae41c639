"""The class whose mean is nearest, in numpy alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.plugin import (
    Examples,
    FeatureKind,
    Features,
    FitContext,
    HyperParameters,
    Model,
    Probabilities,
)


@dataclass
class NearestMean(Model):
    """Softmax of distances to class means."""

    accepts: ClassVar[FeatureKind] = "vector"

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Take each class's mean."""
        self.sharpness_ = hp.Float("sharpness", 0.1, 10.0, default=1.0)
        values = train.features.values
        means = [values[train.targets == target].mean(axis=0) for target in range(context.n_classes)]
        self.means_: NDArray[np.float32] = np.stack(means)
        self.n_parameters_ = self.means_.size
        return self

    def predict_proba(self, features: Features) -> Probabilities:
        """Softmax over negative distances."""
        distances = np.linalg.norm(features.values[:, None] - self.means_, axis=2).astype(np.float64)
        scores = np.exp(-self.sharpness_ * (distances - distances.min(axis=1, keepdims=True)))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), np.float64)

    def save(self, folder: Path) -> None:
        """Write the means."""
        np.savez(folder / "means.npz", means=self.means_, sharpness=self.sharpness_)

    def load(self, folder: Path) -> Self:
        """Read the means."""
        with np.load(folder / "means.npz", allow_pickle=False) as stored:
            self.means_ = stored["means"]
            self.sharpness_ = float(stored["sharpness"])
        return self
