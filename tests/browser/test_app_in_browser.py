"""What only a browser can tell: that a file or a voice goes up and its answer comes back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("streamlit", reason="no streamlit here: pip install 'marsbench[app]'")
pytest.importorskip("websockets")


@pytest.fixture
def page(browser: Any, served: Any) -> Any:
    return browser.visit(served.address)


def test_a_clip_is_told_with_bars_and_pictures_and_no_other_host_is_asked(
    page: Any, served: Any, clip: Path
) -> None:
    page.upload(clip)
    page.wait_for_answer("high")
    assert page.ask("[...document.querySelectorAll('.bars th')].map((cell) => cell.innerText)") == [
        "low",
        "middle",
        "high",
    ]
    page.wait_for("[...document.querySelectorAll('img.plot')].filter((p) => p.naturalWidth).length == 2")
    hosts = (
        "[...new Set(performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin))]"
    )
    assert page.ask(hosts) == [served.address]


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
    page: Any, clip: Path, tmp_path: Path, write: Any, words: str
) -> None:
    bad = tmp_path / "bad.wav"
    write(bad)
    page.upload(bad)
    page.wait_for_words(words)
    page.upload(clip)
    page.wait_for_answer("high")


def test_what_the_microphone_hears_is_told_with_all_its_tones(page: Any) -> None:
    page.click("[aria-label='Record']")
    page.wait_for_words("00:01")
    page.click("[aria-label='Stop recording']")
    page.wait_for_answer("high")
    assert not page.ask("document.body.innerText.includes('missing high frequencies')")


def test_two_visitors_at_once_get_their_own_answers(
    browser: Any, served: Any, clips: dict[str, Path]
) -> None:
    visitors = {label: browser.visit(served.address) for label in ("low", "high")}
    for label, page in visitors.items():
        page.upload(clips[label])
    for label, page in visitors.items():
        page.wait_for_answer(label)
