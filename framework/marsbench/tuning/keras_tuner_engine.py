"""KerasTuner's study of one fold: Hyperband (Li et al. 2018) over one Keras model, on fixed features.

Many configurations are trained for a few epochs; the best third of them goes on from where it stopped. A
study is one piece of work, since KerasTuner reads the search space off the network's own code.

KerasTuner cannot be relied on to resume: it reads half-written files, loses a trial that it was killed
between two of them, ignores changed settings. But its proposals are a function of the seed and the scores. So
a study always begins at the beginning, and a trial that is on file is read instead of trained:

<folder>/study.json          what the trials depend on, and the bracket that they began with
<folder>/trials/N.json       trial N, once it has ended
<folder>/trials/N-K.checkpoint   where its training on inner fold K stands, if it may go on
<folder>/keras_tuner/        KerasTuner's own project, for its own tools
"""

import math
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from pydantic import BaseModel

from marsbench.atomic_files import write_atomically, write_checksummed
from marsbench.errors import ConfigError, ResultsError, StorageError, TrainingError
from marsbench.evaluation.fit import Unit, fit_and_predict
from marsbench.evaluation.metrics import objective_score
from marsbench.execution.base import failure
from marsbench.hashing import digest
from marsbench.plugin.model import Model, OnEpoch
from marsbench.plugin.registry import make
from marsbench.plugin.search_space import Defaults, Scalar
from marsbench.results.checksummed import read_record
from marsbench.results.studies import Trial
from marsbench.tuning.hyperband import Proposal, hyperband, import_keras_tuner


@dataclass(frozen=True)
class KerasTunerStudy:
    """The trials of one model on one outer fold; call it to run them."""

    units: tuple[Unit, ...]
    """One for each inner fold, untuned: its `test` rows are training rows of the outer fold."""
    targets: tuple[tuple[int, ...], ...]
    """True classes of each unit's test rows."""
    objective: str
    trials: int
    """Most trials; a configuration that goes on is another one."""
    epochs: int
    """Most epochs of a trial: the model's last rung."""
    pinned: frozenset[str]
    """The model's parameters that are set by hand and stay at its defaults."""
    seed: int
    folder: Path | None
    """Where the study is kept to be gone on with; None for nowhere."""
    deadline: float | None
    """`time.time()` after which no trial begins."""

    def __call__(self, on_epoch: OnEpoch) -> tuple[Trial, ...]:
        """Trials in the order of their numbers; `on_epoch` is told how many of at most how many are done.

        Trial 0 is the untuned configuration on all inner folds with all epochs, whatever Hyperband does.

        Raises:
            ConfigError: a value was set by hand that the model refuses.
            StorageError: the folder cannot be written to.
            PluginError: TensorFlow or the model's plugin is missing.
            Exception: whatever the model raises as it declares itself at its defaults.
        """
        if self.folder is not None:
            return self._run(self.folder, on_epoch)
        with TemporaryDirectory(prefix="marsbench-") as folder:
            return self._run(Path(folder), on_epoch)

    @property
    def key(self) -> str:
        """Digest of what decides a trial; their number is no part of it."""
        own = [self.objective, self.epochs, sorted(self.pinned), self.seed, self.targets]
        return digest([*own, import_keras_tuner().__version__, [_unit_key(unit) for unit in self.units]])

    def _run(self, folder: Path, on_epoch: OnEpoch) -> tuple[Trial, ...]:
        search = _Search(self, _Project(folder), on_epoch)
        with _without_its_warnings():
            return search.run()


def _unit_key(unit: Unit) -> list[Any]:
    # The store's files are named by what they hold, wherever the store stands.
    features = [unit.features.path.parent.name, unit.features.path.name]
    rows = [unit.train, unit.train_targets, unit.validation, unit.validation_targets, unit.test]
    rest = [unit.model.key, unit.hyperparameters, unit.n_classes, unit.seed, unit.fold, unit.version]
    return [features, rows, rest]


class _Settings(BaseModel):
    """What a project's trials depend on."""

    key: str
    bracket: int
    """Of Hyperband: how often the configurations that it begins with are sifted."""


@dataclass(frozen=True)
class _Project:
    """A study's files, each whole or absent."""

    folder: Path

    def opened(self, settings: _Settings) -> _Settings:
        """Settings of what is kept here; what belongs to another study is dropped and begun anew."""
        path = self.folder / "study.json"
        with suppress(ResultsError):
            kept = read_record(path, _Settings)
            if kept.key == settings.key:
                return kept
        try:
            shutil.rmtree(self.folder / "trials")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageError(f"{self.folder} cannot be emptied: {error.strerror or error}") from error
        write_checksummed(path, settings.model_dump_json())
        return settings

    def trial(self, number: int) -> Trial | None:
        """A trial that has ended."""
        with suppress(ResultsError):  # missing or damaged: it is made again
            return read_record(self._file(f"{number}.json"), Trial)
        return None

    def write_trial(self, trial: Trial) -> None:
        """Keep it."""
        write_checksummed(self._file(f"{trial.number}.json"), trial.model_dump_json())

    def checkpoint(self, number: int | None, inner: int) -> bytes | None:
        """Of a trial on an inner fold; without it, training begins anew and comes to the same."""
        with suppress(OSError):
            return self._file(f"{number}-{inner}.checkpoint").read_bytes()
        return None

    def write_checkpoint(self, number: int, inner: int, data: bytes) -> None:
        """Keep it for a trial that goes on from this one."""
        write_atomically(self._file(f"{number}-{inner}.checkpoint"), lambda file: file.write(data))

    def _file(self, name: str) -> Path:
        return self.folder / "trials" / name


@dataclass
class _Search:
    """A study under way: what KerasTuner asks for, and what came of it."""

    study: KerasTunerStudy
    project: _Project
    on_epoch: OnEpoch
    done: dict[int, Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unit = self.study.units[0]
        self.by_hand: dict[str, Scalar] = unit.hyperparameters
        self._model = cast("Model", make("models", unit.model, unit.folders))
        features = unit.features.read(unit.train[:1])
        self._input_shape = (features.pooled() if self._model.accepts == "vector" else features).input_shape
        if self.by_hand:
            self._refuse_wrong_values()

    def run(self) -> tuple[Trial, ...]:
        """Let KerasTuner search; gives the trials."""
        hyperband(self).search()
        return tuple(self.done[number] for number in sorted(self.done))

    @property
    def folder(self) -> Path:
        """Where KerasTuner's own project may stand."""
        return self.project.folder

    def first_bracket(self, fitting: int) -> int:
        """The bracket that the study on file began with, or else this one, which it begins with now."""
        return self.project.opened(_Settings(key=self.study.key, bracket=fitting)).bracket

    def declare(self, hp: Any) -> None:
        """Let the model ask KerasTuner for all that it asks for."""
        for name, value in self.by_hand.items():
            hp.values.setdefault(name, value)
        self._model.declare(hp, self._input_shape, self.study.units[0].n_classes)
        for name in self.by_hand:
            if not hp.is_active(name):
                hp.values.pop(name, None)

    def _refuse_wrong_values(self) -> None:
        """KerasTuner would take any; raises ConfigError."""
        defaults = Defaults(self.by_hand)
        self._model.declare(defaults, self._input_shape, self.study.units[0].n_classes)
        defaults.refuse_unused(self._model.name)

    def may_begin(self, number: int) -> bool:
        """Whether there is to be such a trial; one on file takes no time."""
        if number >= self.study.trials:
            return False
        is_late = self.study.deadline is not None and time.time() >= self.study.deadline
        return not is_late or self.project.trial(number) is not None

    def trial(self, proposal: Proposal) -> Trial:
        """What is on file of a trial, or what comes of it now."""
        configuration = {f"{self._model.name}.{name}": value for name, value in proposal.values.items()}
        trial = self.project.trial(proposal.number)
        if trial is None or trial.configuration != configuration:
            trial = self._repeated(proposal, configuration) or self._tried(proposal, configuration)
            self.project.write_trial(trial)
        self.done[proposal.number] = trial
        self.on_epoch(len(self.done), self.study.trials, {})
        return trial

    def _repeated(self, proposal: Proposal, configuration: dict[str, Scalar]) -> Trial | None:
        """The trial that an earlier one of the same configuration and epochs stands for."""
        for earlier in self.done.values():
            if earlier.configuration == configuration and proposal.epochs in earlier.steps:
                same_as = earlier.number if earlier.same_as is None else earlier.same_as
                changes = {"number": proposal.number, "same_as": same_as, "seconds": 0.0}
                return earlier.model_copy(update=changes)
        return None

    def _tried(self, proposal: Proposal, configuration: dict[str, Scalar]) -> Trial:
        """Train and score on each inner fold; whatever the plugin raises is the trial's own failure."""
        seconds: list[float] = []

        def ended(state: Any, score: float | None, reason: str | None) -> Trial:
            return Trial(
                number=proposal.number,
                state=state,
                configuration=configuration,
                score=score,
                steps={} if score is None else {proposal.epochs: score},
                seconds=sum(seconds),
                finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
                reason=reason,
            )

        try:
            score = fmean(self._scored(proposal, inner, seconds) for inner in range(len(self.study.units)))
        except (ConfigError, StorageError):
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            return ended("failed", None, failure(error).message)
        if proposal.epochs < self.study.epochs:
            reason = f"stopped after {proposal.epochs} of {self.study.epochs} epochs"
            return ended("pruned", score, reason)
        return ended("complete", score, None)

    def _scored(self, proposal: Proposal, inner: int, seconds: list[float]) -> float:
        """Score on an inner fold after the last epoch; appends the seconds that it took."""
        unit = replace(
            self.study.units[inner],
            proposed=proposal.values,
            until=proposal.epochs,
            checkpoint=self.project.checkpoint(proposal.parent, inner),
        )
        result, checkpoint = fit_and_predict(unit)
        seconds.append(result.fit_seconds + result.predict_seconds)
        targets = np.array(self.study.targets[inner], np.int64)
        score = objective_score(self.study.objective, result.probabilities, targets)
        if not math.isfinite(score):
            raise TrainingError(f"{self.study.objective} is {score} on inner fold {inner + 1}")
        if checkpoint is not None and proposal.epochs < self.study.epochs:
            self.project.write_checkpoint(proposal.number, inner, checkpoint)
        return score


@contextmanager
def _without_its_warnings() -> Iterator[None]:
    """KerasTuner calls functions of Python's that are deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"keras_tuner\.")
        yield
