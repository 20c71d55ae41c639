from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bench = Callable[..., Any]
GRID = ("--features", "crossings,blocks", "--model", "nearest_mean", "--data", "tones")


@pytest.mark.usefixtures("ran")
def test_without_words_all_boards_are_written_and_the_path_is_printed(bench: Bench) -> None:
    result = bench("report")
    assert result.exit_code == 0
    parts = [line.partition(":")[0] for line in result.stderr.splitlines()]
    assert parts == ["Reading runs", "Runs in detail", "Corpora", "Boards and charts"]
    assert result.stdout == "Report: report.html\n"
    assert "tones, stratified5" in Path("report.html").read_text("utf-8")


@pytest.mark.usefixtures("ran")
def test_a_run_is_shown_with_pictures_and_sound_where_the_corpus_is(bench: Bench, kit: Path) -> None:
    bench("run", *GRID, "--plugins", kit, "--model", "slow_mean", "--protocol", "speaker5")
    (folder,) = Path("results/tones/speaker5").glob("blocks-slow_mean-*")
    result = bench("report", folder, "--audio", "--plugins", kit, "-o", "deep/one.html")
    page = Path("deep/one.html").read_text("utf-8")
    assert result.exit_code == 0
    assert page.count("data:audio/ogg") == page.count('aria-label="Log-mel') == page.count('class="clip"')
    assert "since the audio is not here" not in page


@pytest.mark.usefixtures("ran")
def test_an_existing_page_is_replaced(bench: Bench) -> None:
    Path("report.html").write_text("old")
    bench("report", "crossings")
    page = Path("report.html").read_text("utf-8")
    assert page.lstrip().startswith("<!DOCTYPE html>")
    assert "<h1>crossings + nearest_mean, tones, stratified5</h1>" in page
    assert list(Path().glob(".report.html*")) == []


@pytest.mark.usefixtures("ran")
def test_an_experiment_file_shows_its_own_runs_alone(bench: Bench, kit: Path) -> None:
    Path("grid.toml").write_text(
        f"features = 'crossings'\nmodel = 'nearest_mean'\ndata = 'tones'\nplugins = ['{kit}']\n"
    )
    assert bench("report", "grid.toml").exit_code == 0
    page = Path("report.html").read_text("utf-8")
    assert "crossings + nearest_mean" in page
    assert "blocks + nearest_mean" not in page
    assert "tones, stratified5: 1 of 2 runs; their ranks are among all" in page


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize(
    "line", ["protocol = 'holdout80'", "seed = 3", "data = 'demo'", "[set.crossings]\nscale = 2.0"]
)
def test_an_experiment_without_runs_says_how_to_make_them(bench: Bench, line: str) -> None:
    given = "" if line.startswith("data") else "data = 'tones'\n"
    Path("grid.toml").write_text(f"features = 'crossings'\nmodel = 'nearest_mean'\n{given}{line}\n")
    result = bench("report", "grid.toml")
    assert result.exit_code == 1
    assert "bench run" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("report",), "no runs in "),
        (("report", "x"), "no runs in "),
        (("report", "gone.toml"), "gone.toml cannot be read"),
        (("report", "--criteria", "recall=1"), "Unknown key 'recall'"),
        (("report", "--plugins", "gone"), "no runs in "),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_1(
    bench: Bench, words: tuple[str, ...], message: str
) -> None:
    result = bench(*words)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("report.html").exists()


def test_a_failed_run_has_a_page(bench: Bench, kit: Path) -> None:
    bench("run", *GRID, "--model", "troubled", "--plugins", kit)
    (folder,) = Path("results/tones/stratified5").glob("blocks-troubled-*")
    assert bench("report", folder).exit_code == 0
    assert "no luck today" in Path("report.html").read_text("utf-8")


@pytest.mark.usefixtures("ran")
def test_a_page_that_cannot_be_written_is_one_line(bench: Bench) -> None:
    Path("taken").mkdir()
    result = bench("report", "-o", "taken")
    assert result.exit_code == 1
    assert "taken cannot be written" in result.stderr
