"""A run, or one configuration's runs with several seeds, as a row of a leaderboard."""

from collections.abc import Sequence
from math import dist, sqrt
from statistics import fmean
from typing import Any, NamedTuple

from marsbench.config import Criteria
from marsbench.evaluation.criteria import Outcome, grade, verdict
from marsbench.evaluation.scores import Metrics, mean_metrics
from marsbench.hashing import canonical_json
from marsbench.results.schema import Standing, Status, TuningRecord


class Row(NamedTuple):
    """One configuration on the leaderboard; scores are None for a run without all its folds.

    With several seeds every score is the mean of theirs, and so is each end of an interval.
    """

    rank: int | None
    """Shared by configurations that the data cannot tell apart."""
    run_id: str
    """Of the first seed."""
    run_ids: tuple[str, ...]
    """Of every seed."""
    finished: str
    """UTC, ISO 8601; of the last one finished."""
    corpus: str
    synthetic: bool
    protocol: str
    protocol_hash: str
    speakers_apart: bool
    """Whether the protocol goes by speaker."""
    speakers_shared: int
    """How many speakers stand on both sides of a split."""
    statements_shared: int
    fingerprint: str
    """Of the corpus."""
    features: str
    model: str
    settings: dict[str, object]
    seeds: tuple[int, ...]
    status: Status
    train_seconds: float
    """Of all folds."""
    parameters: int | None
    model_bytes: int | None
    reason: str | None = None
    """Why a failed run failed."""
    n_clips: int | None = None
    """Tested ones."""
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    macro_f1: float | None = None
    macro_f1_low: float | None = None
    macro_f1_high: float | None = None
    uar: float | None = None
    worst_recall: float | None = None
    worst_recall_low: float | None = None
    worst_recall_high: float | None = None
    worst_class: str | None = None
    accuracy_reached: bool | None = None
    macro_f1_reached: bool | None = None
    class_recall_reached: bool | None = None
    verdict: Outcome | None = None
    pass_probability: float | None = None
    """Of meeting every criterion; None if the run was graded by other criteria than the board's."""
    log_loss: float | None = None
    calibration_error: float | None = None
    milliseconds_per_clip: float | None = None
    """From a file to its class: its features one by one, the model many clips at a time."""
    fold_spread: float | None = None
    """Standard deviation of macro F1 over folds; None for a single fold."""
    seed_spread: float | None = None
    """Standard deviation of macro F1 over seeds; None for a single one."""
    tuner: str | None = None
    """None for the untuned configuration."""
    trials: int | None = None
    """Configurations tried, over all folds."""
    gain: float | None = None
    """Macro F1 above that of the untuned run of the same pipeline, settings and seed on this board."""
    optimism: float | None = None
    """Inner minus outer score by the tuner's objective, mean over folds."""
    asked: str | None = None
    """Digest of how tuning was asked for."""
    other_protocol: str | None = None
    """By speakers if this board's is not, else not: the other view of the same clips."""
    other_macro_f1: float | None = None
    """What the same configuration scores there."""
    other_macro_f1_low: float | None = None
    other_macro_f1_high: float | None = None
    gap: float | None = None
    """Macro F1 with speakers on both sides, less that without."""

    ensemble: str | None = None
    """Digest of what the members of an ensemble are, whatever their code; None for a run of one pipeline."""
    members: dict[str, float] | None = None
    """Share that each member of an ensemble has of the weights, by its run id, mean over folds."""

    @property
    def configuration(self) -> str:
        """Equal for runs that differ in seed and code alone."""
        return canonical_json([self.features, self.model, self.settings, self.asked, self.ensemble])

    @property
    def short_id(self) -> str:
        """What tells this run from others of its pipeline: the beginning of its id's digest."""
        return short_id_of(self.run_id)

    @property
    def untuned_configuration(self) -> str:
        """That of the same pipeline untuned."""
        return canonical_json([self.features, self.model, self.settings, None, None])


def row_of(run: Standing, criteria: Criteria) -> Row:
    """A run held against the board's criteria, whatever it was graded by when it was made."""
    return Row(
        rank=None,
        run_id=run.run_id,
        run_ids=(run.run_id,),
        finished=run.finished,
        corpus=run.corpus.name,
        synthetic=run.corpus.synthetic,
        protocol=run.protocol.name,
        protocol_hash=run.protocol.hash,
        speakers_apart=run.protocol.by_speaker,
        speakers_shared=run.protocol.leakage.speakers_shared,
        statements_shared=run.protocol.leakage.statements_shared,
        fingerprint=run.corpus.fingerprint,
        features=run.features.name,
        model=run.model.name,
        settings=run.settings,
        seeds=(run.seed,),
        status=run.status,
        train_seconds=run.fit_seconds,
        parameters=run.n_parameters,
        model_bytes=run.model_bytes,
        reason=run.failures[0].message if run.failures else None,
        **(_scores(run.metrics, criteria) if run.metrics else {}),
        **(_speed(run, run.metrics) if run.metrics else {}),
        verdict=_verdict(run, criteria),
        pass_probability=run.pass_probability if run.criteria == criteria else None,
        **(_tuning(run.tuning) if run.tuning else {}),
        ensemble=run.ensemble.key if run.ensemble else None,
        members=run.ensemble.mean_shares if run.ensemble else None,
    )


def merged(rows: Sequence[Row], metrics: Sequence[Metrics], criteria: Criteria) -> Row:
    """The row of one configuration's runs with several seeds; `rows` by seed, with the metrics of each."""
    together, first = mean_metrics(metrics), rows[0]
    return first._replace(
        run_ids=tuple(run_id for row in rows for run_id in row.run_ids),
        finished=max(row.finished for row in rows),
        seeds=tuple(seed for row in rows for seed in row.seeds),
        train_seconds=fmean(row.train_seconds for row in rows),
        model_bytes=_mean([row.model_bytes for row in rows], whole=True),
        **_scores(together, criteria),
        verdict=verdict(grade(together, criteria)),
        pass_probability=_mean([row.pass_probability for row in rows]),
        milliseconds_per_clip=_mean([row.milliseconds_per_clip for row in rows]),
        seed_spread=_spread([entry.macro_f1.value for entry in metrics]),
        trials=None if first.trials is None else sum(row.trials or 0 for row in rows),
        gain=_mean([row.gain for row in rows]),
        optimism=_mean([row.optimism for row in rows]),
    )


def short_id_of(run_id: str) -> str:
    """The beginning of an id's digest, by which commands find the run."""
    return run_id.rpartition("-")[2][:6]


def words_of(row: Row) -> list[str]:
    """What tells a configuration from others of the same two plugins: settings, seeds, tuning, members."""
    settings = [f"{name.partition('.')[2]}={value}" for name, value in row.settings.items()]
    return [*settings, *_seeds_words(row), *_tuning_words(row), *_member_words(row)]


def _seeds_words(row: Row) -> list[str]:
    """Which seeds and what they differ by, or the one if it is not the default."""
    if len(row.seeds) > 1:
        first, last = min(row.seeds), max(row.seeds)
        without_gaps = last - first == len(row.seeds) - 1
        named = f"seeds {first} to {last}" if without_gaps else f"{len(row.seeds)} seeds"
        return [f"{named}, ± {100 * (row.seed_spread or 0):.1f}"]
    return [f"seed {row.seeds[0]}"] if row.seeds[0] else []


def _tuning_words(row: Row) -> list[str]:
    if row.tuner is None:
        return []
    words = [] if row.gain is None else [f"gain {100 * row.gain:+.1f}"]
    words += [] if row.optimism is None else [f"optimism {100 * row.optimism:+.1f}"]
    return [f"tuned, {row.trials} trials", *([", ".join(words)] if words else [])]


def _member_words(row: Row) -> list[str]:
    """Share and mark of each member, the heaviest first, two a line."""
    members = sorted((row.members or {}).items(), key=lambda member: -member[1])
    words = [f"{100 * weight:.0f} % {short_id_of(run_id)}" for run_id, weight in members]
    return [", ".join(words[start : start + 2]) for start in range(0, len(words), 2)]


def _tuning(tuning: TuningRecord) -> dict[str, Any]:
    asked = tuning.asked
    return {"tuner": asked.tuner, "trials": tuning.n_trials, "optimism": tuning.optimism, "asked": asked.key}


def _verdict(run: Standing, criteria: Criteria) -> Outcome | None:
    # Grading takes as long as reading, and most runs were graded by the same criteria when they were made.
    if run.metrics is None or run.criteria == criteria:
        return run.verdict
    return verdict(grade(run.metrics, criteria))


def _scores(metrics: Metrics, criteria: Criteria) -> dict[str, Any]:
    accuracy, macro_f1, worst = metrics.accuracy, metrics.macro_f1, metrics.worst
    return {
        "n_clips": sum(fold.n_clips for fold in metrics.folds),
        "accuracy": accuracy.value,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
        "macro_f1": macro_f1.value,
        "macro_f1_low": macro_f1.low,
        "macro_f1_high": macro_f1.high,
        "uar": metrics.uar.value,
        "worst_recall": worst.recall.value,
        "worst_recall_low": worst.recall.low,
        "worst_recall_high": worst.recall.high,
        "worst_class": worst.label,
        "accuracy_reached": accuracy.value > criteria.accuracy,
        "macro_f1_reached": macro_f1.value > criteria.macro_f1,
        "class_recall_reached": worst.recall.value > criteria.class_recall,
        "log_loss": metrics.log_loss,
        "calibration_error": metrics.calibration_error,
        "fold_spread": _spread([fold.macro_f1 for fold in metrics.folds]),
    }


def _speed(run: Standing, metrics: Metrics) -> dict[str, Any]:
    n_clips = sum(fold.n_clips for fold in metrics.folds)
    seconds = (run.extraction_seconds or 0.0) + run.predict_seconds / n_clips
    return {"milliseconds_per_clip": 1000 * seconds}


def _mean(values: Sequence[float | None], *, whole: bool = False) -> Any:
    """Mean of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return round(fmean(known)) if whole else fmean(known)


def _spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation; that of `statistics`, exact to the last bit, takes forty times as long."""
    if len(values) < 2:
        return None
    return dist(values, [fmean(values)] * len(values)) / sqrt(len(values) - 1)
