"""Make the pictures of README and documentation again: python docs/make_pictures.py [BUNDLE CLIP].

Without arguments the board alone, of the published runs in results/reference; with a folder that
`bench export` wrote and an audio file for its page, report and page too, by Playwright and Chromium.
"""  # noqa: INP001 - a script beside what it makes

import io
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from PIL import Image
from rich.console import Console

from marsbench.report.terminal.board import TerminalBoard
from marsbench.results.leaderboard import leaderboards

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
RUNS = ROOT / "results" / "reference" / "ravdess"
BENCH = [str(Path(sys.executable).with_name("bench"))]
WIDTH = 110
N_ROWS = 8
N_COLOURS = 128
N_TRIES = 120


def draw_board() -> str:
    """The board by speaker in a terminal, as SVG."""
    boards, _ = leaderboards(RUNS, protocol="speaker5")
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, emoji=False)
    console.print(TerminalBoard(boards[0], N_ROWS))
    return console.export_svg(title="bench leaderboard --protocol speaker5", unique_id="board")


def save(page: "Page", name: str) -> None:
    """What the page shows, as a PNG of few colours."""
    shrink(page.screenshot(), name)


def shrink(picture: bytes, name: str) -> None:
    """Keep a picture as a PNG of few colours."""
    colours = Image.open(io.BytesIO(picture)).convert("RGB").quantize(N_COLOURS, Image.Quantize.MAXCOVERAGE)
    colours.save(PICTURES / f"{name}.png", optimize=True)


def draw_report(page: "Page", folder: Path) -> None:
    """The top of the report with the two strictest boards, and the pictures of the first of them."""
    path = folder / "report.html"
    subprocess.run([*BENCH, "report", "--results", str(RUNS), "-o", str(path)], check=True)  # noqa: S603 - our own command
    page.goto(path.as_uri())
    save(page, "report")
    # Without the list of sections, which stays where it is while the browser scrolls through the pictures.
    charts = page.locator(".which").first.screenshot(style="nav { visibility: hidden }")
    shrink(charts, "report_which")


def draw_app(page: "Page", bundle: str, clip: str) -> None:
    """The page with the answer for a clip."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([*BENCH, "app", bundle, "--port", str(port)]) as server:  # noqa: S603
        try:
            wait_for(f"http://localhost:{port}/_stcore/health")
            page.set_viewport_size({"width": 1280, "height": 1150})
            page.goto(f"http://localhost:{port}")
            page.locator("input[type=file]").set_input_files(clip)
            page.locator(".answer").wait_for()
            page.wait_for_timeout(3000)  # its pictures are loaded after the words
            save(page, "app")
        finally:
            server.terminate()


def wait_for(address: str) -> None:
    """Return when the address answers; raises OSError if it does not within a minute."""
    for remaining in reversed(range(N_TRIES)):
        try:
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310 - our own page
        except OSError:
            if not remaining:
                raise
            time.sleep(0.5)
        else:
            return


def main(*pages: str) -> None:
    """Make the board's picture, and those of report and page where a bundle and a clip are given."""
    (PICTURES / "leaderboard.svg").write_text(draw_board(), "utf-8")
    if pages:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright, TemporaryDirectory() as folder:
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"))
            page = chromium.new_page(viewport={"width": 1280, "height": 970})
            page.set_default_timeout(120_000)
            draw_report(page, Path(folder))
            draw_app(page, *pages)
            chromium.close()


if __name__ == "__main__":
    if len(sys.argv) not in {1, 3}:
        sys.exit("usage: python docs/make_pictures.py [BUNDLE CLIP]")
    main(*sys.argv[1:])
