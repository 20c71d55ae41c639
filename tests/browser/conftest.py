"""The system's own Chromium, steered by Playwright, and what it looks at."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixtures.app import bundle, clip, clips, corpus, folder, place, serve_page, served  # noqa: F401 - fixtures
from fixtures.made_runs import finished_run, serve  # noqa: F401 - fixtures
from fixtures.report import page_of, tags, told_run  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MICROPHONE = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser(clip: Path) -> Iterator["BrowserContext"]:  # noqa: F811 - the fixture
    """Shared by the tests of a module, cache and all; its microphone hears `clip` over and over."""
    driver = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'marsbench[dev]'")
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    hears = f"--use-file-for-fake-audio-capture={clip}"
    with driver.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*MICROPHONE, hears])
        context = chromium.new_context()
        context.set_default_timeout(PATIENCE_MS)
        yield context
        chromium.close()


@pytest.fixture
def page(browser: "BrowserContext") -> Iterator["Page"]:
    """An empty tab."""
    with browser.new_page() as tab:
        yield tab
