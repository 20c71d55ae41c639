import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import BenchError, ConfigError
from marsbench.protocols import protocol_file
from marsbench.protocols.apply import apply_protocol, find_protocol
from marsbench.protocols.protocol_file import ProtocolFile, read_protocol_file, write_protocol_file

Make = Callable[..., CheckedCorpus]
Write = Callable[..., str]
FOLDS = [["s0"], ["s1"]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("own.toml", 'name = "own"\nby = "speaker"\nfolds = [["s0"], ["s1"]]\n'),
        ("own.json", '{"name": "own", "by": "speaker", "folds": [["s0"], ["s1"]]}'),
        ("OWN.JSON", '\ufeff{"name": "own", "by": "speaker", "folds": [["s0"], ["s1"]]}'),
    ],
)
def test_a_file_is_toml_or_json_by_its_suffix(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    expected = ProtocolFile(name="own", by="speaker", folds=(("s0",), ("s1",)))
    assert read_protocol_file(tmp_path / name) == expected
    assert find_protocol(str(tmp_path / name)).by_speaker


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fold": FOLDS}, "Unknown key 'fold'. Did you mean 'folds'?"),
        ({"folds": FOLDS, "corpus": {"nam": "x"}}, "Unknown key 'nam'. Did you mean 'name'?"),
        ({}, "'folds' is missing"),
        ({"folds": FOLDS, "name": "My Own"}, "not valid as a folder name; use 'my-own'"),
        ({"folds": FOLDS, "name": "../up"}, "not valid as a folder name; use 'up'"),
        ({"folds": FOLDS, "name": "a" * 200}, f"use '{'a' * 80}'"),
        ({"folds": FOLDS, "name": ""}, "not valid as a folder name; use 'protocol'"),
        ({"folds": []}, "folds = []: tuple should have at least 1 item"),
        ({"folds": [["s0"], []]}, "fold 2 is empty"),
        ({"folds": [[1]]}, "folds.0.0 = 1: should be a valid string"),
        ({"folds": "s0"}, "folds = 's0': should be a valid tuple"),
        (
            {"folds": [["s0"], ["s1", "s0"]]},
            "'s0' is listed in fold 1 and fold 2; a value may be listed once",
        ),
        ({"folds": [["s0", "s0"]]}, "'s0' is listed in fold 1 twice"),
        ({"folds": 5}, "folds = 5: should be a valid tuple"),
        ({"folds": 5, "together": ["speaker"]}, "folds = 5: should be a valid tuple"),
        (
            {"folds": FOLDS, "together": ["statement"], "by_speaker": True},
            "by_speaker = true keeps speakers together, and 'together' names something else",
        ),
        ({"folds": FOLDS, "never_tested": ["s1"]}, "'s1' is listed in fold 2 and never_tested"),
        ({"folds": FOLDS, "by_speaker": "yes"}, "by_speaker = 'yes': should be a valid boolean"),
        ({"folds": FOLDS, "description": "\x1b[2Jgone"}, "one line of at most 500 characters is needed"),
        ({"folds": FOLDS, "source": "a\nb"}, "one line of at most 500 characters is needed"),
        ({"folds": FOLDS, "\x1b[2J": 1}, "Unknown key '\\x1b[2J'"),
        (
            {"folds": FOLDS, "hash": "0"},
            "to use it anyway, remove its key 'hash'",
        ),
        ({"folds": [["x" * 1000, "x" * 1000]]}, "is listed in fold 1 twice"),
        ({"folds": {"x" * 1000: 1}}, "should be a valid tuple"),
        ({"folds": FOLDS, "name": "\ud800"}, "name = '\\ud800'"),
        ({"folds": FOLDS, "\ud800": 1}, "a key = '\\ud800'"),
    ],
)
def test_a_wrong_file_is_one_short_line(write: Write, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        find_protocol(write(**values))
    line = str(error.value)
    assert message in line
    assert line.isprintable()
    assert len(line) < 600


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"together": ["speaker"], "folds": FOLDS}, "folds = [['s0'], ['s1']]: should be a valid integer"),
        ({"together": ["speaker"], "folds": 1}, "folds = 1: should be greater than or equal to 2"),
        ({"together": ["speaker"]}, "'folds' is missing"),
        ({"together": [], "folds": 5}, "together = []: tuple should have at least 1 item"),
        ({"together": "speaker", "folds": 5}, "together = 'speaker': should be a valid tuple"),
    ],
)
def test_a_wrong_file_of_groups_is_one_line(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    (tmp_path / "own.json").write_text(json.dumps({"name": "own"} | values))
    with pytest.raises(ConfigError) as error:
        find_protocol(str(tmp_path / "own.json"))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("own.json", b"{", "is not valid JSON"),
        ("own.toml", b"name = ", "is not valid TOML"),
        ("own.json", b"\xff\xfe", "is not valid JSON"),
        ("own.json", b"[]", "has no keys"),
        ("own.json", b"[" * 100_000, "nested too deeply"),
        ("own.json", b'{"folds":' * 50_000, "nested too deeply"),
        ("own.toml", b"a = " + b"[" * 100_000, "nested too deeply"),
        ("own.json", b'{"folds": ' + b"[" * 500 + b"]" * 500 + b"}", "valid string"),
        ("own.json", b'{"name": ' + b"9" * 10_000 + b"}", "is not valid JSON"),
        ("own.json", b" " * 2_001, "larger than"),
        ("own.json", b"{" + b",".join(b'"%d": 1' % n for n in range(101)) + b"}", "of more than 100 keys"),
        ("own.json", b'{"only": {' + b",".join(b'"%d": 1' % n for n in range(101)) + b"}}", "more than 100"),
    ],
)
def test_a_hostile_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, message: str
) -> None:
    if "larger" in message:
        monkeypatch.setattr(protocol_file, "_MAX_BYTES", 2_000)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        find_protocol(str(tmp_path / name))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gone.toml", "protocol gone.toml cannot be read: No such file or directory"),
        ("folder.json", "folder.json is not a file"),
        ("\0.json", "cannot be read"),
        ("speakers5", "Did you mean 'speaker5'?"),
    ],
)
def test_what_cannot_be_found_is_told(word: str, message: str) -> None:
    Path("folder.json").mkdir()
    with pytest.raises(ConfigError) as error:
        find_protocol(word)
    assert message in str(error.value)


def test_a_million_wrong_values_are_one_problem(write: Write) -> None:
    path = Path(write(folds=[[1] * 50_000] * 20))
    with pytest.raises(ConfigError) as error:
        read_protocol_file(path)
    assert isinstance(error.value.__cause__, ValidationError)
    assert error.value.__cause__.error_count() < 3


def test_a_description_may_have_any_letters_and_spaces(write: Write) -> None:
    said = "à part\u00a0: 話者"
    assert find_protocol(write(folds=FOLDS, description=said)).description == said


@settings(max_examples=25, deadline=None)
@given(
    sides=st.lists(st.integers(-2, 3), min_size=24, max_size=24),
    duplicates=st.tuples(st.integers(0, 23), st.integers(0, 23)),
)
def test_what_is_written_is_read_as_the_same_protocol(
    corpus: Make, tmp_path_factory: pytest.TempPathFactory, sides: list[int], duplicates: tuple[int, int]
) -> None:
    made = corpus(n_speakers=2, duplicates=[duplicates])
    ids = np.array([clip.id for clip in made.clips])
    lists = [ids[np.array(sides) == fold].tolist() for fold in range(-1, 4)]
    folder = tmp_path_factory.mktemp("files")
    values = {"name": "own", "by": "clip", "folds": [fold for fold in lists[1:] if fold]}
    (folder / "a.json").write_text(json.dumps(values | {"never_tested": lists[0]}))
    try:
        first = apply_protocol(str(folder / "a.json"), made)
    except BenchError:
        return  # too few folds, clips or classes
    write_protocol_file(folder / "b.json", first, made)
    second = apply_protocol(str(folder / "b.json"), made)
    assert (second.hash, second.leakage, second.notes) == (first.hash, first.leakage, first.notes)


def test_a_file_that_was_changed_after_it_was_written_says_so(corpus: Make, tmp_path: Path) -> None:
    made, path = corpus(), tmp_path / "loso.json"
    write_protocol_file(path, apply_protocol("loso", made), made)
    values = json.loads(path.read_text())
    values["folds"][0].pop()
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="changed after it was written"):
        find_protocol(str(path))
    del values["hash"]
    path.write_text(json.dumps(values | {"name": "own"}))
    assert len(apply_protocol(str(path), made).folds) == 6


def test_labels_and_names_of_any_kind_are_written(of_clips: Make, tmp_path: Path) -> None:
    labels = ("b\u00fc 'x'", "\u732b\\")
    clips = [Clip(f'"\U0001f600 {n:02}', Path(), labels[n % 2], f"s{n % 3}") for n in range(20)]
    made, path = of_clips(clips, labels), tmp_path / "own.json"
    write_protocol_file(path, applied := apply_protocol("stratified5", made), made)
    assert apply_protocol(str(path), made).hash == applied.hash


def test_splits_are_written_as_json_alone(corpus: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name a file that ends in \.json, not 'own\.toml'"):
        write_protocol_file(tmp_path / "own.toml", apply_protocol("loso", corpus()), corpus())
