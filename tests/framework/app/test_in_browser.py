"""What only a browser can tell: that a file goes up and its answer comes back."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="no streamlit here: pip install 'marsbench[app]'")
pytest.importorskip("websockets")


@pytest.mark.usefixtures("chromium")
def test_a_clip_is_told_and_a_text_is_refused(browser: Any, served: Any, clip: Path, tmp_path: Path) -> None:
    text = tmp_path / "letter.wav"
    text.write_text("I am no audio")
    browser.tell("Page.navigate", url=served.address)
    browser.upload(clip)
    assert browser.wait_for("document.querySelector('.answer strong')?.innerText") == "high"
    assert browser.ask("document.querySelectorAll('.bars tr').length") == 3
    browser.wait_for("[...document.querySelectorAll('img.plot')].filter((p) => p.naturalWidth).length == 2")
    browser.upload(text)
    browser.wait_for_words("letter.wav: cannot be decoded")
    browser.upload(clip)
    browser.wait_for("document.querySelector('.answer strong')?.innerText")
    hosts = (
        "[...new Set(performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin))]"
    )
    assert browser.ask(hosts) == [served.address]


@pytest.mark.usefixtures("chromium")
def test_a_file_that_is_too_large_is_refused_before_it_goes_up(
    browser: Any, served: Any, tmp_path: Path
) -> None:
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate(100 << 20)
    browser.tell("Page.navigate", url=served.address)
    browser.upload(large)
    refusal = "getComputedStyle(document.querySelector('.stFileUploader'), '::after').content"
    browser.wait_for(f"{refusal}.includes('up to 50 MB')")
