"""A run, or one configuration's runs with several seeds, as a row of a leaderboard."""

from collections.abc import Callable, Mapping, Sequence
from math import dist, sqrt
from statistics import fmean
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from marsbench.atomic_files import home, read_checksummed, write_checksummed
from marsbench.config import Criteria, Normalise, Versions
from marsbench.errors import DamagedError, ResultsError
from marsbench.evaluation.metrics import METRICS, RANKED_BY, Metric
from marsbench.evaluation.scores import (
    ChosenScore,
    ClassScores,
    Metrics,
    Outcome,
    Score,
    Scores,
    agreeing,
    grade,
    mean_metrics,
    verdict,
)
from marsbench.hashing import canonical_json, digest
from marsbench.results.schema import Standing, Status, TuningRecord
from marsbench.results.store import RunFolder
from marsbench.versions import versions_of

WORST_RECALL = "worst_recall"
"""Recall of the class that is recognised worst."""
_SCORES = TypeAdapter(Scores)
_CHANGES = {"gain": RANKED_BY, "log_loss_change": "log_loss"}
"""What is told of a tuned row beside the untuned one: differences of metrics, tuned minus untuned."""


class BoardKey(NamedTuple):
    """What all runs of one leaderboard share."""

    corpus: str
    protocol: str
    protocol_hash: str
    fingerprint: str
    """Digest of the corpus."""
    synthetic: bool
    speakers_apart: bool
    """Whether the protocol splits by speaker."""
    speakers_shared: int
    """How many speakers are in the training and in the test clips of some fold."""
    statements_shared: int
    takes_shared: float | None
    """Share of test clips with another take of their utterance in training; None if not known."""

    @property
    def strictness(self) -> int:
        """How new the test clips are: 2 new speakers, 1 new utterances of known ones, 0 random clips."""
        if self.speakers_apart:
            return 2
        return 1 if self.takes_shared == 0 else 0


class Row(NamedTuple):
    """One configuration on the leaderboard."""

    board: BoardKey
    run_ids: tuple[str, ...]
    """One run for each seed."""
    seeds: tuple[int, ...]
    finished: str
    """UTC, ISO 8601; when the last of the runs was finished."""
    features: str
    model: str
    settings: dict[str, object]
    normalise: Normalise | None
    """How features were normalised, which may make the scores transductive."""
    versions: Versions | None
    """Changed versions of training clips that it was trained on, too."""
    configuration: str
    """Key that is equal for runs that differ only in seed and code."""
    tuner: str | None
    """None for the untuned configuration."""
    asked: str | None
    """Digest of the tuning that was asked for."""
    ensemble: str | None
    """Digest of an ensemble's members, whatever their code; None for a run of one pipeline."""
    members: dict[str, float] | None
    """Share of an ensemble's weights by the member's run id, mean over folds."""
    members_chosen: str | None
    """How an ensemble's members were chosen, see `EnsembleRecord.chosen`."""
    status: Status
    reason: str | None
    """Why a failed run failed."""
    scores: Mapping[str, float]
    """Metrics, with `NAME_low` and `NAME_high` for the ends of an interval, and measures of cost, by name. A
    run without all its folds has no metrics; with several seeds each number is the mean of theirs."""
    worst_class: str | None = None
    verdict: Outcome | None = None
    limits: tuple[str, ...] = ()
    """Reasons why the verdict is at most undecided."""
    rank: int | None = None
    """Position by score, from 1; None for a run without all its folds."""
    letters: list[str] | None = None
    """Two rows share a letter if and only if they have no significant difference; None if not compared."""
    tuning: TuningRecord | None = None
    """That of the first seed."""
    metrics: Metrics | None = None
    """Those of the first seed's run, or of all seeds their means; None for a run without all its folds."""
    untuned: "Row | None" = None
    """The untuned run of the same seed, of a tuned one."""
    views: "tuple[Row, ...]" = ()
    """The same configuration on the same clips under protocols of other strictness, the strictest first."""
    chosen: ChosenScore | None = None
    """The ranking metric of a board's first row, corrected for that; None for all others."""

    def chosen_from(self, n_candidates: int, bias: float) -> "Row":
        """The row as the best of so many; `bias` is the expected excess of its score over the truth."""
        value, low, high = (self.scores[f"{RANKED_BY}{end}"] for end in ("", "_low", "_high"))
        measured = Score(value=value, low=low, high=high)
        return self._replace(chosen=ChosenScore.of(measured, bias, n_candidates, int(self.scores["n_clips"])))

    @property
    def run_id(self) -> str:
        """Id of the first seed's run."""
        return self.run_ids[0]

    @property
    def short_id(self) -> str:
        """Beginning of the run id's digest, by which commands find the run."""
        return short_id_of(self.run_id)

    @property
    def pipeline(self) -> str:
        """Features and model, or of how many runs an ensemble is."""
        return f"ensemble of {len(self.members)}" if self.members else f"{self.features} + {self.model}"

    @property
    def found_nothing(self) -> bool:
        """Whether tuning chose the untuned configuration on every fold: the scores are the untuned row's."""
        return (
            self.tuning is not None
            and self.tuning.found_nothing
            and self.scores.get("gain") == 0
            and len(self.run_ids) == 1
        )

    def is_level_with(self, other: "Row") -> bool:
        """Whether the two were compared and have no significant difference."""
        return not set(self.letters or ()).isdisjoint(other.letters or ())

    @property
    def ranked_score(self) -> float | None:
        """The metric that ranks; None for a run without all its folds."""
        return self.scores.get(RANKED_BY)

    @property
    def other(self) -> "Row | None":
        """The view by speaker if this row's is not; else that of random clips, or of new utterances."""
        apart = self.board.speakers_apart
        return next((view for view in reversed(self.views) if view.board.speakers_apart != apart), None)

    @property
    def on_new_speakers(self) -> float | None:
        """The ranking metric of the same configuration by speaker, if this board is not."""
        return self.other.ranked_score if self.other and self.other.board.speakers_apart else None

    @property
    def stricter(self) -> "Row | None":
        """The strictest view, if it is stricter than this row's."""
        strictest = self.views[0] if self.views else self
        return strictest if strictest.board.strictness > self.board.strictness else None

    @property
    def speaker_gap(self) -> float | None:
        """The ranking metric with the test speakers in training minus that without; None if not known."""
        own, other = self.ranked_score, self.other.ranked_score if self.other else None
        if own is None or other is None:
            return None
        return other - own if self.board.speakers_apart else own - other

    @property
    def untuned_configuration(self) -> str:
        """Key of the same pipeline untuned."""
        return _configuration(self, self.features, self.model, None, None)

    @property
    def optimisms(self) -> list[float | None]:
        """What selection added to the validation score of each fold, see `FoldTuning.optimism`."""
        untuned = self.untuned.metrics if self.untuned else None
        return self.tuning.optimisms(untuned.folds if untuned else ()) if self.tuning else []

    def beside(self, untuned: "Row | None") -> "Row":
        """A tuned row with what tuning changed, as far as the untuned run of the same seed tells it."""
        row = self._replace(untuned=untuned)
        own, optimisms = dict(self.scores), row.optimisms
        for name, metric in _CHANGES.items():
            if untuned and metric in own and metric in untuned.scores:
                own[name] = own[metric] - untuned.scores[metric]
        known = [gap for gap in optimisms if gap is not None]
        if known and len(known) == len(optimisms):
            own["optimism"] = fmean(known)
        return row._replace(scores=own)


def short_id_of(run_id: str) -> str:
    """Beginning of an id's digest, by which commands find the run."""
    return run_id.rpartition("-")[2][:6]


def with_missing_metrics(folder: RunFolder, run: Standing) -> tuple[Standing, str | None]:
    """The run with every metric of `METRICS`, or as it was and a line if its predictions cannot be read.

    Metrics that were added after the run was made are computed from its predictions and kept in the cache.
    """
    if run.metrics is None or METRICS.keys() <= run.metrics.scores.keys():
        return run, None
    missing = [metric for name, metric in METRICS.items() if name not in run.metrics.scores]
    try:
        scores = _missing_scores(folder, run, missing)
    except ResultsError as error:
        names = ", ".join(metric.title for metric in missing)
        return run, f"{names} of {run.run_id}: {error}"
    return run.model_copy(update={"metrics": run.metrics.model_copy(update=scores)}), None


def _missing_scores(folder: RunFolder, run: Standing, missing: Sequence[Metric]) -> Scores:
    key = digest([versions_of("metrics"), run.predictions_sha256, [metric.name for metric in missing]])
    kept = home() / "metrics" / f"{key[:32]}.json"
    try:
        return _SCORES.validate_json(read_checksummed(kept))
    except (OSError, DamagedError, ValidationError):
        from marsbench.evaluation.scoring import scores_of  # NumPy takes a tenth of a second
        from marsbench.results.predictions import read_predictions

        scores = scores_of(read_predictions(folder, run), missing)
        write_checksummed(kept, _SCORES.dump_json(scores).decode())
        return scores


def row_of(run: Standing, criteria: Criteria) -> Row:
    """A run held against the board's criteria, whatever it was graded by when it was made."""
    protocol, corpus, leakage = run.protocol, run.corpus, run.protocol.leakage
    worst = run.metrics.worst if run.metrics else None
    scores = _scores(run.metrics, worst) if run.metrics and worst else {}
    scores |= {name: value for name, value in _measures(run).items() if value is not None}
    if n_clips := scores.get("n_clips"):
        seconds = (run.extraction_seconds or 0.0) + run.predict_seconds / n_clips
        scores["milliseconds_per_clip"] = 1000 * seconds
    asked = run.tuning.asked.key if run.tuning else None
    ensemble = run.ensemble.key if run.ensemble else None
    # Grading takes as long as reading, and most runs were graded by the same criteria when they were made.
    was_graded_so = run.criteria == criteria
    if was_graded_so and run.pass_confidence is not None:
        scores["pass_confidence"] = run.pass_confidence
    return Row(
        board=BoardKey(
            corpus.name, protocol.name, protocol.hash, corpus.fingerprint, corpus.synthetic,
            protocol.by_speaker, leakage.speakers_shared, leakage.statements_shared,
            leakage.takes_shared,
        ),
        run_ids=(run.run_id,),
        seeds=(run.seed,),
        finished=run.finished,
        features=run.features.name,
        model=run.model.name,
        settings=run.settings,
        normalise=run.normalise,
        versions=run.versions,
        configuration=_configuration(run, run.features.name, run.model.name, asked, ensemble),
        tuner=run.tuning.asked.tuner if run.tuning else None,
        asked=asked,
        tuning=run.tuning,
        metrics=run.metrics,
        ensemble=ensemble,
        members=run.ensemble.mean_shares if run.ensemble else None,
        members_chosen=run.ensemble.chosen if run.ensemble else None,
        status=run.status,
        reason=run.failures[0].message if run.failures else None,
        scores=scores,
        worst_class=worst.label if worst else None,
        verdict=(
            verdict(grade(run.metrics, criteria, limits=run.limits))
            if run.metrics and not was_graded_so
            else run.verdict
        ),
        limits=tuple(run.limits),
    )  # fmt: skip


def _configuration(
    of: "Row | Standing",
    features: str,
    model: str,
    *chosen: str | None,
) -> str:
    """Key that is equal for runs that differ only in seed and code; tuning and ensemble are `chosen`."""
    optional = [of.normalise, of.versions and of.versions.model_dump(mode="json")]
    return canonical_json([features, model, of.settings, *chosen, *filter(None, optional)])


def merged(rows: Sequence[Row], criteria: Criteria) -> Row:
    """The row of one configuration's complete runs with several seeds; `rows` by seed."""
    metrics, first = [row.metrics for row in rows if row.metrics], rows[0]
    mean = mean_metrics(metrics)
    limits = tuple(dict.fromkeys(limit for row in rows for limit in row.limits))
    worst = mean.worst
    scores = _scores(mean, worst)
    for name, merge in _MERGES.items():
        if values := [row.scores[name] for row in rows if name in row.scores]:
            scores[name] = merge(values)
    outcome = verdict(grade(mean, criteria, limits=limits))
    sure = agreeing(scores.pop("pass_confidence", None), outcome)
    if sure is not None and not limits:
        scores["pass_confidence"] = sure
    spread = _spread([entry.value(RANKED_BY) for entry in metrics])
    return first._replace(
        run_ids=tuple(run_id for row in rows for run_id in row.run_ids),
        finished=max(row.finished for row in rows),
        seeds=tuple(seed for row in rows for seed in row.seeds),
        metrics=mean,
        scores=scores if spread is None else scores | {"seed_spread": spread},
        worst_class=worst.label,
        verdict=outcome,
        limits=limits,
    )


def _measures(run: Standing) -> dict[str, float | None]:
    """What a run's record tells beside its metrics; None where it is not known."""
    tuning = run.tuning
    return {
        "train_seconds": run.fit_seconds,
        "parameters": run.n_parameters,
        "model_bytes": run.model_bytes,
        "trials": tuning.n_trials if tuning else None,
    }


_MERGES: dict[str, Callable[[Sequence[float]], float]] = {
    "train_seconds": fmean,
    "parameters": lambda values: values[0],
    "model_bytes": lambda values: round(fmean(values)),
    "milliseconds_per_clip": fmean,
    "trials": sum,
    "optimism": fmean,
    "pass_confidence": fmean,
    "gain": fmean,
    "log_loss_change": fmean,
}
"""How what is no metric becomes one number for several seeds."""


def _scores(metrics: Metrics, worst: ClassScores) -> dict[str, float]:
    """Every recorded metric, the recall of the worst class, the spread of the ranking metric over folds."""
    numbers: dict[str, float] = {"n_clips": metrics.n_clips}
    for name, score in [*metrics.scores.items(), (WORST_RECALL, worst.recall)]:
        if isinstance(score, Score):
            numbers[name] = score.value
            numbers[f"{name}_low"] = score.low
            numbers[f"{name}_high"] = score.high
        else:
            numbers[name] = score
    spread = _spread([fold.scores.get(RANKED_BY) for fold in metrics.folds])
    return numbers if spread is None else numbers | {"fold_spread": spread}


def _spread(values: Sequence[float | None]) -> float | None:
    """Sample standard deviation; None for a single value, or if one is not known."""
    known = [value for value in values if value is not None]
    if len(known) < max(2, len(values)):
        return None
    # That of `statistics`, exact to the last bit, takes forty times as long.
    return dist(known, [fmean(known)] * len(known)) / sqrt(len(known) - 1)
