"""What only a browser can tell of the report: that it sorts, fits a phone and asks for nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from marsbench.plugin.registry import Recipe
from marsbench.results.store import RunFolder

if TYPE_CHECKING:
    from playwright.sync_api import Page

TOO_WIDE = """() => [...document.querySelectorAll(".scroll")]
    .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.ariaLabel)"""
LABEL = "(cell) => getComputedStyle(cell, '::before').content"
PHONE = {"width": 375, "height": 800}


@pytest.fixture
def report(told_run: Callable[..., RunFolder], page_of: Callable[..., str], tmp_path: Path) -> Path:
    """A report of three runs."""
    told_run("a-aaaaaa", settings={})
    told_run("b-bbbbbb", settings={"tiny.words": "x" * 300}, features=Recipe("early", {}, "", {}))
    folder = told_run("c-cccccc", settings={"tiny.C": 1}, clip="a/very/long/name/" + "y" * 200)
    run = folder.read_run()
    assert run.metrics is not None
    lower = run.metrics["accuracy"].model_copy(update={"value": 0.5})
    folder.write_run(run.model_copy(update={"metrics": run.metrics.model_copy(update={"accuracy": lower})}))
    path = tmp_path / "report.html"
    path.write_text(page_of(folder), "utf-8")
    return path


def test_the_page_sorts_fits_a_phone_and_asks_for_nothing(page: "Page", report: Path) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]  # its TypedDict is private
    page.goto(report.as_uri())
    assert page.evaluate("document.scrollingElement.scrollWidth") == PHONE["width"]

    # Also those that are folded away at first: only the board may be wider than the phone.
    page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
    page.wait_for_function("document.querySelectorAll('table.stacked').length > 0")
    assert page.evaluate(TOO_WIDE) == ["Leaderboard of tones, stratified5"]
    assert page.locator("table.stacked td").first.evaluate(LABEL) == '"Speaker"'
    page.set_viewport_size({"width": 1280, "height": 800})
    page.wait_for_function("document.querySelectorAll('table.stacked').length === 0")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]

    board = page.locator("table.board")
    heads = board.locator("thead tr").first.locator("th, td")

    def order_after_click(column: int) -> list[str]:
        heads.nth(column).locator("button").click()
        return board.locator("tbody tr > :nth-child(3) .id").all_text_contents()

    assert order_after_click(3)[0] == "cccccc"
    assert order_after_click(3)[-1] == "cccccc"
    assert order_after_click(2)[0] == "bbbbbb"
    sorted_by = [heads.nth(column).get_attribute("aria-sort") for column in range(heads.count())]
    assert sorted_by == [None, None, "ascending", *[None] * (heads.count() - 3)]
    button = heads.nth(4).locator("button")
    button.focus()
    assert button.evaluate("(button) => button === document.activeElement")
    command = page.locator("pre.command").first
    button = page.locator("pre.command + button").first
    button.evaluate("(button) => button.click()")
    page.wait_for_function("document.querySelector('pre.command + button').textContent === 'Copied'")
    assert command.text_content()
    assert not page.locator(".contents").evaluate("(contents) => contents.open")
    assert asked == [report.as_uri()]
    assert complaints == []
