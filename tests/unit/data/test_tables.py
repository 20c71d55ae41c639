"""Data frames and data sets as tables of clips; data sets by a stand-in for the package `datasets`."""

import io
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import soundfile

import marsbench
from marsbench.data.tables import place_of, table_of_dataset, table_of_frame
from marsbench.environment import install_hint
from marsbench.errors import ConfigError, CorpusError
from marsbench.plugin.registry import discover
from marsbench.runner.reload import corpus_of


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def tone(number: int, form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(4000) / (5 + number)), 8000, format=form)
    return file.getvalue()


@pytest.fixture
def frame() -> pd.DataFrame:
    """Eight clips of two classes and two speakers."""
    rows = []
    for number in range(8):
        path = Path("audio") / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tone(number))
        rows.append({"path": path, "label": "ab"[number % 2], "speaker": f"s{number // 4}", "take": number})
    return pd.DataFrame(rows)


def test_a_data_frame_is_a_corpus_with_further_columns_as_attributes(frame: pd.DataFrame) -> None:
    corpus = marsbench.load_corpus(frame, name="mine")
    assert (corpus.name, corpus.labels, len(corpus.clips)) == ("mine", ("a", "b"), 8)
    assert corpus.clips[3].attributes == {"take": "3"}
    assert corpus.speakers == ("s0",) * 4 + ("s1",) * 4


def test_runs_on_a_data_frame_are_found_again_by_their_record_and_by_the_same_frame(
    frame: pd.DataFrame, kit: Path
) -> None:
    options: dict[str, Any] = {"features": "crossings", "model": "nearest_mean", "protocol": "speaker2"}
    options |= {"trials": 0, "plugins": [kit], "workers": 0}
    (first,) = marsbench.run(data=frame, **options)
    (again,) = marsbench.run(data=frame.copy(), **options)
    assert first.run == again.run
    reopened = corpus_of(first.run, discover((kit,)))
    assert [clip.path for clip in reopened.clips] == [Path(path).absolute() for path in frame["path"]]
    assert len(marsbench.leaderboard(data=frame)) == 1
    (table,) = (Path("home") / "tables").iterdir()
    assert first.run.corpus.dataset.parameters["root"] == str(table.absolute())


@pytest.mark.parametrize(
    "make",
    [
        lambda frame: frame.rename(columns={"path": "File"}),
        lambda frame: frame.set_index("path"),
        lambda frame: frame.set_index(["path", "take"]).reset_index("take"),
        lambda frame: frame.assign(path=frame["path"].map(lambda path: str(path.absolute()))),
        lambda frame: frame.assign(other=float("nan")),
    ],
    ids=["other name", "index", "both", "absolute", "missing"],
)
def test_paths_may_be_an_index_absolute_or_under_a_usual_name(
    frame: pd.DataFrame, make: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    clips = marsbench.load_corpus(make(frame)).clips
    assert [clip.path for clip in clips] == [Path(path).absolute() for path in frame["path"]]
    assert {tuple(clip.attributes) for clip in clips} == {("take",)}


def test_whole_numbers_of_a_column_with_gaps_have_no_decimals(frame: pd.DataFrame) -> None:
    numbers = [1.0, 2.0, 10.0, 1.0, 2.0, 10.0, 1.0, 2.0]
    corpus = marsbench.load_corpus(frame.assign(label=numbers, speaker=[*numbers[:7], float("nan")]))
    assert (corpus.labels, corpus.speakers[-2:]) == (("1", "2", "10"), ("1", None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.rename(columns={"path": "pth"}), r"has no column 'path'. Did you mean 'pth'\?"),
        (lambda frame: frame.assign(path=[None, *frame["path"][1:]]), r"has no path in row 0 \(from 0\)"),
        (lambda frame: frame[:0], "the data have no rows"),
    ],
    ids=["no path", "gap", "empty"],
)
def test_a_frame_that_is_no_corpus_is_one_line(
    frame: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        table_of_frame(change(frame))


# Data sets


@dataclass
class Audio:
    """The feature of `datasets` for a column of audio."""

    decode: bool = True


@dataclass
class ClassLabel:
    """The feature of `datasets` for a column of classes."""

    names: list[str]

    def int2str(self, value: int) -> str:
        return self.names[value]


@dataclass
class FakeDataset:
    """What is used of a `datasets.Dataset`: reading a row decodes its audio unless that is switched off."""

    rows: list[dict[str, Any]]
    features: dict[str, Any]

    def cast_column(self, name: str, feature: Audio) -> "FakeDataset":
        return FakeDataset(self.rows, {**self.features, name: feature})

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self.rows:
            assert not self.features["audio"].decode
            yield row


def made(rows: list[dict[str, Any]]) -> FakeDataset:
    features = {"audio": Audio(), "label": ClassLabel(["low", "high"]), "speaker": None, "tags": None}
    return FakeDataset(rows, features)


def row(number: int, **changes: Any) -> dict[str, Any]:
    audio = {"bytes": tone(number, "FLAC" if number % 3 else "WAV"), "path": f"x/S{number} a.flac"}
    return {"audio": audio, "label": number % 2, "speaker": number // 3, "tags": ["t"], **changes}


def test_a_data_set_is_a_corpus_whose_bytes_are_written_once() -> None:
    data = made([row(number) for number in range(6)])
    corpus = marsbench.load_corpus(data)
    assert (corpus.labels, len(corpus.clips)) == (("high", "low"), 6)
    assert [clip.id for clip in corpus.clips[:2]] == ["audio/000000_S0-a.flac", "audio/000001_S1-a.flac"]
    assert corpus.speakers == ("0", "0", "0", "1", "1", "1")
    assert place_of(made([row(number) for number in range(6)])) == place_of(data)
    assert len(list((Path("home") / "tables").iterdir())) == 1


def test_splits_of_a_data_set_are_a_column() -> None:
    parts = {"train": made([row(0), row(1)]), "test": made([row(2), row(3)])}
    corpus = marsbench.load_corpus(parts)
    assert [clip.attributes["split"] for clip in corpus.clips] == ["train", "train", "test", "test"]


def test_files_of_a_data_set_stay_where_they_are_and_bytes_without_a_name_get_an_ending(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.wav").write_bytes(tone(1))
    there = {"bytes": None, "path": str(tmp_path / "own.wav")}
    table = table_of_dataset(made([row(0, audio={"bytes": tone(0), "path": None}), row(1, audio=there)]))
    lines = table.read_text("utf-8").splitlines()
    assert lines[1].startswith("audio/000000_clip.wav,low,0")
    assert lines[2].startswith(str(tmp_path / "own.wav"))


def test_a_data_set_of_the_hub_is_named_behind_hf_and_recorded_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    def load_dataset(source: str, **options: str) -> dict[str, FakeDataset]:
        asked.append((source, options))
        return {"train": made([row(number) for number in range(6)])}

    monkeypatch.setitem(sys.modules, "datasets", cast("Any", SimpleNamespace(load_dataset=load_dataset)))
    corpus = marsbench.load_corpus("hf:me/tones", revision="v1", map={"low": "l", "high": "h"})
    assert (corpus.name, corpus.labels, len(corpus.clips)) == ("me-tones", ("h", "l"), 6)
    assert asked == [("me/tones", {"revision": "v1"})]


def test_without_its_package_a_data_set_of_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", cast("Any", None))
    with pytest.raises(
        ConfigError, match=re.escape(f"hf needs the package 'datasets': {install_hint('hf')}")
    ):
        marsbench.load_corpus("hf:me/tones")
    with pytest.raises(ConfigError, match=r"Unknown dataset 'hfx:me/tones'"):
        marsbench.load_corpus("hfx:me/tones")


def test_a_data_set_without_one_column_of_audio_is_one_line() -> None:
    with pytest.raises(CorpusError, match="has 0 columns of audio, one is needed; columns: text"):
        table_of_dataset(FakeDataset([], {"text": None}))
