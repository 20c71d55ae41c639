"""`predictions.parquet`: out-of-fold probabilities with everything needed to score them again."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from marsbench.atomic_files import write_atomically
from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import ResultsError
from marsbench.evaluation.scoring import Predictions

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
    write_table(path, table)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table such as `read_predictions` gives."""
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
    own = list(table.columns[: len(_FACTS)]) == _FACTS
    if not own or not set(table["label"]) <= set(class_names(table)):
        raise ResultsError(f"{path} is no table of predictions: its columns are {', '.join(table.columns)}")
    return table


def class_names(table: pd.DataFrame) -> list[str]:
    """Classes in the corpus's order."""
    return [column.removeprefix("p_") for column in table.columns[len(_FACTS) :]]


def probabilities_of(table: pd.DataFrame) -> NDArray[np.float64]:
    """Probability of each class, (n_clips, n_classes)."""
    return table.iloc[:, len(_FACTS) :].to_numpy(np.float64)


def with_probabilities(table: pd.DataFrame, probabilities: NDArray[np.float64]) -> pd.DataFrame:
    """The same clips with other probabilities, (n_clips, n_classes)."""
    columns = dict(zip(table.columns[len(_FACTS) :], probabilities.T, strict=True))
    return table.assign(**columns)


def predictions_of(table: pd.DataFrame) -> Predictions:
    """What scores are computed from."""
    speakers = [None if pd.isna(speaker) else str(speaker) for speaker in table["speaker"]]
    return Predictions(probabilities_of(table), targets_of(table), table["fold"].to_numpy(np.int64), speakers)


def targets_of(table: pd.DataFrame) -> NDArray[np.int64]:
    """Index of each clip's true class, (n_clips,)."""
    index = {name: position for position, name in enumerate(class_names(table))}
    return np.array([index[label] for label in table["label"]], np.int64)


def predicted_of(table: pd.DataFrame) -> NDArray[np.int64]:
    """Index of each clip's most probable class, (n_clips,); ties go to the class that comes first."""
    return np.asarray(probabilities_of(table).argmax(axis=1), np.int64)
