"""KerasTuner's study of one fold: Hyperband (Li et al. 2018) over one Keras model, on fixed features.

Many configurations are trained for a few epochs; the best third of them goes on from where it stopped. A
study is one task, since KerasTuner runs a loop of its own and reads the search space off the network's code.

KerasTuner cannot be relied on to resume: it reads half-written files, loses a trial that it was killed
between two of them, ignores changed settings. But its proposals are a function of the seed and the scores. So
a study always begins at the beginning, and a fit that is on file is read instead of made. KerasTuner's own
project stands beside the fits, for its own tools.
"""

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, cast

from marsbench.errors import ResultsError, StorageError
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Outcome, Task, attempt
from marsbench.features.store import FeatureFile
from marsbench.hashing import derived_seed
from marsbench.planning import Pipeline
from marsbench.plugin.model import Model, OnEpoch
from marsbench.plugin.registry import Recipe, make
from marsbench.plugin.search_space import Defaults, Scalar
from marsbench.results.studies import Study, StudyFolder, Trial
from marsbench.tuning.engines import StudyRequest, TrialUnderWay
from marsbench.tuning.hyperband import Proposal, hyperband


def refusal(pipeline: Pipeline) -> str | None:
    """Why a pipeline cannot be tuned: KerasTuner's strength is Hyperband, which needs epochs."""
    if pipeline.rungs:
        return None
    name = pipeline.model.name
    return f"keras-tuner tunes Keras models, and {name} is not one; use --tuner optuna, or --trials 0"


def search(request: StudyRequest) -> Study | Failure:
    """Let a worker run the study; where workers do not see the folder, there is nothing to resume from."""
    outcome = request.fits.submit(Task(f"{request.fits.name}, KerasTuner", KerasTunerStudy.of(request)))
    if isinstance(outcome.value, Failure):
        if outcome.value.kind == StorageError.__name__:
            raise StorageError(outcome.value.message)  # a full disk is no fault of the pipeline
        return outcome.value
    trials: tuple[Trial, ...] = outcome.value
    all_made = len(trials) >= request.tuning.trials
    return request.study(trials, "all trials" if all_made else "Hyperband's brackets are done")


@dataclass(frozen=True)
class KerasTunerStudy:
    """The trials of one model on one fold, as a task for a worker."""

    request: StudyRequest

    @classmethod
    def of(cls, request: StudyRequest) -> "KerasTunerStudy":
        """The study that was asked for, with what it needs of the driver replaced."""
        features = _OnlyFeatures(request.fits.units[0].features)
        fits = replace(request.fits, features_by=features, submit=_run_here, say=_drop)
        return cls(replace(request, fits=fits, is_late=_never, keep=_drop))

    def __call__(self, on_epoch: OnEpoch) -> tuple[Trial, ...]:
        """Trials in the order of their numbers; `on_epoch` gets the number of finished trials and of all.

        Trial 0 is the untuned configuration on all inner folds with all epochs, whatever Hyperband does.

        Raises:
            ConfigError: a value was set by hand that the model refuses.
            StorageError: the folder cannot be written to.
            PluginError: TensorFlow or the model's plugin is missing.
            Exception: whatever the model raises as it declares itself at its defaults.
        """
        with _without_its_warnings():
            if self.request.workers_see_folder:
                return _Search(self.request, on_epoch).run()
            with TemporaryDirectory(prefix="marsbench-") as folder:
                fits = replace(self.request.fits, folder=StudyFolder(Path(folder)), others=())
                return _Search(replace(self.request, fits=fits), on_epoch).run()


@dataclass(frozen=True)
class _OnlyFeatures:
    """In place of features by recipe: what is tuned is the model alone."""

    features: FeatureFile

    def __call__(self, _recipe: Recipe) -> FeatureFile:
        return self.features


def _run_here(task: Task) -> Outcome:
    return Outcome(attempt(task.work, lambda *_: None))


def _never(_seconds: float) -> bool:
    return False


def _drop(_value: object) -> None: ...


@dataclass
class _Search:
    """A study while it runs: what KerasTuner asks for, and the trials so far."""

    request: StudyRequest
    on_epoch: OnEpoch
    done: dict[int, Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fits = self.request.fits
        self.pinned = self.request.pinned
        self.n_trials = self.request.tuning.trials
        self.epochs = self.request.rungs[-1]
        self.seed = derived_seed(self.request.seed, self.fits.fold)
        self.folder = self.fits.folder.path / f"fold-{self.fits.fold}"
        unit = self.fits.units[0]
        self.by_hand: dict[str, Scalar] = unit.hyperparameters
        self._model = cast("Model", make("models", unit.model, unit.folders))
        features = unit.features.read(unit.train[:1])
        self._input_shape = (features.pooled() if self._model.accepts == "vector" else features).input_shape
        if self.by_hand:
            self._refuse_wrong_values()
        self._n_on_file = self._trials_on_file()

    def run(self) -> tuple[Trial, ...]:
        """Let KerasTuner search; gives the trials."""
        hyperband(self).search()
        self.fits.clear_checkpoints()
        return tuple(self.done[number] for number in sorted(self.done))

    def declare(self, hp: Any) -> None:
        """Let the model ask KerasTuner for all that it asks for."""
        for name, value in self.by_hand.items():
            hp.values.setdefault(name, value)
        self._model.declare(hp, self._input_shape, self.fits.units[0].n_classes)
        for name in self.by_hand:
            if not hp.is_active(name):
                hp.values.pop(name, None)

    def _refuse_wrong_values(self) -> None:
        """KerasTuner would take any; raises ConfigError."""
        defaults = Defaults(self.by_hand)
        self._model.declare(defaults, self._input_shape, self.fits.units[0].n_classes)
        defaults.refuse_unused(self._model.name)

    def _trials_on_file(self) -> int:
        try:
            study = self.fits.folder.study(self.fits.fold)
        except ResultsError:
            return 0
        return len(study.trials) if study else 0

    def may_begin(self, number: int) -> bool:
        """Whether there is to be such a trial; one on file takes no time."""
        deadline = self.request.deadline
        is_late = deadline is not None and time.time() >= deadline
        return number < self.n_trials and (not is_late or number < self._n_on_file)

    def trial(self, proposal: Proposal) -> Trial:
        """What comes of a proposal."""
        trial = self._repeated(proposal) or self._tried(proposal)
        self.done[proposal.number] = trial
        self._n_on_file = max(self._n_on_file, len(self.done))
        if len(self.done) == self._n_on_file:
            self.fits.folder.write_study(self.request.study(list(self.done.values())))
        self.on_epoch(len(self.done), self.n_trials, {})
        return trial

    def _configuration(self, proposal: Proposal) -> dict[str, Scalar]:
        return {f"{self._model.name}.{name}": value for name, value in proposal.values.items()}

    def _repeated(self, proposal: Proposal) -> Trial | None:
        """The trial that an earlier one of the same configuration and epochs stands for."""
        for earlier in self.done.values():
            if earlier.configuration == self._configuration(proposal) and proposal.epochs in earlier.steps:
                return earlier.repeated(proposal.number)
        return None

    def _tried(self, proposal: Proposal) -> Trial:
        """Train and score on each inner fold; whatever the plugin raises is the trial's own failure."""
        trial = TrialUnderWay(proposal.number, self._configuration(proposal))
        until = None if proposal.epochs >= self.epochs else proposal.epochs
        below = self.done[proposal.parent].steps if proposal.parent is not None else None
        scores: list[float] = []
        for inner in range(len(self.fits.units)):
            result = self.fits.fit(trial.configuration, inner, until, max(below) if below else None)
            if isinstance(result, Failure):
                return trial.ended("failed", None, result.message)
            trial.fits.append(result)
            scores.append(self.request.score(inner, result))
            if not math.isfinite(scores[-1]):
                reason = f"{self.request.tuning.objective} is {scores[-1]} on inner fold {inner + 1}"
                return trial.ended("failed", None, reason)
        trial.steps[proposal.epochs] = fmean(scores)
        if until is not None:
            reason = f"stopped after {until} of {self.epochs} epochs"
            return trial.ended("pruned", fmean(scores), reason)
        return trial.ended("complete", fmean(scores))


@contextmanager
def _without_its_warnings() -> Iterator[None]:
    """KerasTuner calls functions of Python's that are deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"keras_tuner\.")
        yield
