"""What scores mean, in sentences."""

from marsbench.config import Criteria
from marsbench.evaluation.criteria import Grade, Outcome, grade, verdict
from marsbench.evaluation.scores import Metrics
from marsbench.results.schema import ProtocolRecord, Standing

_INTERVAL = "95\N{NO-BREAK SPACE}% interval"
_NAMES = {"accuracy": "accuracy", "macro_f1": "macro F1"}


def criterion_name(criterion: str) -> str:
    """A criterion as people say it."""
    name, _, label = criterion.partition(" ")
    return f"recall of {label}" if label else _NAMES.get(name, name)


def clips_words(standing: Standing) -> str:
    """How many clips were tested, of how many."""
    total = standing.corpus.n_clips
    tested = sum(entry.n_clips for entry in standing.metrics.classes) if standing.metrics else total
    return f"{total:,} clips" if tested == total else f"{tested:,} of {total:,} clips"


def split_words(protocol: ProtocolRecord) -> str:
    """How clips were divided."""
    return protocol.description or f"{protocol.n_folds} fold{'s' * (protocol.n_folds > 1)}"


def split_meaning(standing: Standing, n_speakers: int | None) -> str:
    """What the split lets one conclude."""
    if standing.protocol.by_speaker:
        return (
            "No speaker stands on both sides of a split: the scores tell how voices fare that the model has "
            "never heard."
        )
    if n_speakers == 0:
        return "The corpus names no speakers: how unknown voices would fare cannot be told."
    return (
        "The same speakers stand in training and test: the scores tell how well known voices are recognised. "
        "Expect less of voices that the model has never heard."
    )


def graded(metrics: Metrics, criteria: Criteria) -> list[Grade]:
    """Metrics against criteria."""
    return grade(metrics, criteria)


def verdict_words(grades: list[Grade]) -> str:
    """Whether the criteria are met and how sure that is."""
    outcome: Outcome = verdict(grades)
    if outcome == "pass":
        return f"It meets every criterion, and every {_INTERVAL} lies wholly above its threshold."
    decisive = [entry for entry in grades if entry.outcome == outcome]
    named = _listed([criterion_name(entry.criterion) for entry in decisive])
    if outcome == "fail":
        return f"It does not meet the criteria: the whole {_INTERVAL} of {named} lies below its threshold."
    if all(entry.reached for entry in grades):
        return f"Its scores exceed every threshold, not surely: the {_INTERVAL} of {named} reaches below."
    missed = _listed([criterion_name(entry.criterion) for entry in grades if not entry.reached])
    return f"It misses the threshold of {missed}, not surely: the {_INTERVAL} reaches above."


def _listed(words: list[str], most: int = 4) -> str:
    shown = [*words[:most], *([f"{len(words) - most} more"] if len(words) > most else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
