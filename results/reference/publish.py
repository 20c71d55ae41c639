"""Copy finished runs beside the published ones, small enough for the repository; then run refresh.py.

    python results/reference/publish.py RUN_FOLDER [RUN_FOLDER ...]

Of each run `run.json` and `predictions.parquet` are kept. Probabilities are rounded to 13 significant bits
(0.006 %), which makes the file smaller; a clip whose most probable class that would change keeps its own.
What is computed from the probabilities themselves (log loss, calibration error) is computed again, everything
else must come out as it was.
"""  # noqa: INP001 - a script beside what it reads

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from marsbench.errors import BenchError, ResultsError
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scoring import score_predictions
from marsbench.results.predictions import read_predictions, write_predictions
from marsbench.results.schema import CorpusRecord
from marsbench.results.store import RunFolder

RESULTS = Path(__file__).parent / "ravdess"
_DROPPED_BITS = 11  # of the 23 bits of a float32's fraction


def rounded(predictions: Predictions) -> Predictions:
    """Probabilities of 13 significant bits that give every clip the same class."""
    bits = predictions.probabilities.astype(np.float32).view(np.uint32)
    half, kept = np.uint32(1 << (_DROPPED_BITS - 1)), np.uint32(-1 << _DROPPED_BITS & 0xFFFFFFFF)
    probabilities = ((bits + half) & kept).view(np.float32)
    changed = probabilities.argmax(axis=1) != predictions.predicted
    probabilities[changed] = predictions.probabilities[changed]
    return predictions.with_probabilities(probabilities)


def publish(folder: RunFolder, target: Path) -> None:
    """Write the run with rounded probabilities below `target`.

    Raises:
        ResultsError: the run is not complete, or a score that rounding must leave alone would change.
    """
    run = folder.read_run()
    predictions = rounded(read_predictions(folder, run))
    metrics = score_predictions(predictions)
    before = run.metrics.scores if run.metrics else {}
    for name, metric in METRICS.items():
        if metric.from_confusion and name in before and metrics.scores[name] != before[name]:
            raise ResultsError(f"{run.run_id}: {name} is {metrics.scores[name]}, and was {before[name]}")
    place = target / run.corpus.name / run.protocol.name / run.run_id
    place.mkdir(parents=True, exist_ok=True)
    new = RunFolder(place)
    changes = {"metrics": metrics, "corpus": _without_place(run.corpus)}
    published = write_predictions(new, run.model_copy(update=changes), predictions)
    new.write_run(published)
    read_predictions(new, published)


def _without_place(corpus: CorpusRecord) -> CorpusRecord:
    """The corpus as if it had been named: where its audio lay is this machine's own matter."""
    kept = {name: "" if name == "root" else value for name, value in corpus.dataset.parameters.items()}
    dataset = replace(corpus.dataset, parameters=kept)
    return corpus.model_copy(update={"dataset": dataset})


if __name__ == "__main__":
    try:
        for word in sys.argv[1:]:
            publish(RunFolder(Path(word)), RESULTS)
    except BenchError as error:
        sys.exit(str(error))
