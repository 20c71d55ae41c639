"""The configuration of a tuned run that an export takes: the best over all folds, not that of a lucky fold.

Each fold chose by scores inside its own training part, where some parts are easier than others. Candidates
are what the folds chose and the untuned configuration; each is scored on the inner splits of every fold. The
studies made many of these fits already.
"""

from collections.abc import Sequence
from math import inf
from statistics import fmean
from typing import NamedTuple, cast

from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle_record import ChoiceRecord
from marsbench.errors import BenchError, TrainingError
from marsbench.evaluation.fit_result import Failure, UnitResult
from marsbench.evaluation.metrics import objective_score
from marsbench.execution.base import Outcome, Task, attempt
from marsbench.execution.limits import limited_threads
from marsbench.features.feature_file import FeatureFile
from marsbench.features.store import stored_features
from marsbench.hashing import canonical_json
from marsbench.plugin.registry import Recipe, Registry
from marsbench.progress import Progress
from marsbench.results.schema import Run, TuningRecord
from marsbench.results.store import RunFolder
from marsbench.runner import reload
from marsbench.runner.pipeline_job import Units
from marsbench.tuning.cached_fits import CachedFits
from marsbench.tuning.search_space import Configuration


class Choice(NamedTuple):
    """A configuration by NAME.PARAMETER, {} for the untuned one, and what is recorded of it."""

    configuration: Configuration
    record: ChoiceRecord | None


def best_over_folds(
    folder: RunFolder,
    corpus: CheckedCorpus,
    registry: Registry,
    progress: Progress,
    seconds: float = inf,
) -> Choice:
    """What to fit on all clips: of a tuned run the configuration of the best mean score over the folds.

    Fits that the studies did not make are made, and kept in the study's folder. If they would take more than
    about `seconds`, or the folds are not there any more, each candidate counts by its gain over the untuned
    configuration in its own fold.

    Raises:
        TrainingError: no candidate can be fitted on all folds.
    """
    run = folder.read_run()
    if run.tuning is None:
        return Choice({}, None)
    candidates = _candidates(folder, run.tuning)
    if len(candidates) == 1:
        return Choice({}, None)
    try:
        units = reload.units_of(run, corpus, registry, reload.folds_of(folder, run, corpus))
    except BenchError as error:
        return _by_own_fold(run.tuning, progress, f"the folds cannot be made again: {error}")
    with limited_threads(run.threads):
        fits = _fits(folder, run, run.tuning, units, progress)
        n_missing = sum(one.n_missing(candidate) for candidate in candidates for one in fits)
        if n_missing and n_missing * run.fit_seconds / run.protocol.n_folds > seconds:
            return _by_own_fold(run.tuning, progress, f"there is no time for {n_missing} more fits")
        progress.say(
            f"To find the best of {len(candidates)} configurations over all folds of {run.run_id}: "
            f"{n_missing} fits inside the training parts, beside those that are there"
        )
        scores = _scores(candidates, fits, corpus, run.tuning, progress)
    return _best(candidates, scores, run.tuning)


def _candidates(folder: RunFolder, tuning: TuningRecord) -> list[Configuration]:
    """The untuned configuration, as the studies name it, then what the folds chose, each once."""
    untuned = next((study.trials[0].configuration for study in folder.study.studies() if study.trials), {})
    chosen = [fold.configuration for fold in tuning.folds if fold.best]
    return list({canonical_json(one): dict(one) for one in [untuned, *chosen]}.values())


def _fits(
    folder: RunFolder, run: Run, tuning: TuningRecord, units: Units, progress: Progress
) -> list[CachedFits]:
    """The fits on the inner splits of every fold, made in this process."""

    def stored(recipe: Recipe) -> FeatureFile:
        return stored_features(units.corpus, recipe, units.folders, units.pipeline.versions, progress)

    def features_of(recipe: Recipe) -> FeatureFile | Failure:
        return cast("FeatureFile | Failure", attempt(lambda _: stored(recipe), _ignore))

    objective = tuning.asked.objective
    features = stored(units.pipeline.features)
    return [
        CachedFits(
            name=f"{units.pipeline.name}, fold {fold + 1}",
            fold=fold,
            units=units.inner(fold, features, tuning.asked.inner_folds, objective)[0],
            recipe=units.pipeline.features,
            key=units.key(run.protocol.hash, run.threads).tuning_fits(objective),
            folder=folder.study,
            others=(),
            features_by=features_of,
            submit=_run_here,
            say=progress.say,
        )
        for fold in range(run.protocol.n_folds)
    ]


def _ignore(*_: object) -> None: ...


def _run_here(task: Task) -> Outcome:
    return Outcome(attempt(task.work, _ignore))


def _scores(
    candidates: Sequence[Configuration],
    fits: Sequence[CachedFits],
    corpus: CheckedCorpus,
    tuning: TuningRecord,
    progress: Progress,
) -> list[float | None]:
    """Mean score of each candidate over folds and inner splits; None for one of which a fit fails."""
    scores: list[float | None] = []
    with progress.track("Configurations on all folds", len(candidates) * len(fits)) as advance:
        for candidate in candidates:
            by_fold: list[float] = []
            for one in fits:
                results = one.fit_all(candidate)
                advance(1)
                if isinstance(results, Failure):
                    progress.say(f"A configuration is left out, {one.name} failed: {results.message}")
                    break
                by_fold.append(_score(one, results, corpus, tuning.asked.objective))
            scores.append(fmean(by_fold) if len(by_fold) == len(fits) else None)
    return scores


def _score(fits: CachedFits, results: Sequence[UnitResult], corpus: CheckedCorpus, objective: str) -> float:
    """Mean score over the inner splits of one fold."""
    pairs = zip(fits.units, results, strict=True)
    return fmean(
        objective_score(objective, result.probabilities, corpus.targets[unit.test]) for unit, result in pairs
    )


def _best(
    candidates: Sequence[Configuration], scores: Sequence[float | None], tuning: TuningRecord
) -> Choice:
    """The candidate of the highest score, the first of equals; the untuned one comes first."""
    known = [(score, -number) for number, score in enumerate(scores) if score is not None]
    if not known:
        raise TrainingError(
            "no configuration could be fitted on all folds; --fold K exports that of one fold"
        )
    best, position = max(known)
    configuration = candidates[-position] if position else {}
    folds = [fold.fold for fold in tuning.folds if fold.best and fold.configuration == configuration]
    record = ChoiceRecord(
        objective=tuning.asked.objective,
        configuration=configuration,
        folds=folds if position else [],
        score=best,
        untuned_score=scores[0],
        n_candidates=len(candidates),
    )
    return Choice(configuration, record)


def _by_own_fold(tuning: TuningRecord, progress: Progress, why: str) -> Choice:
    """The configuration with the highest gain over the untuned one inside its own fold."""
    tuned = [fold for fold in tuning.folds if fold.best and fold.inner_score is not None]
    best = max(tuned, key=lambda fold: (fold.inner_score or 0.0) - (fold.untuned_score or 0.0))
    record = ChoiceRecord(
        objective=tuning.asked.objective, configuration=dict(best.configuration), folds=[best.fold]
    )
    progress.say(f"The configurations of the folds are not compared over all folds: {why}")
    return Choice(dict(best.configuration), record)
