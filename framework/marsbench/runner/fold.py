"""What a fold needs until it has a result: one fit, or a study and then a fit of what it found."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from marsbench.config import Tuning
from marsbench.errors import ResultsError
from marsbench.evaluation.fit import Unit, fit_unit
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Outcome, Submit, Task
from marsbench.features.store import FeatureFile
from marsbench.hashing import derived_seed
from marsbench.plugin.registry import Recipe
from marsbench.results.store import RunFolder
from marsbench.results.studies import Study, StudyFolder, Trial
from marsbench.runner.units import Units
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.keras_tuner_engine import KerasTunerStudy
from marsbench.tuning.optuna_engine import OptunaStudy
from marsbench.tuning.search_space import Configuration, SearchSpace, of_plugin, tuned_features


def fit_once(name: str, unit: Unit, submit: Submit) -> Outcome:
    """One fit, as a task of that name."""
    return submit(Task(name, partial(fit_unit, unit)))


@dataclass(frozen=True)
class TunedFold:
    """One fold of a tuned run."""

    name: str
    """As screens show it."""
    fold: int
    units: Units
    tuning: Tuning
    own: RunFolder
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

    def fit(self, features: FeatureFile, submit: Submit) -> Outcome:
        """The study, then the fit of its best configuration on the whole training part."""
        study = self._finished_study() or self._study(features, submit)
        if isinstance(study, Failure):
            return Outcome(study)
        self.keep(study)
        configuration = self._chosen(study)
        if (known := self._fitted_already(configuration)) is not None:
            return known
        tuned = self.features_by(tuned_features(self._recipe, self.units.folders, configuration))
        if isinstance(tuned, Failure):
            return Outcome(tuned)
        return fit_once(self.name, self.units.outer(self.fold, tuned, configuration), submit)

    @property
    def _recipe(self) -> Recipe:
        return self.units.pipeline.features

    def _finished_study(self) -> Study | None:
        """The study as it was finished earlier."""
        try:
            study = self.own.study.study(self.fold)
        except ResultsError as error:
            self.say(f"{error}; gone through again")
            return None
        if study is None:
            self._tell_of_others()
        if study is None or study.ended is None:
            return None
        if study.space != self.space.key:
            self.say(f"fold {self.fold + 1}: the search space has changed; a new study begins")
            return None
        return study

    def _tell_of_others(self) -> None:
        """Say so once where a study of the same pipeline has searched for something else."""
        if self.fold:
            return
        earlier = [study for folder in self.others for study in folder.studies()]
        if earlier and all(study.space != self.space.key for study in earlier):
            self.say("an earlier study searched another search space; a new study begins")
        elif earlier and all(study.objective != self.tuning.objective for study in earlier):
            self.say("an earlier study had another objective; a new study begins")

    def _study(self, features: FeatureFile, submit: Submit) -> Study | Failure:
        units, targets = self.units.inner(self.fold, features, self.tuning.inner_folds)
        if self.tuning.tuner == "keras-tuner":
            return self._keras_tuner(units, [tuple(truth.tolist()) for truth in targets], submit)
        fits = CachedFits(
            name=self.name,
            fold=self.fold,
            units=units,
            recipe=self._recipe,
            context=self.context,
            folder=self.own.study,
            others=self.others,
            features_by=self.features_by,
            submit=submit,
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
        return study.run()

    def _keras_tuner(
        self, units: tuple[Unit, ...], targets: list[tuple[int, ...]], submit: Submit
    ) -> Study | Failure:
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
            folder=self.own.study.path / f"keras-tuner-{self.fold}" if self.workers_see_folder else None,
            deadline=self.deadline,
        )
        outcome = submit(Task(f"{self.name}, KerasTuner", study))
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

    def _fitted_already(self, configuration: Configuration) -> Outcome | None:
        """What this run came to, whose study was lost; or the untuned run, if that was chosen."""
        shape = len(self.units.folds[self.fold].test), len(self.units.corpus.labels)
        result = self.own.unit(self.fold, shape, self.say)
        if result is None and (not configuration or configuration == self.space.defaults):
            result = self.untuned.unit(self.fold, shape, self.say)
        return None if result is None else Outcome(result)
