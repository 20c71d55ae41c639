"""The file of predictions: what is read is what was written, or it is refused."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from fixtures.made_runs import CORPUS
from fixtures.results import made
from marsbench.errors import DamagedError, ResultsError
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scoring import score_predictions
from marsbench.results.predictions import data_frame, read_predictions, write_predictions
from marsbench.results.store import RunFolder

Write = Callable[..., RunFolder]
REMEDY = "rerun the command that made the run to write it again from its fits"
LABELS = [
    ["low", "high"],
    ["p_a", "a.b", "clip", "fold"],
    ["wütend", "froh 😀", " "],
    list("abcdefghijkl"),
]


def drawn(labels: list[str], n_clips: int = 200) -> Predictions:
    """Predictions in three folds, some of speakers that are not known."""
    generator = np.random.default_rng(len(labels))
    return made(
        generator.integers(len(labels), size=n_clips),
        generator.dirichlet(np.full(len(labels), 0.2), n_clips),
        generator.integers(3, size=n_clips),
        [None if row % 3 == 0 else f"spéaker {row % 5}" for row in range(n_clips)],
        labels,
    )


def keep(finished_run: Write, predictions: Predictions) -> RunFolder:
    """A finished run with these predictions."""
    corpus = CORPUS.model_copy(update={"labels": list(predictions.labels)})
    folder = finished_run("a", 0.5, corpus=corpus, metrics=score_predictions(predictions))
    folder.write_run(write_predictions(folder, folder.read_run(), predictions))
    return folder


def read(folder: RunFolder) -> Predictions:
    return read_predictions(folder, folder.read_run())


def refusal(folder: RunFolder) -> str:
    with pytest.raises(DamagedError) as error:
        read(folder)
    return str(error.value)


@pytest.mark.parametrize("labels", LABELS, ids=len)
def test_what_is_read_is_what_was_written_and_scores_the_same(finished_run: Write, labels: list[str]) -> None:
    predictions = drawn(labels)
    folder = keep(finished_run, predictions)
    again = read(folder)
    assert again.tested == predictions.tested
    assert again.speakers == predictions.speakers
    assert again.probabilities.dtype == np.float32
    assert np.array_equal(again.probabilities, predictions.probabilities)
    assert score_predictions(again) == folder.read_run().metrics


def test_equal_predictions_make_equal_files_of_a_few_bytes_a_number(finished_run: Write) -> None:
    predictions = drawn(LABELS[3], 2000)
    folder = keep(finished_run, predictions)
    content = folder.predictions.read_bytes()
    assert keep(finished_run, read(folder)).predictions.read_bytes() == content
    assert len(content) < 4 * predictions.probabilities.size


@pytest.mark.parametrize("labels", LABELS, ids=len)
def test_users_get_a_data_frame_which_pandas_reads_from_the_file_too(
    finished_run: Write, labels: list[str]
) -> None:
    predictions = drawn(labels)
    folder = keep(finished_run, predictions)
    frame = data_frame(predictions)
    assert list(frame.columns) == ["clip", "speaker", "fold", "label", *(f"p_{label}" for label in labels)]
    assert np.array_equal(frame.iloc[:, 4:], predictions.probabilities)
    assert [labels.index(label) for label in frame["label"]] == predictions.targets.tolist()
    pd.testing.assert_frame_equal(pd.read_parquet(folder.predictions), frame)


def test_of_600_flipped_bits_none_is_accepted(predicted_run: Write) -> None:
    folder = predicted_run("a", {3, 4})
    run, content = folder.read_run(), folder.predictions.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(600):
        damaged = bytearray(content)
        damaged[generator.integers(len(content))] ^= 1 << generator.integers(8)
        folder.predictions.write_bytes(damaged)
        with pytest.raises(DamagedError, match="its checksum is not that in run"):
            read_predictions(folder, run)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _content: b"",
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content + b"\0",
        lambda content: content * 2,
        lambda content: bytes(len(content)),
    ],
    ids=["empty", "a byte less", "half", "a byte more", "twice", "zeros"],
)
def test_a_file_of_other_bytes_is_refused_in_one_line(
    predicted_run: Write, damage: Callable[[bytes], bytes]
) -> None:
    folder = predicted_run("a")
    folder.predictions.write_bytes(damage(folder.predictions.read_bytes()))
    assert refusal(folder) == (
        f"{folder.predictions} is damaged: its checksum is not that in run.json; {REMEDY}"
    )


def test_the_file_of_another_run_is_refused(predicted_run: Write) -> None:
    first, second = predicted_run("a"), predicted_run("b", {0})
    first.predictions.write_bytes(second.predictions.read_bytes())
    assert "its checksum is not that in run.json" in refusal(first)


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "reason"), [(remove, "No such file or directory"), (make_folder, "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_one_line(
    predicted_run: Write, harm: Callable[[Path], None], reason: str
) -> None:
    folder = predicted_run("a")
    harm(folder.predictions)
    with pytest.raises(ResultsError) as error:
        read(folder)
    assert str(error.value) == f"{folder.predictions} cannot be read: {reason}; {REMEDY}"


def reseal(folder: RunFolder, content: bytes) -> None:
    """Put a file in place whose checksum fits."""
    folder.predictions.write_bytes(content)
    sealed = {"predictions_sha256": sha256(content).hexdigest()}
    folder.write_run(folder.read_run().model_copy(update=sealed))


def column(name: str, values: object, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    """Change of a table: other values in a column."""

    def change(table: pa.Table) -> pa.Table:
        field = pa.field(name, kind, nullable=name == "speaker")
        return table.set_column(table.column_names.index(name), field, pa.array(values, kind))

    return change


N = 240
CHANGES: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "a class less": (lambda table: table.drop_columns("p_high"), "its columns are not clip, speaker, fold"),
    "a class more": (lambda table: table.append_column("p_x", table["p_low"]), "its columns are not clip"),
    "classes in another order": (
        lambda table: table.select([*table.column_names[:4], "p_high", "p_low"]),
        "its columns are not clip, speaker, fold, label, p_low, p_high, or not of their types",
    ),
    "float64": (column("p_low", [0.5] * N, pa.float64()), "its columns are not"),
    "folds as text": (column("fold", ["1"] * N, pa.string()), "its columns are not"),
    "rows left out": (lambda table: table.slice(1), "its folds have other numbers of clips than the run's"),
    "no rows": (lambda table: table.slice(0, 0), "its folds have other numbers of clips"),
    "another fold": (column("fold", [7] * N, pa.int64()), "its folds have other numbers of clips"),
    "a clip twice": (column("clip", ["x"] * N, pa.string()), "a clip stands in two rows"),
    "a strange label": (column("label", ["x"] * N, pa.string()), "a label is none of the run's classes"),
    "NaN": (column("p_low", [np.nan] * N, pa.float32()), "it holds NaN or infinite probabilities"),
    "infinite": (column("p_low", [np.inf] * N, pa.float32()), "it holds NaN or infinite probabilities"),
    "negative": (column("p_low", [-0.1] * N, pa.float32()), "negative or do not sum to 1"),
    "sums of 0.6": (column("p_low", [0.5] * N, pa.float32()), "negative or do not sum to 1"),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_a_sealed_table_that_cannot_be_the_runs_is_refused(
    predicted_run: Write, change: Callable[[pa.Table], pa.Table], reason: str
) -> None:
    folder = predicted_run("a")
    sink = pa.BufferOutputStream()
    parquet.write_table(change(parquet.read_table(folder.predictions)), sink)
    reseal(folder, sink.getvalue().to_pybytes())
    line = refusal(folder)
    assert line.startswith(f"{folder.predictions} is damaged: ")
    assert reason in line
    assert line.endswith(f"; {REMEDY}")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 and no more PAR1", b"\n\n"])
def test_a_sealed_file_that_is_no_table_is_refused_in_one_line(predicted_run: Write, content: bytes) -> None:
    folder = predicted_run("a")
    reseal(folder, content)
    assert "\n" not in refusal(folder)


def test_predictions_without_a_checksum_are_not_used(predicted_run: Write) -> None:
    folder = predicted_run("a")
    folder.write_run(folder.read_run().model_copy(update={"predictions_sha256": None}))
    with pytest.raises(ResultsError, match=r"a has no predictions .* no checksum of them; run it again"):
        read(folder)


def test_an_incomplete_run_has_no_predictions(finished_run: Write) -> None:
    with pytest.raises(ResultsError, match=r"a has no predictions .* it is not complete; run it again"):
        read(finished_run("a", None))
