"""The job that makes a tuned run of one pipeline: a study in each fold, then a fit of what it found."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property, partial
from itertools import product
from math import ceil
from typing import cast

import numpy as np
from numpy.typing import NDArray

from marsbench.config import Experiment, Tuning
from marsbench.errors import ResultsError
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.predictions import Predictions
from marsbench.execution.base import Outcome, Task
from marsbench.features.feature_file import FeatureFile
from marsbench.planning.pipelines import Pipeline
from marsbench.planning.plans import Plan
from marsbench.plugin.model import Model
from marsbench.plugin.registry import discover
from marsbench.progress import Advance, Progress
from marsbench.results.schema import Run
from marsbench.results.studies import Study, StudyFolder
from marsbench.runner.pipeline_job import PipelineJob
from marsbench.runner.record import tuning_record
from marsbench.runner.resources import Resources
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.engines import StudyRequest, load_engine
from marsbench.tuning.journal import Journal
from marsbench.tuning.search_space import Configuration, Exploration, SearchSpace, of_plugin, tuned_features
from marsbench.tuning.tuned_or_untuned import decide


def jobs_of(plan: Plan, experiment: Experiment, progress: Progress) -> list[PipelineJob]:
    """For each pipeline and seed the untuned run and, if asked for, the tuned one after it.

    The untuned run shows what tuning gained; folds whose study finds nothing better are copied from it.
    """
    jobs: list[PipelineJob] = []
    for pipeline, repeat in product(plan.pipelines, range(experiment.repeats)):
        alone = experiment.model_copy(update={"seed": experiment.seed + repeat, "repeats": 1})
        jobs.append(PipelineJob(plan, pipeline, alone, progress))
        tuning = experiment.tuning(has_epochs=bool(pipeline.rungs))
        if tuning is not None and pipeline.is_tunable:
            jobs.append(TunedJob(plan, pipeline, alone, progress, tuning))
    return jobs


class TunedJob(PipelineJob):
    """A tuned run of one pipeline of a plan."""

    is_timed = True
    tuning: Tuning
    _advance_trials: Advance | None = None
    _found: SearchSpace | Failure | None = None
    _space: SearchSpace
    """What the studies search, once folds are fitted."""

    def __init__(
        self, plan: Plan, pipeline: Pipeline, experiment: Experiment, progress: Progress, tuning: Tuning
    ) -> None:
        """Write nothing yet."""
        self.tuning = tuning
        super().__init__(plan, pipeline, experiment, progress)
        self.seconds_spent = self.folder.study.seconds_spent
        self._n_trials: Counter[int] = Counter()
        """Number of trials of each fold's study that this command has written."""
        self._in_vain: dict[int, str] = {}
        """Folds, from 1, on which nothing better was found, with what `decide` says."""

    def prepare(self, place: Resources) -> None:
        """Extract the features and find the search space, by a worker, since networks need TensorFlow."""
        features = self.features_at(place)
        if isinstance(features, Failure):
            self._found = features
        else:
            task = Task(f"{self.name}, search space", self._exploration(features.input_shape))
            self._found = place.submit(task).value

    def fit_missing(self, place: Resources) -> None:
        """Tune and fit the missing folds side by side."""
        if self._found is None:
            self.prepare(place)
        if isinstance(self._found, Failure):
            self.give_up(self._found)
            return
        assert self._found is not None  # noqa: S101 - it was just prepared
        self._space = self._found
        super().fit_missing(place)
        if self._in_vain:
            folds = ", ".join(f"{fold}{why}" for fold, why in sorted(self._in_vain.items()))
            self.say(f"tuning found nothing better on fold{'s' * (len(self._in_vain) > 1)} {folds}")

    def fit(self, fold: int, features: FeatureFile, place: Resources) -> Outcome:
        """The study, then the fit of its best configuration on the whole training part."""
        if self._advance_trials is None and not self.tuning.is_endless:
            self._advance_trials = self.show(f"{self.name}, trials", self.tuning.trials * len(self.missing))
        fits, targets = self._inner_fits(fold, features, place)
        study = self._finished_study(fold) or self._search(fits, targets, place)
        if isinstance(study, Failure):
            return Outcome(study)
        if study.taken is None:
            study, told = decide(study, fits, self.plan.corpus, self.units.together)
            if study.taken == 0:
                self._in_vain[fold + 1] = told
            elif told:
                self.say(told)
        self._keep(study)
        # Trial 0 may name but a part of what is at its default, such as the model's.
        configuration = study.chosen.configuration if study.chosen and study.chosen.number else {}
        if (known := self._fitted_already(fold, configuration)) is not None:
            return Outcome(known)
        recipe = tuned_features(self.pipeline.features, self.plan.folders, configuration)
        tuned = self.features_at(place, recipe)
        if isinstance(tuned, Failure):
            return Outcome(tuned)
        return self.fit_unit(self.units.outer(fold, tuned, configuration), place)

    def build_record(self, predictions: Predictions | None) -> Run:
        """The run with its scores and the results of its studies."""
        run = super().build_record(predictions)
        studies = list(self.folder.study.studies())
        run = run.model_copy(update={"tuning": tuning_record(self.tuning, studies, run.metrics)})
        if run.metrics is not None:
            from marsbench.results.plots import (
                plot_history,  # matplotlib takes half a second, status needs none
            )

            plot_history(studies, run.title, self.folder.study.history_plot)
        return run

    def _read(self, fold: int) -> None:
        if self.folder.study.has_study(fold):  # a unit without its study is incomplete
            super()._read(fold)

    def _exploration(self, input_shape: tuple[int, ...]) -> Exploration:
        model = self.pipeline.model
        accepts = cast("type[Model]", discover(self.plan.folders).get("models", model.name).plugin).accepts
        return Exploration(
            features=self.pipeline.features,
            model=model,
            folders=self.plan.folders,
            input_shape=input_shape[-1:] if accepts == "vector" else input_shape,
            n_classes=len(self.plan.corpus.labels),
            by_hand=self.pipeline.hyperparameters,
            pinned=frozenset(self.pipeline.settings),
        )

    def _finished_study(self, fold: int) -> Study | None:
        """The fold's study if an earlier command finished it."""
        try:
            study = self.folder.study.study(fold)
        except ResultsError as error:
            self.say(f"{error}; its trials are scored again from their fits")
            return None
        if study is None:
            self._report_others(fold)
        if study is None or study.ended is None:
            return None
        if study.space != self._space.key:
            self.say(f"fold {fold + 1}: the search space has changed; a new study begins")
            return None
        return study

    def _report_others(self, fold: int) -> None:
        """Say once that a study of the same pipeline searched another space or for another objective."""
        earlier = [] if fold else [study for folder in self._others for study in folder.studies()]
        if earlier and all(study.space != self._space.key for study in earlier):
            self.say("an earlier study searched another search space; a new study begins")
        elif earlier and all(study.objective != self.tuning.objective for study in earlier):
            self.say("an earlier study had another objective; a new study begins")

    def _inner_fits(
        self, fold: int, features: FeatureFile, place: Resources
    ) -> tuple[CachedFits, list[NDArray[np.int64]]]:
        """The fits on a fold's inner splits, and the true classes of each split's test rows."""
        objective = self.tuning.objective
        units, targets = self.units.inner(fold, features, self.tuning.inner_folds, objective)
        fits = CachedFits(
            name=self.task_name(fold),
            fold=fold,
            units=units,
            recipe=self.pipeline.features,
            key=self.key.tuning_fits(objective),
            folder=self.folder.study,
            others=self._others,
            features_by=partial(self.features_at, place),
            submit=self.submit_at(place, fold),
            say=self.say,
        )
        return fits, targets

    def _search(
        self, fits: CachedFits, targets: Sequence[NDArray[np.int64]], place: Resources
    ) -> Study | Failure:
        request = StudyRequest(
            tuning=self.tuning,
            space=self._space,
            fits=fits,
            targets=targets,
            rungs=self.pipeline.rungs,
            seed=self.experiment.seed,
            pinned=frozenset(of_plugin(self.pipeline.settings, self.pipeline.model.name)),
            is_late=lambda seconds: not self.clock.reaches(1, seconds + self._seconds_of_folds(place)),
            deadline=self.clock.deadline(self._seconds_of_folds(place)),
            workers_see_folder=place.executor.sees(self.folder.path),
            keep=self._keep,
        )
        return load_engine(self.tuning.tuner).search(request)

    def _seconds_of_folds(self, place: Resources) -> float:
        """Seconds that the fits of the missing folds take after tuning."""
        return ceil(len(self.missing) / max(1, place.executor.slots)) * self._seconds_a_fold

    @cached_property
    def _seconds_a_fold(self) -> float:
        """Seconds of the untuned run's longest fold."""
        return max(self.folder_of(None).unit_seconds(), default=0.0)

    def _keep(self, study: Study) -> None:
        """Write the current state of a fold's study."""
        self.folder.study.write_study(study)
        # Each command writes a new journal: first come the studies that earlier commands made.
        for kept in [study] if self._n_trials else self.folder.study.studies():
            self._journal.keep(kept, self._space)
        if self.experiment.time_budget is not None:
            self.folder.study.write_seconds_spent(self.clock.elapsed)
        if self._advance_trials is not None:
            self._advance_trials(len(study.trials) - self._n_trials[study.fold])
        self._n_trials[study.fold] = len(study.trials)

    def _fitted_already(self, fold: int, configuration: Configuration) -> UnitResult | None:
        """This run's own result if only its study was lost, or the untuned run's if that was chosen."""
        shape = self.shapes[fold]
        result = self.folder.unit(fold, shape, self.say)
        if result is None and (not configuration or configuration == self._space.defaults):
            result = self.folder_of(None).unit(fold, shape, self.say)
        return result

    @cached_property
    def _others(self) -> tuple[StudyFolder, ...]:
        """Studies of the same pipeline and seed with other options, such as more trials."""
        pattern = f"{self.folder.path.name.rpartition('-')[0]}-*/study"
        found = sorted(self.folder.path.parent.glob(pattern))
        return tuple(StudyFolder(path) for path in found if path.parent != self.folder.path)

    @cached_property
    def _journal(self) -> Journal:
        origin = {"pipeline": self.pipeline.name, "run": self.folder.path.name}
        board = {"corpus": self.plan.corpus.name, "protocol": self.plan.protocol.name}
        return Journal(self.folder.study.journal, origin | board)
