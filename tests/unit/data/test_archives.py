import io
import shutil
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marsbench.data import download
from marsbench.data.download import is_unpacked, unpack
from marsbench.errors import FetchError
from marsbench.progress import Advance, Silent

FILES = {"Actor_01/a.wav": b"one", "Actor_01/b.wav": b"two" * 1000, "Actor_02/a.wav": b"three", "c": b""}


def entry(name: str, mode: int = stat.S_IFREG | 0o644, method: int = ZIP_DEFLATED) -> ZipInfo:
    info = ZipInfo("placeholder")
    info.filename = name  # the constructor would cut a NUL and turn separators
    info.external_attr, info.compress_type = mode << 16, method
    return info


def zipped(*entries: tuple[ZipInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with ZipFile(stream, "w") as archive:
        for info, data in entries:
            archive.writestr(info, data, info.compress_type)
    return stream.getvalue()


GOOD = zipped((entry("Actor_01/", stat.S_IFDIR), b""), *((entry(name), data) for name, data in FILES.items()))


def encrypted(data: bytes) -> bytes:
    """Set the flag in the local and in the central header."""
    local, central = data.index(b"PK\3\4"), data.index(b"PK\1\2")
    flagged = bytearray(data)
    flagged[local + 6] |= 1
    flagged[central + 8] |= 1
    return bytes(flagged)


def declaring(size: int, data: bytes) -> bytes:
    """State another unpacked size in the local and in the central header."""
    changed = bytearray(data)
    struct.pack_into("<I", changed, data.index(b"PK\3\4") + 22, size)
    struct.pack_into("<I", changed, data.index(b"PK\1\2") + 24, size)
    return bytes(changed)


def pair(one: str, other: str) -> bytes:
    return zipped((entry(one), b"1"), (entry(other), b"2"))


def lone(name: str, mode: int = stat.S_IFREG | 0o644) -> bytes:
    return zipped((entry("first"), b"harmless"), (entry(name, mode), b"harm"))


HOSTILE = {
    "absolute path": (lone("/etc/passwd"), "'/etc/passwd' has an absolute path"),
    "parent": (lone("../out.wav"), "'../out.wav' has a path with an empty, '.' or '..' part"),
    "parent within": (lone("a/../../out.wav"), "has a path with an empty, '.' or '..' part"),
    "parent as folder": (lone("../"), "has a path with an empty, '.' or '..' part"),
    "dot": (lone("./a.wav"), "has a path with an empty, '.' or '..' part"),
    "empty part": (lone("a//b.wav"), "has a path with an empty, '.' or '..' part"),
    "drive letter": (lone("C:out.wav"), "colon"),
    "drive letter and slash": (lone("C:/out.wav"), "colon"),
    "backslash": (lone("..\\out.wav"), "backslash"),
    "NUL": (lone("a.wav\0.txt"), "NUL"),
    "link": (lone("a", stat.S_IFLNK | 0o777), "'a' is a link or a special file"),
    "pipe": (lone("a", stat.S_IFIFO | 0o644), "is a link or a special file"),
    "device": (lone("a", stat.S_IFBLK | 0o644), "is a link or a special file"),
    "socket": (lone("a", stat.S_IFSOCK | 0o644), "is a link or a special file"),
    "encrypted": (encrypted(zipped((entry("a"), b"secret"))), "'a' is encrypted"),
    "other method": (zipped((entry("a", method=ZIP_BZIP2), b"x")), "has compression method 12"),
    "twice, other case": (pair("Actor_01/A.wav", "actor_01/a.WAV"), "'actor_01/a.WAV' is listed twice"),
    "twice, other form": (pair("\u00e9.wav", "e\u0301.wav"), "is listed twice"),
    "file and folder": (pair("a", "a/b"), "'a' is both a file and a folder"),
    "folder and file": (pair("A/b", "a"), "'a' is both a file and a folder"),
    "a listing of its own": (lone(".unpacked.json"), "is listed twice"),
    "bomb": (zipped((entry("a"), bytes(20 << 20))), "its unpacked size is 20,971,520 bytes, the limit"),
    "bomb that declares less": (
        declaring(1000, zipped((entry("a"), bytes(20 << 20)))),
        "not a usable zip archive",
    ),
    "a size that is not there": (
        declaring(1000, zipped((entry("a"), b"short"))),
        "'a' has another size than it declares",
    ),
    "changed content": (
        zipped((entry("a", method=ZIP_STORED), b"xxx")).replace(b"xxx", b"yyy"),
        "Bad CRC-32",
    ),
    "cut off": (GOOD[: len(GOOD) // 2], "clips.zip is not a usable zip archive: File is not a zip file"),
    "empty": (b"", "not a usable zip archive"),
    "text": (b"<html>Log in first</html>", "not a usable zip archive"),
    "a name too long": (lone("a" * 300), "cannot be unpacked: File name too long"),
}


@pytest.fixture
def zip_path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "clips.zip"
    path.write_bytes(GOOD)
    return path


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".unpacked.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_an_archive_is_unpacked_whole(zip_path: Path) -> None:
    folder = zip_path.parent / "deep" / "speech"
    assert not is_unpacked(folder)
    unpack(zip_path, folder, Silent())
    assert content(folder) == FILES
    assert is_unpacked(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["speech"]


@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_or_broken_archive_is_refused_and_leaves_nothing(
    data: bytes, message: str, zip_path: Path
) -> None:
    zip_path.write_bytes(data)
    with pytest.raises(FetchError, match=message.replace("(", r"\(")) as caught:
        unpack(zip_path, zip_path.parent / "speech", Silent())
    assert "\n" not in str(caught.value)
    assert list(zip_path.parent.iterdir()) == [zip_path]
    assert list(zip_path.parent.parent.glob("*")) == [zip_path.parent]


def test_too_many_entries_are_refused(zip_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_ENTRIES", 4)
    with pytest.raises(FetchError, match="5 entries, the limit is 4"):
        unpack(zip_path, zip_path.parent / "speech", Silent())


def test_what_packs_very_well_is_accepted_while_it_is_small(zip_path: Path) -> None:
    zip_path.write_bytes(zipped((entry("silence.wav"), bytes(10 << 20))))
    unpack(zip_path, zip_path.parent / "speech", Silent())
    assert content(zip_path.parent / "speech") == {"silence.wav": bytes(10 << 20)}


class Interrupting(Silent):
    @contextmanager
    def track(self, label: str, total: int, *, passing: bool = False) -> Iterator[Advance]:  # noqa: ARG002 - only bytes count
        def advance(steps: int) -> None:
            if steps == 3000:
                raise KeyboardInterrupt

        yield advance


def test_an_interrupted_unpacking_leaves_nothing_and_is_done_again(zip_path: Path) -> None:
    folder = zip_path.parent / "speech"
    with pytest.raises(KeyboardInterrupt):
        unpack(zip_path, folder, Interrupting())
    assert list(zip_path.parent.iterdir()) == [zip_path]
    unpack(zip_path, folder, Silent())
    assert content(folder) == FILES


def test_what_is_unpacked_is_left_alone_even_without_its_archive(zip_path: Path) -> None:
    folder = zip_path.parent / "speech"
    unpack(zip_path, folder, Silent())
    before = (folder / "c").stat().st_ino
    zip_path.unlink()
    unpack(zip_path, folder, Silent())
    assert (folder / "c").stat().st_ino == before


def lose(folder: Path) -> None:
    (folder / "c").unlink()


def cut(folder: Path) -> None:
    (folder / "Actor_01" / "b.wav").write_bytes(b"tw")


def lose_listing(folder: Path) -> None:
    (folder / ".unpacked.json").unlink()


def damage_listing(folder: Path) -> None:
    (folder / ".unpacked.json").write_text("[1]")


@pytest.mark.parametrize("damage", [lose, cut, lose_listing, damage_listing])
def test_a_folder_that_is_not_whole_is_refused_and_not_touched(
    damage: Callable[[Path], None], zip_path: Path
) -> None:
    folder = zip_path.parent / "speech"
    unpack(zip_path, folder, Silent())
    damage(folder)
    before = content(folder)
    with pytest.raises(FetchError, match="speech is not a complete unpacked archive; move or remove it"):
        unpack(zip_path, folder, Silent())
    assert content(folder) == before


def test_too_little_space_is_named_before_anything_is_written(
    zip_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=3007))
    with pytest.raises(FetchError, match="3,008 bytes needed, 3,007 free; make room"):
        unpack(zip_path, zip_path.parent / "speech", Silent())
    assert list(zip_path.parent.iterdir()) == [zip_path]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    length=st.just(len(GOOD)) | st.integers(0, len(GOOD)),
)
def test_a_damaged_archive_never_does_anything_but_unpack_or_be_refused(
    changes: list[tuple[int, int]], length: int, zip_path: Path
) -> None:
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    zip_path.write_bytes(data[:length])
    folder = zip_path.parent / "speech"
    try:
        unpack(zip_path, folder, Silent())
    except FetchError:
        assert list(zip_path.parent.iterdir()) == [zip_path]
    shutil.rmtree(folder, ignore_errors=True)
