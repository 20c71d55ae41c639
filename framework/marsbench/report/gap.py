"""What known voices are worth: a pipeline under random splits against splits by speaker."""

from collections.abc import Iterable
from dataclasses import dataclass

from marsbench.evaluation.scores import Score
from marsbench.files import canonical_json
from marsbench.results.schema import Standing

_MOST = 30


@dataclass(frozen=True)
class Gap:
    """One pipeline under both kinds of protocol; scores are macro F1."""

    corpus: str
    pipeline: str
    known: Score
    """Under the random split."""
    known_protocol: str
    unknown: Score
    """Under the split by speaker."""
    unknown_protocol: str
    same_clips: bool

    @property
    def difference(self) -> float:
        """What is lost with unknown speakers."""
        return self.known.value - self.unknown.value


def gaps(standings: Iterable[Standing], wanted: Iterable[Standing]) -> list[Gap]:
    """Every pair of runs that differ in the protocol alone, of the pipelines wanted, best first.

    Of runs of one pipeline under one protocol, the latest counts.
    """
    keys = {_key(standing) for standing in wanted}
    latest = {
        (_key(entry), entry.protocol.name): entry
        for entry in sorted(standings, key=lambda entry: entry.finished)
        if entry.metrics is not None and _key(entry) in keys
    }
    by_pipeline: dict[str, list[Standing]] = {}
    for (key, _), entry in latest.items():
        by_pipeline.setdefault(key, []).append(entry)
    pairs = [
        _gap(known, unknown)
        for group in by_pipeline.values()
        for known in group
        for unknown in group
        if not known.protocol.by_speaker and unknown.protocol.by_speaker
    ]
    return sorted(pairs, key=lambda pair: -pair.known.value)[:_MOST]


def pipeline_words(standing: Standing) -> str:
    """A pipeline with what was set by hand, on one line."""
    settings = "".join(f", {name}={value}" for name, value in standing.settings.items())
    seed = f", seed {standing.seed}" if standing.seed else ""
    tuned = ", tuned" if standing.tuning else ""
    return f"{standing.features.name} + {standing.model.name}{settings}{seed}{tuned}"


def _key(standing: Standing) -> str:
    tuned = standing.tuning.asked.key if standing.tuning else None
    names = [standing.corpus.name, standing.features.name, standing.model.name]
    return canonical_json([*names, standing.settings, standing.seed, tuned])


def _gap(known: Standing, unknown: Standing) -> Gap:
    assert known.metrics is not None  # noqa: S101 - both were filtered above
    assert unknown.metrics is not None  # noqa: S101
    return Gap(
        corpus=known.corpus.name,
        pipeline=pipeline_words(known),
        known=known.metrics.macro_f1,
        known_protocol=known.protocol.name,
        unknown=unknown.metrics.macro_f1,
        unknown_protocol=unknown.protocol.name,
        same_clips=known.corpus.fingerprint == unknown.corpus.fingerprint,
    )
