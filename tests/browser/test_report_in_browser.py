"""What only a browser can tell of the page: that it sorts, stays in its place and asks for nothing."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from marsbench.plugin.registry import Recipe
from marsbench.results.store import RunFolder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom",
]  # fmt: skip
PROBE = """
<!DOCTYPE html><iframe id="page" style="width:375px;height:800px;border:0" srcdoc="{page}"></iframe>
<pre id="seen"></pre>
<script>
const frame = document.getElementById("page");
frame.onload = () => {{
  const inside = frame.contentDocument;
  const table = inside.querySelector("table.board");
  const order = () => [...table.tBodies[0].rows].map((row) => row.cells[1].querySelector(".id").textContent);
  const button = (number) => table.tHead.rows[0].cells[number].querySelector("button");
  const seen = {{ orders: [order()], width: inside.scrollingElement.scrollWidth }};
  for (const number of [2, 2, 1]) {{ button(number).click(); seen.orders.push(order()); }}
  seen.sorted = [...table.tHead.rows[0].cells].map((cell) => cell.getAttribute("aria-sort"));
  button(3).focus();
  seen.focus = inside.activeElement === button(3);
  seen.asked = frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name);
  document.getElementById("seen").textContent = JSON.stringify(seen);
}};
</script>
"""


@pytest.fixture
def look(told_run: Callable[..., RunFolder], page_of: Callable[..., str], tmp_path: Path) -> Any:
    """Open a page of three runs on a screen 375 pixels wide; gives what was seen and what was logged."""
    told_run("a-aaaaaa", settings={})
    told_run("b-bbbbbb", settings={"tiny.words": "x" * 300}, features=Recipe("early", {}, "", {}))
    folder = told_run("c-cccccc", settings={"tiny.C": 1}, clip="a/very/long/name/" + "y" * 200)
    run = folder.read_run()
    assert run.metrics is not None
    lower = run.metrics["accuracy"].model_copy(update={"value": 0.5})
    folder.write_run(run.model_copy(update={"metrics": run.metrics.model_copy(update={"accuracy": lower})}))
    path = tmp_path / "probe.html"
    path.write_text(PROBE.format(page=escape(page_of(folder))), "utf-8")
    assert CHROMIUM is not None
    command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'chromium'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    (seen,) = re.findall(r'<pre id="seen">(.+?)</pre>', done.stdout)
    return json.loads(unescape(seen)), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_page_sorts_fits_a_phone_and_asks_for_nothing(look: Any) -> None:
    seen, console = look
    assert console == []
    assert seen["asked"] == []
    assert seen["width"] == 375
    assert seen["orders"][1][0] == "cccccc"
    assert seen["orders"][2][-1] == "cccccc"
    assert seen["orders"][3][0] == "bbbbbb"
    assert seen["sorted"] == [None, "ascending", *[None] * 11]
    assert seen["focus"]
