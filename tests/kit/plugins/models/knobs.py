"""Knobs for a tuner, in numpy alone: how good it is depends on them and on its epochs."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from marsbench.errors import TrainingError
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
class Knobs(Model):
    """The nearest class mean, but for some clips a wrong class: fewer the nearer `x` is to 0.3.

    Diverges for x above 0.9. With `column`, believes that column of the features instead of the means.
    """

    accepts: ClassVar[FeatureKind] = "vector"
    epochs: int = 0
    """0 for a model without rungs."""
    log: str = ""
    """File that gets a line for each fit."""
    seconds: float = 0.0
    believes: bool = False
    """Whether a tuner may choose to believe the last column."""
    widest: float = 1.0
    """Upper end of x."""

    @property
    def rungs(self) -> tuple[int, ...]:
        """An eighth, a half, all."""
        return (self.epochs // 8, self.epochs // 2, self.epochs) if self.epochs else ()

    def declare(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> None:
        """Ask for all knobs."""
        self.x_ = hp.Float("x", 0.0, self.widest, default=min(0.8, self.widest))
        self.kind_ = hp.Choice("kind", ["plain", "deep"])
        with hp.conditional_scope("kind", ["deep"]):
            self.depth_ = hp.Int("depth", 1, 4)
        self.column_ = self.believes and hp.Boolean("column")

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        """Take each class's mean; count epochs."""
        self.declare(hp, train.features.input_shape, context.n_classes)
        begun = json.loads(context.checkpoint)["epoch"] if context.checkpoint else 0
        ended = context.until or self.epochs
        time.sleep(self.seconds)
        if self.log:
            line = {"x": self.x_, "from": begun, "to": ended, "clips": len(train), "draft": context.is_draft}
            with Path(self.log).open("a") as file:
                file.write(json.dumps(line) + "\n")
        if self.x_ > 0.9:
            raise TrainingError(f"x = {self.x_:.3f} diverges")
        for epoch in range(begun, ended):
            context.on_epoch(epoch + 1, self.epochs, {})
        self.checkpoint_ = json.dumps({"epoch": ended}).encode() if context.until else None
        values = train.features.values
        self.means_ = np.stack(
            [values[train.targets == target].mean(axis=0) for target in range(context.n_classes)]
        )
        lack = 1 - ended / self.epochs if self.epochs else 0.0
        self.wrong_ = min(0.9, 1.5 * abs(self.x_ - 0.3) + 0.3 * lack)
        return self

    def predict_proba(self, features: Features) -> Probabilities:
        """The class itself, or for a share of the clips, always the same ones, the next class."""
        distances = np.linalg.norm(features.values[:, None] - self.means_, axis=2)
        chosen = features.values[:, -1].astype(int) if self.column_ else distances.argmin(axis=1)
        n_classes = len(self.means_)
        if not self.column_:
            luck = np.abs(np.sin(1e4 * features.values[:, 0].astype(np.float64)))
            chosen = np.where(luck < self.wrong_, (chosen + 1) % n_classes, chosen)
        certain: Probabilities = np.eye(n_classes)[chosen]
        return 0.01 + (1 - 0.01 * n_classes) * certain

    def save(self, folder: Path) -> None:
        """Nothing is exported from it."""
        raise NotImplementedError

    def load(self, folder: Path) -> Self:
        """Nothing is exported from it."""
        raise NotImplementedError
