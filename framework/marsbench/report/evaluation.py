"""A bundle's evaluation on a corpus, for a terminal and for other programs."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from marsbench.deployment.evaluate import HELD, Evaluation, Promise
from marsbench.deployment.novelty import UNLIKE
from marsbench.evaluation.by_group import ValueScores, by_value
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.scores import Score
from marsbench.evaluation.scoring import new_speaker
from marsbench.report.phrases import new_speaker_phrase
from marsbench.report.terminal import runs
from marsbench.report.terminal.console import first_lines, table

_MOST_SPEAKERS = 30
"""Rows of the table by speaker, the worst ones; JSON has all."""
_MOST_TOLD = 10
_NEARLY_ALL = 0.9


def notes(found: Evaluation) -> Iterator[str]:
    """What a reader of the scores has to know of the clips, one line each."""
    if found.seen:
        yield (
            f"WARNING: {found.seen}. The model has seen such clips in training: these scores are far too "
            "high for new ones"
        )
    if found.renamed:
        named = ", ".join(f"{label} is {one}" for label, one in found.renamed.items())
        yield f"Classes brought to the bundle's words: {named} (--map names them otherwise)"
    if found.left_out:
        named = ", ".join(f"{label} ({n})" for label, n in found.left_out.items())
        first = min(found.left_out)
        yield (
            f"{sum(found.left_out.values()):,} clips of classes that the bundle lacks are left out: {named}. "
            f"If one of them is a class of the bundle by another name: --map {first}=CLASS "
            f"({', '.join(found.predictions.labels)})"
        )
    if found.absent:
        yield (
            f"The corpus has no clips of {', '.join(found.absent)}: {found.n_of_absent:,} of "
            f"{found.n_clips:,} clips were predicted to be of such a class, which counts as wrong. If the "
            "model could choose among the other classes alone, unweighted average recall would be "
            f"{runs.percent(found.among_common['uar'])} %"
        )
    if found.promised and found.promised.n_left_out:
        yield (
            f"The promise is computed without the clips of these {found.promised.n_left_out} classes, which "
            "could be predicted there too; its interval is widened for the clips that are fewer"
        )
    if found.n_unlike:
        yield (
            f"{found.n_unlike:,} of {found.n_clips:,} clips are unlike the training clips (farther from them "
            f"than {100 * UNLIKE:.0f} % of left-out training clips), so the promise was not made for them"
        )
    label, n = found.most_predicted
    if n > _NEARLY_ALL * found.n_clips and len(found.metrics.classes) > 1:
        yield (
            f"{n:,} of {found.n_clips:,} clips were predicted to be {label}: to this model all of them "
            "are alike. Their level, noise or bandwidth may be far from those of its training clips"
        )
    if not any(found.predictions.speakers):
        yield "No speaker is known, so the intervals here are too narrow; --speaker REGEX names them"
    if found.n_narrowband:
        yield (
            f"{found.n_narrowband:,} of {found.n_clips:,} clips have a lower sample rate than any training "
            "clip: missing high frequencies may change predictions"
        )


def tables(found: Evaluation, by: Sequence[str] = ()) -> RenderableType:
    """Scores beside the promise, by class, by speaker and by attributes, the confusion matrix and notes."""
    metrics, title = found.metrics, f"{found.record.title} on {found.corpus}"
    parts: list[RenderableType] = [
        _scores(found, title),
        runs.classes(metrics),
        runs.confusion(metrics, found.predictions.labels),
        *(runs.values(title, name, rows) for name, rows in by_attributes(found, by).items()),
    ]
    if expected := new_speaker(found.predictions):
        parts.append(Text(f"\n{new_speaker_phrase(expected)}"))
    parts += [Text(f"{note}.", _style(note)) for note in notes(found)]
    if found.bad:
        parts.append(Text(f"{len(found.bad):,} clip(s) cannot be used and are left out:", "yellow"))
    parts += first_lines([f"{clip.id}: {clip.reason}" for clip in found.bad], _MOST_TOLD, "--json", "yellow")
    style = {"inside": "green", "above": "green", "below": "red", None: "yellow"}[found.place]
    return Group(*parts, Text(f"\n{found.sentence}", style))


def _style(note: str) -> str:
    return "bold red" if note.startswith("WARNING") else "yellow"


def _scores(found: Evaluation, title: str) -> RenderableType:
    promised = found.promised
    rows = []
    for name in HELD:
        here, there = found.metrics.scores.get(name), promised.scores.get(name) if promised else None
        rows.append((METRICS[name].title, *_cells(here), *_cells(there)))
    numbers = ["here", "95 % interval", "promised", "95 % interval"]
    speakers = len(set(found.predictions.speakers) - {None})
    whose = f", {speakers} speakers" if speakers else ""
    size = f"{found.n_clips:,} clips, {len(found.metrics.classes)} classes{whose}"
    return table("%", numbers=numbers, rows=rows, title=f"{title}: {size}")


def _cells(score: object) -> list[str]:
    return [runs.percent(score.value), runs.interval(score)] if isinstance(score, Score) else ["-", "-"]


def by_attributes(found: Evaluation, by: Sequence[str]) -> dict[str, list[ValueScores]]:
    """Scores by speaker, where any is known, and by each attribute that was asked for."""
    speaker = ["speaker"] if any(found.predictions.speakers) else []
    return {
        name: by_value(found.predictions, found.values_of(name)) for name in dict.fromkeys([*speaker, *by])
    }


def values(found: Evaluation, by: Sequence[str] = ()) -> dict[str, Any]:
    """The evaluation as JSON has it."""
    metrics, promised = found.metrics, found.promised
    expected = new_speaker(found.predictions)
    return {
        "bundle": found.record.title,
        "corpus": found.corpus,
        "n_clips": found.n_clips,
        "n_speakers": len(set(found.predictions.speakers) - {None}),
        "classes": [entry.label for entry in metrics.classes],
        **{
            name: score.model_dump() if isinstance(score, Score) else score
            for name, score in metrics.scores.items()
        },
        "recall": {entry.label: entry.recall.model_dump() for entry in metrics.classes},
        "new_speaker": expected and expected.model_dump(),
        "confusion": {"labels": list(found.predictions.labels), "counts": metrics.confusion},
        "by": {
            name: [
                {"value": entry.value, "n_clips": entry.n_clips}
                | {metric: score.model_dump() for metric, score in entry.scores.items()}
                for entry in rows
            ]
            for name, rows in by_attributes(found, by).items()
        },
        "promised": promised and _promise(promised),
        "inside": found.inside,
        "place": found.place,
        "verdict": found.sentence,
        "renamed": found.renamed,
        "left_out": found.left_out,
        "absent_classes": found.absent,
        "n_predicted_absent": found.n_of_absent,
        "among_common": found.among_common,
        "n_narrowband": found.n_narrowband,
        "n_unlike": found.n_unlike,
        "bad_audio": {clip.id: clip.reason for clip in found.bad},
        "seen_in_training": found.seen,
    }


def _promise(promised: Promise) -> dict[str, Any]:
    origin = promised.origin
    return {
        "run_id": origin.run_id,
        "protocol": origin.protocol,
        "by_speaker": origin.by_speaker,
        "verdict": origin.verdict,
        "limits": origin.limits,
        "judged_by": promised.judged_by,
        "n_classes_left_out": promised.n_left_out,
        **{name: score.model_dump() for name, score in promised.scores.items()},
    }
