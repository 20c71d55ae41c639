"""What a fold needs until it has a result: one fit, or a study and then a fit of what it found."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial

from marsbench.errors import ResultsError
from marsbench.evaluation.unit import Unit, fit_unit
from marsbench.evaluation.unit_result import Failure
from marsbench.execution.task import Outcome, Task
from marsbench.experiment import Tuning
from marsbench.feature_store import FeatureFile
from marsbench.files import derived_seed
from marsbench.plugin.registry import Recipe
from marsbench.results.store import RunFolder
from marsbench.results.study_folder import StudyFolder
from marsbench.results.trials import Study, Trial
from marsbench.runner.fold_queue import Steps
from marsbench.runner.units import Units
from marsbench.tuning.inner_fits import InnerFits
from marsbench.tuning.keras_tuner_study import KerasTunerStudy
from marsbench.tuning.optuna_study import OptunaStudy
from marsbench.tuning.search_space import Configuration, SearchSpace, of_plugin, tuned_features


def untuned(name: str, unit: Unit) -> Steps:
    """One fit."""
    return (yield Task(name, partial(fit_unit, unit)))


@dataclass(frozen=True)
class TunedFold:
    """One fold of a tuned run."""

    name: str
    """As screens show it."""
    fold: int
    units: Units
    tuning: Tuning
    folder: StudyFolder
    others: tuple[StudyFolder, ...]
    """Of other runs of the same pipeline."""
    untuned: RunFolder
    """The run of the same pipeline without tuning: what it fitted is not fitted again."""
    context: str
    """Digest of everything that a fit depends on beside fold, split, configuration and epochs."""
    features_by: Callable[[Recipe], FeatureFile | Failure]
    space: SearchSpace
    time_is_up: Callable[[float], bool]
    deadline: float | None
    """`time.time()` after which no new trial should begin."""
    workers_see_folder: bool
    keep: Callable[[Study], None]
    say: Callable[[str], None]

    def steps(self, features: FeatureFile) -> Steps:
        """The study, then the fit of its best configuration on the whole training part."""
        study = self._finished_study() or (yield from self._study(features))
        if isinstance(study, Failure):
            return Outcome(study)
        self.keep(study)
        configuration = self._chosen(study)
        if (same := self._fitted_untuned(configuration)) is not None:
            return same
        tuned = self.features_by(tuned_features(self._recipe, self.units.plan.folders, configuration))
        if isinstance(tuned, Failure):
            return Outcome(tuned)
        return (yield from untuned(self.name, self.units.outer(self.fold, tuned, configuration)))

    @property
    def _recipe(self) -> Recipe:
        return self.units.pipeline.features

    def _finished_study(self) -> Study | None:
        """The study as it was finished earlier."""
        try:
            study = self.folder.study(self.fold)
        except ResultsError as error:
            self.say(f"{error}; gone through again")
            return None
        if study is None or study.ended is None:
            return None
        if study.space != self.space.key:
            self.say(f"fold {self.fold + 1}: the search space has changed; a new study begins")
            return None
        return study

    def _study(self, features: FeatureFile) -> Generator[Task, Outcome, Study | Failure]:
        units, targets = self.units.inner(self.fold, features, self.tuning.inner_folds)
        if self.tuning.tuner == "keras-tuner":
            return (yield from self._keras_tuner(units, [tuple(truth.tolist()) for truth in targets]))
        fits = InnerFits(
            name=self.name,
            fold=self.fold,
            units=units,
            recipe=self._recipe,
            context=self.context,
            folder=self.folder,
            others=self.others,
            features_by=self.features_by,
            say=self.say,
        )
        study = OptunaStudy(
            tuning=self.tuning,
            space=self.space,
            fits=fits,
            targets=targets,
            rungs=self.units.pipeline.rungs,
            seed=self.units.seed,
            time_is_up=self.time_is_up,
            keep=self.keep,
        )
        return (yield from study.trials())

    def _keras_tuner(
        self, units: tuple[Unit, ...], targets: list[tuple[int, ...]]
    ) -> Generator[Task, Outcome, Study | Failure]:
        """The whole study as one piece of work: KerasTuner runs a loop of its own, and imports TensorFlow."""
        pipeline = self.units.pipeline
        study = KerasTunerStudy(
            units=units,
            targets=tuple(targets),
            objective=self.tuning.objective,
            trials=self.tuning.trials,
            epochs=pipeline.rungs[-1],
            pinned=frozenset(of_plugin(pipeline.settings, pipeline.model.name)),
            seed=derived_seed(self.units.seed, self.fold),
            # Elsewhere nothing would be there to go on from.
            folder=self.folder.path / f"keras-tuner-{self.fold}" if self.workers_see_folder else None,
            deadline=self.deadline,
        )
        outcome = yield Task(f"{self.name}, KerasTuner", study)
        if isinstance(outcome.value, Failure):
            return outcome.value
        trials: tuple[Trial, ...] = outcome.value
        return Study(
            fold=self.fold,
            tuner=self.tuning.tuner,
            objective=self.tuning.objective,
            inner_folds=len(units),
            space=self.space.key,
            trials=list(trials),
            ended="all trials" if len(trials) >= self.tuning.trials else "Hyperband's brackets are done",
        )

    def _chosen(self, study: Study) -> Configuration:
        if study.best is None:
            first = next((trial.reason for trial in study.trials if trial.reason), "there was no trial")
            self.say(
                f"fold {self.fold + 1}: no trial is complete ({first}); the untuned configuration is taken"
            )
            return {}
        return study.best.configuration

    def _fitted_untuned(self, configuration: Configuration) -> Outcome | None:
        """What the untuned run came to, if that is the configuration."""
        if configuration and configuration != self.space.defaults:
            return None
        shape = len(self.units.plan.protocol.folds[self.fold].test), len(self.units.plan.corpus.labels)
        result = self.untuned.unit(self.fold, shape, self.say)
        return None if result is None else Outcome(result)
