"""KerasTuner's study of one fold: Hyperband (Li et al. 2018) over one Keras model, on fixed features.

Many configurations are trained for a few epochs; the best third of them goes on from where it stopped. A
study is one task, since KerasTuner runs a loop of its own and reads the search space off the network's code.

KerasTuner cannot be relied on to resume: it reads half-written files, loses a trial that it was killed
between two of them, ignores changed settings. But its proposals are a function of the seed and the scores. So
a study always begins at the beginning, and a fit that is on file is read instead of made. KerasTuner's own
project stands beside the fits, for its own tools. It is imported late: it imports TensorFlow.
"""

import math
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

from marsbench.errors import PluginError, first_line
from marsbench.evaluation.fit_result import Failure
from marsbench.execution.base import Called, Outcome, Task, attempt
from marsbench.hashing import derived_seed
from marsbench.planning.pipelines import Pipeline
from marsbench.plugin.keras import import_keras
from marsbench.plugin.model import Model, OnEpoch
from marsbench.plugin.registry import make
from marsbench.plugin.search_space import Defaults
from marsbench.results.studies import Study, StudyFolder, Trial
from marsbench.tuning.engines import StudyRequest, TrialUnderWay
from marsbench.tuning.search_space import Configuration

_FACTOR = 3
"""One of so many configurations goes on from a rung, for about so many times the epochs."""


def refusal(pipeline: Pipeline) -> str | None:
    """Why a pipeline cannot be tuned: KerasTuner's strength is Hyperband, which needs epochs."""
    if pipeline.rungs:
        return None
    name = pipeline.model.name
    return f"keras-tuner tunes Keras models, and {name} is not one; use --tuner optuna, or --trials 0"


def search(request: StudyRequest) -> Study | Failure:
    """Let a worker run the study; where workers do not see the folder, there is nothing to resume from."""
    _say_what_is_shared(request)
    outcome = request.fits.submit(Task(f"{request.fits.name}, KerasTuner", KerasTunerStudy.of(request)))
    if isinstance(outcome.value, Failure):
        return outcome.value
    trials: tuple[Trial, ...] = outcome.value
    all_made = len(trials) >= request.tuning.trials
    return request.study(trials, "all trials" if all_made else "Hyperband's brackets are done")


def _say_what_is_shared(request: StudyRequest) -> None:
    """Say once of a model that is not built in what its trials may depend on."""
    unit = request.fits.units[0]
    if not request.fits.fold and not Called("models", unit.model.name, unit.folders).entry.is_builtin:
        request.fits.say(
            f"KerasTuner's trials of {unit.model.name} share a process, so what one leaves behind in it may "
            "change the next one's score; with --tuner optuna each fit has its own"
        )


@dataclass(frozen=True)
class KerasTunerStudy:
    """The trials of one model on one fold, as a task for a worker."""

    request: StudyRequest

    @classmethod
    def of(cls, request: StudyRequest) -> "KerasTunerStudy":
        """The study that was asked for, without the driver's functions, which no other process has."""
        fits = replace(request.fits, features_by=_unneeded, submit=_unneeded, say=_unneeded)
        return cls(replace(request, fits=fits, is_late=_unneeded, keep=_unneeded))

    def __call__(self, on_epoch: OnEpoch) -> tuple[Trial, ...]:
        """Trials in the order of their numbers; `on_epoch` gets the number of finished trials and of all.

        Trial 0 is the untuned configuration on all inner folds with all epochs, whatever Hyperband does.

        Raises:
            ConfigError: a value was set by hand that the model refuses.
            StorageError: the folder cannot be written to.
            PluginError: TensorFlow or the model's plugin is missing.
            Exception: whatever the model raises as it declares itself at its defaults.
        """
        features = self.request.fits.units[0].features  # what is tuned is the model alone
        fits = replace(self.request.fits, features_by=lambda _: features, submit=_run_here)
        with warnings.catch_warnings():
            # KerasTuner calls functions of Python's that are deprecated.
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"keras_tuner\.")
            if self.request.workers_see_folder:
                return _Search(replace(self.request, fits=fits), on_epoch).run()
            with TemporaryDirectory(prefix="marsbench-") as folder:
                fits = replace(fits, folder=StudyFolder(Path(folder)), others=())
                return _Search(replace(self.request, fits=fits), on_epoch).run()


def _unneeded(_value: object) -> Any: ...


def _run_here(task: Task) -> Outcome:
    return Outcome(attempt(task.work, lambda *_: None))


class _Proposal(NamedTuple):
    """What KerasTuner wants to know the score of."""

    number: int
    configuration: Configuration
    epochs: int
    parent: int | None
    """Trial that it goes on from."""


class _Search:
    """A study while it runs: what KerasTuner asks for, and the trials so far."""

    def __init__(self, request: StudyRequest, on_epoch: OnEpoch) -> None:
        self.request = request
        self.fits = request.fits
        self.n_trials = request.tuning.trials
        """Most trials; a configuration that goes on is another one."""
        self.epochs = request.rungs[-1]
        """Most epochs of a trial."""
        self.seed = derived_seed(request.seed, self.fits.fold)
        unit = self.fits.units[0]
        self.by_hand = unit.hyperparameters
        self.model = cast("Model", make("models", unit.model, unit.folders))
        features = unit.features.read(unit.train[:1])
        self._input_shape = (features.pooled() if self.model.accepts == "vector" else features).input_shape
        self._on_epoch = on_epoch
        self._done: dict[int, Trial] = {}
        if self.by_hand:  # KerasTuner would take any
            defaults = Defaults(self.by_hand)
            self.model.declare(defaults, self._input_shape, unit.n_classes)
            defaults.refuse_unused(self.model.name)
        on_file = (study for study in self.fits.folder.studies() if study.fold == self.fits.fold)
        self._n_on_file = sum(len(study.trials) for study in on_file)

    def run(self) -> tuple[Trial, ...]:
        """Let KerasTuner search; gives the trials."""
        keras_tuner = import_keras_tuner()
        oracle = type("Oracle", (_Oracle, keras_tuner.oracles.HyperbandOracle), {})(self)
        type("Tuner", (_Tuner, keras_tuner.Hyperband), {})(self, oracle).search()
        self.fits.clear_checkpoints()
        return tuple(self._done[number] for number in sorted(self._done))

    def declare(self, hp: Any) -> None:
        """Let the model ask KerasTuner for all that it asks for."""
        for name, value in self.by_hand.items():
            hp.values.setdefault(name, value)
        self.model.declare(hp, self._input_shape, self.fits.units[0].n_classes)
        for name in self.by_hand:
            if not hp.is_active(name):
                hp.values.pop(name, None)

    def may_begin(self, number: int) -> bool:
        """Whether there is to be such a trial; one on file takes no time."""
        deadline = self.request.deadline
        is_late = deadline is not None and time.time() >= deadline
        return number < self.n_trials and (not is_late or number < self._n_on_file)

    def trial(self, proposal: _Proposal) -> Trial:
        """What comes of a proposal."""
        trial = self._repeated(proposal) or self._tried(proposal)
        self._done[proposal.number] = trial
        self._n_on_file = max(self._n_on_file, len(self._done))
        if len(self._done) == self._n_on_file:
            self.fits.folder.write_study(self.request.study(list(self._done.values())))
        self._on_epoch(len(self._done), self.n_trials, {})
        return trial

    def _repeated(self, proposal: _Proposal) -> Trial | None:
        """The trial that an earlier one of the same configuration and epochs stands for."""
        for earlier in self._done.values():
            if earlier.configuration == proposal.configuration and proposal.epochs in earlier.steps:
                return earlier.repeated(proposal.number)
        return None

    def _tried(self, proposal: _Proposal) -> Trial:
        """Train and score on each inner fold; whatever the plugin raises is the trial's own failure."""
        trial = TrialUnderWay(proposal.number, proposal.configuration)
        until = None if proposal.epochs >= self.epochs else proposal.epochs
        below = self._done[proposal.parent].steps if proposal.parent is not None else None
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


_Above: Any = object
"""In place of KerasTuner's classes, which are known only once it is imported."""


class _Tuner(_Above):  # type: ignore[misc]
    """What differs from `keras_tuner.Hyperband`."""

    def __init__(self, search: _Search, oracle: Any) -> None:
        self._search = search
        # Hyperband's own __init__ leaves no choice of its oracle.
        super(import_keras_tuner().Hyperband, self).__init__(
            oracle=oracle,
            hypermodel=search.declare,
            directory=str(search.fits.folder.path / f"fold-{search.fits.fold}"),
            project_name="keras_tuner",
            overwrite=True,
        )

    def _populate_initial_space(self) -> None:
        """Open each `conditional_scope` once; KerasTuner itself draws without a seed, maybe for ever."""
        waiting: list[Any] = [[]]
        for conditions in waiting:  # grows on the way
            hp = self.oracle.get_space()
            hp.values |= {condition.name: condition.values[0] for condition in conditions}
            _settle(hp)
            try:
                self._search.declare(hp)
            except Exception:
                if not conditions:
                    raise
                continue  # a value under which the model cannot be built leads nowhere
            self.oracle.update_space(hp)
            waiting += [scope for scope in hp.inactive_scopes if scope not in waiting]

    def search(self) -> None:
        """Run trials; KerasTuner's own loop prints each failure and swallows what is to end the search."""
        while (trial := self.oracle.create_trial(self.tuner_id)).status == "RUNNING":
            try:
                self.oracle.update_trial(trial.trial_id, self.run_trial(trial))
                trial.status = "COMPLETED"
            except import_keras_tuner().errors.FailedTrialError as error:
                trial.status, trial.message = "FAILED", str(error)
            self.on_trial_end(trial)

    def run_trial(self, trial: Any) -> dict[str, float]:
        """Score of a trial; raises FailedTrialError."""
        scored = self._search.trial(self.oracle.proposal(trial))
        if scored.score is None:
            raise import_keras_tuner().errors.FailedTrialError(scored.reason)
        return {"score": scored.score}


class _Oracle(_Above):  # type: ignore[misc]
    """What differs from KerasTuner's Hyperband oracle.

    It begins with the untuned configuration, then with a bracket that the number of trials suffices for.
    """

    def __init__(self, search: _Search) -> None:
        self._search = search
        super().__init__(
            objective=import_keras_tuner().Objective("score", "max"),
            max_epochs=search.epochs,
            factor=_FACTOR,
            hyperband_iterations=None,  # the number of trials ends it
            seed=1 + derived_seed(search.seed, "keras-tuner"),  # 0 would be none
            max_consecutive_failed_trials=None,  # each fails alone
        )
        self.verbose = 0
        self._current_bracket: int = self._fitting_bracket()
        # The fewest epochs of this bracket, so that no later one begins with fewer.
        self.min_epochs = search.epochs / _FACTOR ** (self._current_bracket + 0.5)
        self._brackets: list[Any] = []
        self._start_new_bracket()

    def _fitting_bracket(self) -> int:
        """The one that prunes most of those that can be finished, the untuned configuration aside."""
        for bracket in range(self._current_bracket, 0, -1):
            sizes = [self._get_size(bracket, rung) for rung in range(self._get_num_rounds(bracket))]
            if sum(sizes) < self._search.n_trials:
                return bracket
        return 0

    def update_space(self, hyperparameters: Any) -> None:
        """Learn of new parameters; what is set by hand is fixed."""
        learnt = import_keras_tuner().HyperParameters()
        learnt.merge([self._fixed(parameter) for parameter in hyperparameters.space])
        super().update_space(learnt)

    def _fixed(self, parameter: Any) -> Any:
        """A parameter, or what is set by hand in its place."""
        by_hand = self._search.by_hand
        if parameter.name not in self._search.request.pinned.union(by_hand):
            return parameter
        value = by_hand.get(parameter.name, parameter.default)
        fixed = import_keras_tuner().engine.hyperparameters.Fixed
        return fixed(parameter.name, value, conditions=parameter.conditions)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Values of a trial, if there is to be one."""
        if not self._search.may_begin(int(trial_id)):
            return {"status": "STOPPED"}
        hp = self.get_space()
        if int(trial_id) == 0:
            hp.values = {**self._to_the_end(), "tuner/initial_epoch": 0}
        else:
            hp.values = super().populate_space(trial_id).get("values") or self._last_climb()
        if not hp.values:
            return {"status": "STOPPED"}
        _settle(hp)  # a trial that goes on may not have known parameters that came up since
        return {"status": "RUNNING", "values": hp.values}

    def proposal(self, trial: Any) -> _Proposal:
        """Proposal of a trial, with the parameters that only its network asks for."""
        hp = trial.hyperparameters
        with suppress(Exception):  # the fit will tell
            self._search.declare(hp)
        by_hand = self._search.request.pinned.union(self._search.by_hand)
        names = [parameter.name for parameter in hp.space if parameter.name not in by_hand]
        model = self._search.model.name
        configuration = {f"{model}.{name}": hp.values[name] for name in names if hp.is_active(name)}
        parent = hp.values.get("tuner/trial_id")
        number, epochs = int(trial.trial_id), hp.values["tuner/epochs"]
        return _Proposal(number, configuration, epochs, None if parent is None else int(parent))

    def _record_values(self, trial: Any) -> None:
        """Remember what is tried; KerasTuner itself would change it.

        Of a name that is declared under two conditions, it drops the value or draws another, without a seed.
        """
        self._tried_so_far.add(self._compute_values_hash(trial.hyperparameters.values))

    def _last_climb(self) -> dict[str, Any] | None:
        """Without new configurations left, the best of those that stopped early goes on to the end."""
        tried = {name: trial.hyperparameters.values for name, trial in self.trials.items()}
        parents = {values.get("tuner/trial_id") for values in tried.values()}
        leaves = [self.trials[name] for name in tried.keys() - parents]
        done = [trial for trial in leaves if trial.status == "COMPLETED"]
        stopped = [trial for trial in done if tried[trial.trial_id]["tuner/epochs"] < self.max_epochs]
        if not stopped:
            return None
        best = max(stopped, key=lambda trial: (trial.score, -int(trial.trial_id))).trial_id
        own = {"tuner/trial_id": best, "tuner/initial_epoch": tried[best]["tuner/epochs"]}
        return {**tried[best], **self._to_the_end(), **own}

    def _to_the_end(self) -> dict[str, Any]:
        return {"tuner/epochs": self.max_epochs, "tuner/bracket": 0, "tuner/round": 0}


def _settle(hp: Any) -> None:
    """Give each active parameter a value, its default where it has none, and none to others."""
    for parameter in hp.space:  # parents before their children
        if hp.is_active(parameter):
            hp.values.setdefault(parameter.name, parameter.default)
        elif not hp.is_active(parameter.name):
            hp.values.pop(parameter.name, None)


@cache
def import_keras_tuner() -> Any:
    """Module `keras_tuner`, which imports TensorFlow; raises PluginError if that fails."""
    import_keras()  # first: without its noise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return import_module("keras_tuner")
        except ImportError as error:
            raise PluginError(
                f"KerasTuner cannot be imported ({first_line(error)}); pip install keras-tuner, or use "
                "--tuner optuna"
            ) from error
