import json
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marsbench.atomic_files import home, read_checksummed, write_atomically, write_checksummed, write_text
from marsbench.errors import DamagedError
from marsbench.hashing import canonical_json, derived_seed, digest, is_jsonable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


OBJECTS = st.dictionaries(st.text(), JSON, min_size=1, max_size=4)


def fail_half_way(file: IO[bytes]) -> None:
    file.write(b"half of the new")
    raise KeyboardInterrupt


@pytest.mark.parametrize("before", [None, "old"])
def test_a_writer_that_fails_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, before: str | None
) -> None:
    path = tmp_path / "run.json"
    if before:
        path.write_text(before)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail_half_way)
    assert [file.read_text() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_the_old_content_stands_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    write_text(path, "old")

    def write(file: IO[bytes]) -> None:
        file.write(b"new")
        assert path.read_text() == "old"

    write_atomically(path, write)
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_written_may_be_read_by_others(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "für alle")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "file").read_bytes() == "für alle".encode()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=OBJECTS, indent=st.sampled_from([None, 1]))
def test_a_sealed_file_is_json_and_gives_back_what_was_sealed(
    tmp_path: Path, value: dict[str, Any], indent: int | None
) -> None:
    path = tmp_path / "sealed.json"
    write_checksummed(path, json.dumps(value, ensure_ascii=False, indent=indent))
    assert json.loads(read_checksummed(path)) == value
    (first, _), *others = json.loads(path.read_text("utf-8")).items()
    assert first == "sha256"
    assert others == list(value.items())


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=OBJECTS, place=st.integers(0), other=st.integers(1, 255))
def test_any_single_byte_that_differs_is_noticed(
    tmp_path: Path, value: dict[str, Any], place: int, other: int
) -> None:
    path = tmp_path / "sealed.json"
    write_checksummed(path, json.dumps(value))
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= other
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="its checksum does not match"):
        read_checksummed(path)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=OBJECTS, length=st.integers(0))
def test_a_file_that_was_cut_off_anywhere_is_noticed(
    tmp_path: Path, value: dict[str, Any], length: int
) -> None:
    path = tmp_path / "sealed.json"
    write_checksummed(path, json.dumps(value))
    content = path.read_bytes()
    path.write_bytes(content[: length % len(content)])
    with pytest.raises(DamagedError, match="its checksum does not match"):
        read_checksummed(path)


def test_a_file_without_a_seal_counts_as_damaged(tmp_path: Path) -> None:
    write_text(tmp_path / "older.json", '{"schema_version": 1}')
    with pytest.raises(DamagedError, match=r"older\.json is damaged"):
        read_checksummed(tmp_path / "older.json")


def test_home_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "here"))
    assert home() == tmp_path / "here"


def test_home_without_the_environment_is_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARSBENCH_HOME")
    assert home().is_absolute()
    assert "marsbench" in home().parts


@settings(max_examples=30, deadline=None)
@given(value=JSON)
def test_canonical_json_reads_back_and_is_one_line_of_ascii(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert "\n" not in text


@settings(max_examples=30, deadline=None)
@given(value=st.dictionaries(st.text(), JSON, min_size=2))
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@settings(max_examples=30, deadline=None)
@given(one=JSON, other=JSON)
def test_equal_digests_mean_equal_text(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (canonical_json(one) == canonical_json(other))


@given(seed=st.integers(), words=st.lists(st.text() | st.integers(), max_size=4))
def test_a_derived_seed_is_repeatable_and_in_range(seed: int, words: list[str | int]) -> None:
    assert derived_seed(seed, *words) == derived_seed(seed, *words)
    assert 0 <= derived_seed(seed, *words) < 2**31


def test_derived_seeds_differ_by_seed_and_by_each_word() -> None:
    seeds = {
        derived_seed(0),
        derived_seed(1),
        derived_seed(0, "a"),
        derived_seed(0, "a", 1),
        derived_seed(0, 1, "a"),
        derived_seed(0, "a", "1"),
    }
    assert len(seeds) == 6


@settings(max_examples=30, deadline=None)
@given(value=st.dictionaries(st.text(), JSON))
def test_what_survives_json_is_jsonable(value: dict[str, Any]) -> None:
    assert is_jsonable(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), (1, 2), {1: 2}, Path(), b"bytes", {1, 2}])
def test_what_json_would_change_or_refuse_is_not_jsonable(value: Any) -> None:
    assert not is_jsonable({"parameter": value})
