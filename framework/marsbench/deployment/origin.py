"""What a bundle says about the run that it is from."""

from collections.abc import Sequence
from typing import Any, cast

from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle_record import BundleRecord, Origin
from marsbench.errors import ResultsError
from marsbench.evaluation.by_group import by_attributes, by_confidence
from marsbench.evaluation.scores import Metrics, Outcome, least_sure
from marsbench.progress import Progress
from marsbench.results.predictions import read_predictions
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.runner import reload


def origin_of(run: Run) -> Origin:
    """A complete run with its scores of all clips."""
    protocol = run.protocol
    return Origin(
        run_id=run.run_id,
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        by_speaker=protocol.by_speaker,
        corpora_apart=protocol.corpora_apart,
        criteria=run.criteria,
        metrics=cast("Metrics", run.metrics),
        verdict=cast("Outcome", run.verdict),
        limits=run.limits,
        pass_confidence=run.pass_confidence,
        weakest=weakest.criterion if (weakest := least_sure(run.grades)) else None,
    )


def by_clips(
    folder: RunFolder, corpus: CheckedCorpus, fitted: Sequence[BundleRecord], progress: Progress
) -> dict[str, Any]:
    """The fields of an `Origin` on parts of the test clips; {} if the predictions are lost.

    Accuracy by confidence is left out where the code of a plugin has changed since the run: models of today
    may be surer or less sure than those that were tested.

    Args:
        folder: of the run.
        corpus: of the run.
        fitted: records of the bundle's pipelines, in the order of the run's members.
        progress: told what is left out.
    """
    run = folder.read_run()
    try:
        found = read_predictions(folder, run)
    except ResultsError as error:
        progress.say(f"No scores by group or confidence in the bundle: {error}")
        return {}
    groups = by_attributes(found, {clip.id: clip.attributes for clip in corpus.clips})
    tested = [member.read_run() for member in reload.members_of(folder, run)]
    if [_code(one) for one in fitted] != [_code(one) for one in tested]:
        progress.say("No accuracy by confidence in the bundle: the code has changed since the run.")
        return {"groups": groups}
    return {"groups": groups, "confidences": by_confidence(found)}


def _code(pipeline: Run | BundleRecord) -> tuple[str | None, ...]:
    """What tells the code of its plugins."""
    return pipeline.features.source, pipeline.model.source
