"""Contract checks of models: each finds the model that breaks it, and no other."""

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import pytest

from marsbench.errors import TrainingError
from marsbench.plugin.base import Plugin
from marsbench.plugin.checks import check
from marsbench.plugin.features import FeatureKind, Features, Floats
from marsbench.plugin.model import Examples, FitContext, Model, Probabilities
from marsbench.plugin.search_space import HyperParameters


def problems(plugin: type[Plugin], parameters: dict[str, Any] | None = None) -> dict[str, str]:
    return {entry.name: entry.problem for entry in check(plugin, parameters) if entry.problem}


class Means(Model):
    """Nearest class mean."""

    accepts: ClassVar[FeatureKind] = "vector"

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        self.width_ = hp.Float("width", 0.1, 10.0, default=1.0)
        values, classes = self.values(train.features), range(context.n_classes)
        self.present_ = np.isin(classes, train.targets)
        self.means_ = np.array([values[train.targets == k].sum(axis=0) for k in classes])
        self.means_ /= np.bincount(train.targets, minlength=context.n_classes).clip(1)[:, None]
        return self

    def values(self, features: Features) -> Floats:
        return features.pooled().values

    def predict_proba(self, features: Features) -> Probabilities:
        distances = ((self.values(features)[:, None].astype(np.float64) - self.means_) ** 2).sum(axis=-1)
        likelihoods = np.exp(-distances / self.width_) * self.present_ + 1e-9
        return cast("Probabilities", likelihoods / likelihoods.sum(axis=1, keepdims=True))

    def save(self, folder: Path) -> None:
        np.savez(folder / "means.npz", means=self.means_, present=self.present_, width=self.width_)

    def load(self, folder: Path) -> Self:
        with np.load(folder / "means.npz") as arrays:
            self.means_, self.present_ = arrays["means"], arrays["present"]
            self.width_ = float(arrays["width"])
        return self


class FrameMeans(Means):
    """The same, given frames."""

    accepts: ClassVar[FeatureKind] = "frames"
    wants_validation = True


class Unnormalised(Means):
    """Rows do not sum to 1."""

    def predict_proba(self, features: Features) -> Probabilities:
        return super().predict_proba(features) / 2


class Transposed(Means):
    """Classes by clips."""

    def predict_proba(self, features: Features) -> Probabilities:
        return super().predict_proba(features).T


class SinglePrecision(Means):
    """float32."""

    def predict_proba(self, features: Features) -> Probabilities:
        return cast("Probabilities", super().predict_proba(features).astype(np.float32))


class NotANumber(Means):
    """NaN."""

    def predict_proba(self, features: Features) -> Probabilities:
        return super().predict_proba(features) * np.nan


class Greedy(Means):
    """Centres the training features in place."""

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        train.features.values[:] -= train.features.values.mean(axis=0)
        return super().fit(train, hp, context)


class Relabelling(Means):
    """Shifts the targets in place and back too far."""

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        super().fit(train, hp, context)
        train.targets[:] = 0
        return self


class GreedyPrediction(Means):
    """Centres the features to predict in place."""

    def predict_proba(self, features: Features) -> Probabilities:
        features.values[:] += 0
        return super().predict_proba(features)


class Unseeded(Means):
    """Starts from the global generator."""

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        super().fit(train, hp, context)
        self.means_ += np.random.rand(*self.means_.shape)  # noqa: NPY002 - the fault
        return self


class SeenClassesOnly(Means):
    """One column for each class it has seen."""

    def predict_proba(self, features: Features) -> Probabilities:
        answer = super().predict_proba(features)[:, self.present_]
        return cast("Probabilities", answer / answer.sum(axis=1, keepdims=True))


class OutOfRange(Means):
    """Its default is none that a tuner could choose."""

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        hp.Int("trees", 10, 20, default=5)
        return super().fit(train, hp, context)


class Ambiguous(Means):
    """One name for two hyperparameters."""

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        hp.Int("width", 1, 2)
        return super().fit(train, hp, context)


class Amnesiac(Means):
    """Saves half of itself."""

    def load(self, folder: Path) -> Self:
        super().load(folder)
        self.width_ = 2.0
        return self


class Pickler(Means):
    """Saves a pickle."""

    def save(self, folder: Path) -> None:
        (folder / "means.bin").write_bytes(pickle.dumps(self.__dict__))


class Forgets(Means):
    """Returns None from fit."""

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        super().fit(train, hp, context)
        return cast("Self", None)


class Shapeless(Means):
    """Accepts nothing known."""

    accepts = cast("FeatureKind", "waveform")


@dataclass
class Epochs(Means):
    """Cannot be trained for more than one epoch within a check."""

    epochs: int = 100

    def fit(self, train: Examples, hp: HyperParameters, context: FitContext) -> Self:
        if self.epochs > 1:
            raise TrainingError(f"{self.epochs} epochs")
        return super().fit(train, hp, context)


@pytest.mark.parametrize("plugin", [Means, FrameMeans, Epochs])
def test_a_good_model_has_no_problem(plugin: type[Plugin]) -> None:
    assert problems(plugin) == {}


@pytest.mark.parametrize(
    ("plugin", "name", "words"),
    [
        (Unnormalised, "probabilities", "do not sum to 1: the error is 0.5"),
        (Transposed, "probabilities", r"shape \(3, 24\) for 24 clips and 3 classes"),
        (SinglePrecision, "probabilities", "float32; a float64"),
        (NotANumber, "probabilities", "NaN"),
        (Greedy, "input not modified", "changed the features"),
        (Relabelling, "input not modified", "changed the features, lengths or targets"),
        (GreedyPrediction, "read-only input", "read-only"),
        (Unseeded, "equal seeds give equal models", "different models"),
        (SeenClassesOnly, "a class without training clips", r"shape \(24, 2\)"),
        (OutOfRange, "hyperparameters", "default trees=5 is not in 10 to 20"),
        (Ambiguous, "hyperparameters", "width is declared twice, as 1 to 2 and 0.1 to 10"),
        (Amnesiac, "save and load", "different probabilities"),
        (Pickler, "save and load", "pickle means.bin"),
        (Forgets, "fit", "NoneType; it should return self"),
        (Shapeless, "accepts", "'waveform'; 'frames' or 'vector'"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_faulty_model_is_found(plugin: type[Plugin], name: str, words: str) -> None:
    assert re.search(words, problems(plugin).get(name, "no problem"))


def test_a_given_number_of_epochs_is_kept() -> None:
    assert problems(Epochs, {"epochs": 3}) == {"fit": "3 epochs"}
