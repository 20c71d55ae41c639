"""Names of runs, fits and searches: digests of everything that decides what they come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marsbench.config import Normalise, Tuning, Versions
from marsbench.evaluation.fit import fit_version
from marsbench.evaluation.metrics import METRICS
from marsbench.features.clip_versions import code_of, names_of
from marsbench.hashing import digest
from marsbench.plugin.registry import Recipe
from marsbench.versions import versions_of


@dataclass(frozen=True)
class PipelineKey:
    """Everything that decides the fits of a pipeline, beside fold, configuration and epochs."""

    protocol: str
    """Hash of the protocol, which covers the corpus."""
    features: Recipe
    model: Recipe
    hyperparameters: Mapping[str, Any]
    """Values set by hand."""
    seed: int
    threads: int
    normalise: Normalise | None = None
    versions: Versions | None = None

    @property
    def _parts(self) -> list[Any]:
        recipes = [self.features.key, self.model.key]
        # Runs without it have the names that they had before there was such an option.
        normalised = [["normalise", self.normalise]] if self.normalise else []
        parts = [self.protocol, *recipes, self.hyperparameters, self.seed, self.threads, fit_version()]
        return [*parts, *normalised, *versions_key(self.versions)]

    def run_id(self, tuning: Tuning | None = None) -> str:
        """Name of the run's folder, FEATURES-MODEL-sSEED-DIGEST."""
        tuned = [] if tuning is None else [tuning.model_dump(), *versions_of("tuning")]
        parts = [*self._parts, *tuned]
        return f"{self.features.name}-{self.model.name}-s{self.seed}-{digest(parts)[:12]}"

    def tuning_fits(self, objective: str) -> str:
        """Key of the fits that a tuner makes: drafts, but for an objective of the probabilities."""
        whole = ["whole"] if METRICS[objective].from_probabilities else []
        return digest([*self._parts, *whole])

    @property
    def holdout_fits(self) -> str:
        """Key of whole fits on parts of a fold's training clips: weights of ensembles are fitted on them."""
        return digest([*self._parts, "weighing"])

    @property
    def screening_fits(self) -> str:
        """Key of the fits of a search's first looks."""
        return digest([self.holdout_fits, "first look"])


def versions_key(versions: Versions | None) -> list[Any]:
    """What stands for changed versions of training clips in a key; empty for none."""
    if versions is None:
        return []
    return [["versions", *code_of(names_of(versions)), *(["averaged"] if versions.averaged else [])]]


def fit_name(
    key: str, fold: int, inner: int, n_inner: int, configuration: Mapping[str, Any], until: int | None
) -> str:
    """Name of the files of one fit inside a fold's training clips.

    Args:
        key: one of the keys of `PipelineKey`.
        fold: number of the fold.
        inner: number of the split of its training clips.
        n_inner: how many such splits there are.
        configuration: what a tuner proposes, by NAME.PARAMETER.
        until: epoch to stop after; None for a whole fit.
    """
    return digest([key, fold, inner, n_inner, configuration, until])[:24]


def ensemble_id(protocol: str, kind: str, member_ids: Sequence[str], inner_folds: int) -> str:
    """Name of an ensemble's folder, KIND-s0-DIGEST; `inner_folds` is 0 where nothing is fitted."""
    code = [*versions_of("ensembling"), *([fit_version()] if inner_folds else [])]
    return f"{kind}-s0-{digest([protocol, list(member_ids), inner_folds, *code])[:12]}"


SEARCH_FILES = "*/*/search-*/search.json"
"""Pattern of the searches' files below a results folder."""


def search_id(
    protocol: str, pipelines: Sequence[tuple[Recipe, Recipe, Mapping[str, Any]]], asked: Mapping[str, Any]
) -> str:
    """Name of a search's folder.

    Args:
        protocol: hash of the protocol.
        pipelines: features, model and values set by hand of each.
        asked: what the user asked for, as far as it decides anything.
    """
    keys = [(features.key, model.key, by_hand) for features, model, by_hand in pipelines]
    code = [fit_version(), *(versions_of("clip_versions") if asked.get("versions") else [])]
    return f"search-{digest([protocol, keys, asked, *code])[:12]}"
