"""A model that goes wrong in the way that its parameter says."""

import os
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

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
class Troubled(Model):
    """Raises, meets the error in `KIT_ERRNO`, or gives what cannot be probabilities; or nothing is wrong."""

    accepts: ClassVar[FeatureKind] = "vector"
    trouble: str = "raises"

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Raise if that is the trouble."""
        self.n_classes_ = context.n_classes
        if self.trouble == "raises":
            raise RuntimeError("no luck today")
        if self.trouble == "system" and (number := int(os.environ.get("KIT_ERRNO", "0"))):
            raise OSError(number, os.strerror(number), "its-file")
        return self

    def predict_proba(self, features: Features) -> Probabilities:
        """Give what the trouble asks for."""
        fair = np.full((len(features), self.n_classes_), 1 / self.n_classes_)
        wrong = {"nan": fair * np.nan, "shape": fair[:, :-1], "sum": 2 * fair, "negative": fair - 1}
        return wrong.get(self.trouble, fair)
