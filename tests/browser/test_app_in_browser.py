"""What only a browser can tell: that a file or a voice goes up and its answer comes back."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("streamlit", reason="no streamlit here: pip install 'marsbench[app]'")

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page


@pytest.fixture
def visit(page: "Page", served: Any) -> "Page":
    """A visitor of the page that `bench app` serves."""
    page.goto(served.address)
    return page


def upload(page: "Page", path: Path) -> None:
    page.locator("input[type=file]").set_input_files(path)


def wait_for_answer(page: "Page", label: str) -> None:
    page.locator(".answer strong", has_text=label).wait_for()


def wait_for_words(page: "Page", words: str) -> None:
    """In the page's text or in its style."""
    refusal = "getComputedStyle(document.querySelector('.stFileUploader'), '::after').content"
    page.wait_for_function(f"(document.body.innerText + {refusal}).includes({json.dumps(words)})")


def test_a_clip_is_told_with_bars_and_pictures_and_no_other_host_is_asked(
    page: "Page", served: Any, clip: Path
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served.address)
    upload(page, clip)
    wait_for_answer(page, "high")
    assert page.locator(".bars th").all_inner_texts() == ["low", "middle", "high"]
    page.wait_for_function(
        "[...document.querySelectorAll('img.plot')].filter((p) => p.naturalWidth).length == 2"
    )
    assert [url for url in asked if not url.startswith((served.address, "data:", "blob:"))] == []


def a_text(path: Path) -> None:
    path.write_text("I am no audio")


def nothing(path: Path) -> None:
    path.touch()


def a_hundred_megabytes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 << 20)


def an_hour(path: Path) -> None:
    soundfile.write(path, np.tile(np.array([100, -100], np.int16), 3600 * 500), 1000, format="FLAC")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (a_text, "bad.wav: cannot be decoded"),
        (nothing, "bad.wav: empty: 0 bytes"),
        (a_hundred_megabytes, "Refused: only audio files up to 50 MB are taken"),
        (an_hour, "bad.wav: too long: 3600.0 s, the limit is 600 s"),
    ],
)
def test_a_bad_file_is_refused_in_words_and_the_next_clip_is_told(
    visit: "Page", clip: Path, tmp_path: Path, write: Any, words: str
) -> None:
    bad = tmp_path / "bad.wav"
    write(bad)
    upload(visit, bad)
    wait_for_words(visit, words)
    upload(visit, clip)
    wait_for_answer(visit, "high")


def test_what_the_microphone_hears_is_told_with_all_its_tones(visit: "Page") -> None:
    visit.get_by_label("Record", exact=True).click()
    wait_for_words(visit, "00:01")
    visit.get_by_label("Stop recording").click()
    wait_for_answer(visit, "high")
    assert "missing high frequencies" not in visit.locator("body").inner_text()


def test_two_visitors_at_once_get_their_own_answers(
    browser: "BrowserContext", served: Any, clips: dict[str, Path]
) -> None:
    visitors = {label: browser.new_page() for label in ("low", "high")}
    for label, page in visitors.items():
        page.goto(served.address)
        upload(page, clips[label])
    for label, page in visitors.items():
        wait_for_answer(page, label)
