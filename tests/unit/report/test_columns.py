"""A metric is one entry of one list; records that were made before it are completed from predictions."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.app import views
from marsbench.config import Criteria
from marsbench.evaluation.metrics import METRICS, Metric
from marsbench.evaluation.scores import Metrics, grade
from marsbench.report import phrases
from marsbench.report.boards import markdown_board
from marsbench.report.columns import columns, data_keys, data_rows, formatted, shown_in, threshold_text
from marsbench.report.terminal.board import TerminalBoard
from marsbench.results.leaderboard import Board, leaderboards
from marsbench.results.store import RunFolder

Bench = Callable[..., Any]
Write = Callable[..., RunFolder]
RESULTS = Path("results")
KAPPA = Metric(
    name="kappa",
    header="kappa",
    title="Cohen's kappa",
    explanation="Agreement with the true classes beyond chance.",
    unit="none",
    digits=2,
    # Of two classes of equal size, which is what these runs have.
    from_confusion=lambda matrix: 2 * matrix.accuracy - 1,
)
TRUE_PROBABILITY = Metric(
    name="true_probability",
    header="P(true)",
    title="mean probability of the true class",
    explanation="Probability given to the true class, mean over the clips.",
    from_probabilities=lambda targets, p: float(p[range(len(targets)), targets].mean()),
)


@pytest.fixture(params=[KAPPA, TRUE_PROBABILITY], ids=lambda metric: metric.name)
def metric(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Metric:
    """A metric that is on the list and nowhere else."""
    added: Metric = request.param
    monkeypatch.setitem(METRICS, added.name, added)
    return added


def the_board() -> Board:
    (board,), left_out = leaderboards(RESULTS)
    assert left_out == []
    return board


def without(metrics: Metrics | None, *names: str) -> Metrics:
    """A record that was written before these metrics were added."""
    assert metrics is not None
    kept = {name: value for name, value in metrics if name not in names}
    return Metrics.model_construct(**kept)


def words_of(shown: str) -> str:
    """What is shown, wherever its lines are wrapped."""
    return " ".join(shown.split())


def test_a_metric_on_the_list_is_scored_with_its_interval(metric: Metric, predicted_run: Write) -> None:
    found = predicted_run("a", range(0, 48, 2)).read_run().metrics
    assert found is not None
    expected = {"kappa": 0.8, "true_probability": 0.9 * 0.9 + 0.1 * 0.1}[metric.name]
    assert found.value(metric.name) == pytest.approx(expected)
    if metric.from_confusion:
        assert found[metric.name].low < expected < found[metric.name].high
        assert all(metric.name in fold.scores for fold in found.folds)


def test_a_metric_on_the_list_is_in_every_output(
    metric: Metric, bench: Bench, told_run: Write, page_of: Callable[..., str]
) -> None:
    folder = told_run()
    run = folder.read_run()
    folder.write_run(run.model_copy(update={"grades": grade(without(run.metrics), Criteria())}))
    row = the_board().rows[0]
    shown = formatted(row.scores[metric.name], metric.unit, metric.digits)
    terminal = bench("leaderboard", "--explain").stdout
    assert metric.header in terminal
    assert shown in terminal
    assert metric.title in words_of(terminal)
    head, _, cells = bench("leaderboard", "--markdown").stdout.splitlines()[2:5]
    assert dict(zip(head.split(" | "), cells.split(" | "), strict=True))[metric.header] == shown
    (told,) = json.loads(bench("leaderboard", "--json").stdout)
    assert told[metric.name] == row.scores[metric.name]
    (line,) = csv.DictReader(io.StringIO(bench("leaderboard", "--csv").stdout))
    assert float(line[metric.name]) == row.scores[metric.name]
    assert ("kappa_low" in told) == (metric is KAPPA)
    page = page_of(folder)
    assert f">{metric.header[:1].upper()}{metric.header[1:]}</abbr>" in page
    assert f'data-value="{row.scores[metric.name]}">{shown}</td>' in page
    assert f"<td>{shown}</td>" in views.table("leaderboard", the_board(), shown_in("app"), None)
    assert f"{metric.title} {shown}" in words_of(bench("show", folder.path.name).stdout)


def test_a_metric_on_the_list_is_a_mean_over_seeds(metric: Metric, predicted_run: Write) -> None:
    runs = [predicted_run(f"s{seed}", range(12 * seed), seed=seed, settings={}) for seed in (1, 2)]
    values = [(run.read_run().metrics or pytest.fail("none")).value(metric.name) for run in runs]
    (row,) = the_board().rows
    assert row.scores[metric.name] == pytest.approx(np.mean([value or 0.0 for value in values]))


def test_a_metric_that_a_record_lacks_is_computed_from_the_predictions(
    metric: Metric, predicted_run: Write
) -> None:
    folder = predicted_run("a", range(24))
    whole = the_board().rows
    run = folder.read_run()
    folder.write_run(run.model_copy(update={"metrics": without(run.metrics, metric.name)}))
    assert metric.name not in (folder.read_run().metrics or pytest.fail("none")).scores
    assert the_board().rows == whole


def test_what_was_computed_for_a_record_is_kept(
    metric: Metric, predicted_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = predicted_run("a", range(24))
    run = folder.read_run()
    folder.write_run(run.model_copy(update={"metrics": without(run.metrics, metric.name)}))
    first = the_board().rows
    folder.predictions.unlink()
    assert the_board().rows == first
    monkeypatch.setenv("MARSBENCH_HOME", "another")
    _, (line,) = leaderboards(RESULTS)
    assert line.startswith(f"{metric.title} of a: ")


def test_without_predictions_the_cell_is_empty_and_a_line_says_so(bench: Bench, predicted_run: Write) -> None:
    folder = predicted_run("a")
    run = folder.read_run()
    folder.write_run(run.model_copy(update={"metrics": without(run.metrics, "uar", "log_loss")}))
    folder.predictions.unlink()
    result = bench("leaderboard", "--json")
    (told,) = json.loads(result.stdout)
    assert (told["rank"], told["uar"], told["uar_low"], told["log_loss"]) == (1, None, None, None)
    assert "unweighted average recall, log loss of a: " in words_of(result.stderr)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_a_record_without_what_is_graded_is_left_out(predicted_run: Write, name: str) -> None:
    folder = predicted_run("a")
    run = folder.read_run()
    folder.write_run(run.model_copy(update={"metrics": without(run.metrics, name)}))
    boards, (line,) = leaderboards(RESULTS)
    assert boards == []
    assert f"{name} is missing" in line


def test_a_wide_terminal_shows_more(predicted_run: Write) -> None:
    predicted_run("a")
    from rich.console import Console

    shown = {}
    for width in (80, 120):
        console = Console(width=width)
        with console.capture() as capture:
            console.print(TerminalBoard(the_board()))
        shown[width] = capture.get()
    assert "accuracy" not in shown[80].partition("#")[2]
    assert "accuracy" in shown[120].partition("#")[2]
    assert max(map(len, shown[80].splitlines())) <= 80


def test_keys_are_told_once_and_rows_have_all_of_them(predicted_run: Write, finished_run: Write) -> None:
    predicted_run("a")
    finished_run("b", None)
    keys = data_keys()
    assert len(set(keys)) == len(keys)
    assert all(list(row) == keys for row in data_rows([the_board()]))


def test_every_column_has_a_name_of_its_own() -> None:
    names = [column.name for column in columns()]
    assert len(set(names)) == len(names)


def test_markdown_shows_how_good_probabilities_are_and_leaves_out_what_would_make_it_too_wide(
    predicted_run: Write,
) -> None:
    predicted_run("a")
    head = markdown_board(the_board()).splitlines()[2]
    scores = "accuracy | macro F1 | UAR | worst class | verdict | loss | ECE"
    assert head == f"| # | same | pipeline | {scores} | run |"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1234, "share", "12.3"),
        (77.66, "seconds", "77.7 s"),
        (1307.2, "seconds", "1,307 s"),
        (4.94, "milliseconds", "4.9 ms"),
        (772.4, "milliseconds", "772 ms"),
        (379_400, "bytes", "379 kB"),
        (50_020_000, "bytes", "50.0 MB"),
        (185_481, "count", "185,481"),
        (0.745, "nats", "0.7"),
    ],
)
def test_numbers_are_shown_with_their_unit(value: float, unit: Any, text: str) -> None:
    assert formatted(value, unit) == text


def test_a_cell_knows_whether_its_threshold_is_exceeded(predicted_run: Write) -> None:
    predicted_run("a", range(24))
    (row,) = the_board().rows
    (accuracy,) = [column for column in columns() if column.name == "accuracy"]
    assert [accuracy.cell(row, Criteria(accuracy=bound)).reached for bound in (0.5, 0.95)] == [True, False]


@pytest.mark.parametrize(
    ("value", "threshold", "digits", "text"),
    [
        (0.75, 0.75, 1, "75.0"),
        (0.7504, 0.75, 1, "75.04"),
        (0.7496, 0.75, 1, "74.96"),
        (0.750004, 0.75, 1, "75.0004"),
        (0.7506, 0.75, 1, "75.1"),
        (0.752, 0.75, 0, "75.2"),
        (0.757, 0.755, 0, "75.7"),
        (0.75 + 1e-12, 0.75, 1, "75.000000"),
        (0.7504, None, 1, "75.0"),
    ],
)
def test_a_share_never_reads_as_a_threshold_that_it_is_not(
    value: float, threshold: float | None, digits: int, text: str
) -> None:
    assert formatted(value, "share", digits, threshold) == text


@pytest.mark.parametrize(
    ("threshold", "text"), [(0.8, "80.0"), (0.755, "75.5"), (0.7555, "75.55"), (0.29, "29.0"), (1.0, "100.0")]
)
def test_a_threshold_has_every_digit_that_was_asked_for(threshold: float, text: str) -> None:
    assert threshold_text(threshold) == text


def near_its_threshold(run: Any) -> Any:
    """A run whose accuracy has an interval that begins a little below the threshold, 80 %."""
    score = run.metrics["accuracy"].model_copy(update={"value": 0.8004, "low": 0.79996, "high": 0.9})
    metrics = run.metrics.model_copy(update={"accuracy": score})
    return run.model_copy(update={"metrics": metrics, "grades": grade(metrics, Criteria())})


def test_a_bound_beside_its_threshold_is_told_from_it_in_every_output(
    bench: Bench, predicted_run: Write
) -> None:
    folder = predicted_run("a")
    folder.write_run(near_its_threshold(folder.read_run()))
    bench("report", "-o", "report.html")
    page = Path("report.html").read_text("utf-8")
    run, board = folder.read_run(), the_board()
    origin = type(
        "Origin",
        (),
        {"verdict": "undecided", "pass_confidence": 0.9, "weakest": "class_recall sad", "limits": []},
    )
    shown = {
        "terminal": bench("leaderboard").stdout,
        "markdown": markdown_board(board),
        "run": bench("show", "a").stdout,
        "page": page,
        "app": str(views.table("leaderboard", board, shown_in("app"), None)),
        "verdict": str(views.table("verdict", origin, run.grades, phrases)),
    }
    exact = {name: ("79.996" in text, "80.04" in text) for name, text in shown.items()}
    assert exact == dict.fromkeys(shown, (True, True)) | {"terminal": (False, True)}
    assert page.count("79.996") >= 4
    assert "P 90 %, of its weakest criterion: recall of sad." in shown["verdict"]
    assert "80.0 to" not in shown["run"]


@pytest.mark.parametrize(
    ("sure", "weakest", "phrase"),
    [
        (0.474, "class_recall sad", "P 47 %, of its weakest criterion: recall of sad"),
        (0.474, "accuracy", "P 47 %, of its weakest criterion: accuracy"),
        (0.474, None, "P 47 %, of its weakest criterion"),  # an older bundle
        (None, "accuracy", ""),
    ],
)
def test_a_p_is_told_with_the_criterion_that_it_is_of(
    sure: float | None, weakest: str | None, phrase: str
) -> None:
    assert phrases.weakest_phrase(sure, weakest) == phrase
