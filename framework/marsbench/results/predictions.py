"""`predictions.parquet`: out-of-fold probabilities with everything needed to score them again."""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from marsbench.corpus import CheckedCorpus
from marsbench.errors import ResultsError
from marsbench.evaluation.scoring import Predictions
from marsbench.files import write_atomically

_FACTS = ["clip", "speaker", "fold", "label"]


def write_predictions(
    path: Path,
    corpus: CheckedCorpus,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
    predictions: Predictions,
) -> None:
    """Write one row a tested clip; `rows` are the clips' rows in the corpus."""
    clips = [corpus.clips[row] for row in rows]
    facts = {
        "clip": [clip.id for clip in clips],
        "speaker": [clip.speaker for clip in clips],
        "fold": predictions.folds,
        "label": [clip.label for clip in clips],
    }
    table = pd.DataFrame(facts)
    for index, label in enumerate(corpus.labels):
        table[f"p_{label}"] = predictions.probabilities[:, index]
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def read_predictions(path: Path) -> pd.DataFrame:
    """The table: clip, speaker, fold, label, then one column p_CLASS for each class in the corpus's order.

    Raises:
        ResultsError: missing, or no such table.
    """
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from error
    if list(table.columns[: len(_FACTS)]) != _FACTS:
        raise ResultsError(f"{path} is no table of predictions: its columns are {', '.join(table.columns)}")
    return table
