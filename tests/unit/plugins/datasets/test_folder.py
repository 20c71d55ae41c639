from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from marsbench.data.audio_validation import check_audio
from marsbench.errors import BenchError, ConfigError, CorpusError
from marsbench_plugins.datasets.folder import Folder

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Make files by their names (empty: no plugin opens audio) below a folder called 'My Clips'."""

    def make(*names: str, **tables: str) -> Path:
        for name in names:
            path = tmp_path / "My Clips" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        for stem, text in tables.items():
            (tmp_path / "My Clips").mkdir(exist_ok=True)
            (tmp_path / "My Clips" / f"{stem}.csv").write_bytes(text.encode())
        return tmp_path / "My Clips"

    return make


def table(tmp_path: Path, text: str | bytes, name: str = "clips.csv") -> str:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def ids(root: Path | str, **parameters: Any) -> list[str]:
    return [clip.id for clip in Folder(str(root), **parameters).load().clips]


# Folders of classes


def test_a_sub_folder_is_a_class_and_audio_at_any_depth_is_its_clips(tree: Tree) -> None:
    corpus = Folder(str(tree("sad/a.wav", "sad/x/y/b.FLAC", "happy/c.mp3"))).load()

    assert {clip.id: clip.label for clip in corpus.clips} == {
        "happy/c.mp3": "happy",
        "sad/a.wav": "sad",
        "sad/x/y/b.FLAC": "sad",
    }
    assert (corpus.name, corpus.labels, corpus.notes) == ("my-clips", ("happy", "sad"), ())


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (("surprised", "calm", "sad"), ("calm", "sad", "surprised")),
        (("sad", "Boredom", "calm"), ("Boredom", "calm", "sad")),
    ],
)
def test_classes_stand_in_the_canonical_order_or_else_sorted(
    tree: Tree, found: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert Folder(str(tree(*(f"{label}/a.wav" for label in found)))).load().labels == expected


def test_names_with_spaces_and_letters_of_all_kinds_are_kept(tree: Tree) -> None:
    root = tree("trübe Laune/clip één.wav", "喜び/音 1.wav")

    assert ids(root) == ["trübe Laune/clip één.wav", "喜び/音 1.wav"]


def test_decomposed_names_give_the_ids_of_composed_ones(tree: Tree) -> None:
    corpus = Folder(str(tree("tru\u0308be/e\u0301.wav", "calm/a.wav"))).load()

    assert ("tr\u00fcbe/\u00e9.wav", "tr\u00fcbe") in {(clip.id, clip.label) for clip in corpus.clips}
    assert "tr\u00fcbe" in corpus.labels


def test_hidden_files_and_folders_are_ignored(tree: Tree) -> None:
    corpus = Folder(str(tree("sad/a.wav", "calm/b.wav", "sad/._a.wav", ".git/c.wav", "sad/.x/d.wav"))).load()

    assert [clip.id for clip in corpus.clips] == ["calm/b.wav", "sad/a.wav"]
    assert corpus.notes == ()


def test_what_is_left_out_is_noted(tree: Tree) -> None:
    corpus = Folder(str(tree("sad/a.wav", "sad/a.txt", "calm/b.wav", "README", "c.wav", "docs/d.md"))).load()

    assert corpus.with_left_out().notes == (
        "sub-folders without audio left out: docs",
        "audio files left out that are in no class's folder: 1 (c.wav)",
        "files left out that are not audio: 3 (README, docs/d.md, sad/a.txt)",
    )


def test_of_many_files_left_out_the_first_are_named_and_how_to_see_all(tree: Tree) -> None:
    root = tree("sad/a.wav", "calm/b.wav", *(f"{number}.txt" for number in range(5)))
    corpus = Folder(str(root)).load()

    assert corpus.left_out == (("files left out that are not audio", tuple(f"{n}.txt" for n in range(5))),)
    assert corpus.with_left_out().notes == (
        "files left out that are not audio: 5 (0.txt, 1.txt, 2.txt, ...; bench data check lists all)",
    )


def test_a_folder_named_like_audio_is_a_clip_that_the_audio_check_reports(tree: Tree) -> None:
    root = tree("sad/x.wav/inner.wav", "calm/b.wav")
    for name in ("sad/good.wav", "calm/b.wav"):
        soundfile.write(root / name, np.sin(np.arange(8000) / 9), 8000)
    checked = check_audio(Folder(str(root)).load())

    assert [(bad.id, bad.reason) for bad in checked.bad] == [("sad/x.wav", "a folder, not a file")]
    assert [clip.id for clip in checked.clips] == ["calm/b.wav", "sad/good.wav"]


def test_linked_folders_are_followed(tree: Tree, tmp_path: Path) -> None:
    root = tree("sad/a.wav")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.wav").touch()
    (root / "calm").symlink_to(tmp_path / "elsewhere")

    assert ids(root) == ["calm/b.wav", "sad/a.wav"]


def test_a_link_that_leads_in_a_circle_is_named(tree: Tree) -> None:
    root = tree("sad/a.wav", "calm/b.wav")
    (root / "calm" / "again").symlink_to(root)

    with pytest.raises(CorpusError, match="calm/again/calm is a link to one of its own parent folders"):
        Folder(str(root)).load()


def test_a_link_to_itself_is_no_audio(tree: Tree) -> None:
    root = tree("sad/a.wav", "calm/b.wav")
    (root / "calm" / "me").symlink_to(root / "calm" / "me")

    assert ids(root) == ["calm/b.wav", "sad/a.wav"]


# Order of classes and speakers


def test_labels_fix_the_order_of_classes(tree: Tree) -> None:
    root = tree("sad/a.wav", "calm/b.wav", "happy/c.wav")

    assert Folder(str(root), labels=["sad", "happy", "calm"]).load().labels == ("sad", "happy", "calm")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["sad", "clam"], "no clip of class 'clam'. Did you mean 'calm'?"),
        (["sad", "sad", "calm"], "label 'sad' is listed twice"),
        (["sad"], "label 'calm' is not one of its classes"),
    ],
)
def test_labels_that_do_not_fit_the_clips_are_refused(tree: Tree, labels: list[str], message: str) -> None:
    with pytest.raises(CorpusError, match=message.replace("?", r"\?")):
        Folder(str(tree("sad/a.wav", "calm/b.wav")), labels=labels).load()


@pytest.mark.parametrize("pattern", [r"Actor_\d+", r"(Actor_\d+)/", r"calm/(.*)/|sad"])
def test_a_pattern_finds_the_speaker_in_the_id(tree: Tree, pattern: str) -> None:
    root = tree("calm/Actor_01/a.wav", "calm/Actor_02/b.wav", "sad/Actor_01/c.wav")
    speakers = [clip.speaker for clip in Folder(str(root), speaker=pattern).load().clips]

    assert speakers[:2] == ["Actor_01", "Actor_02"]


def test_clips_whose_speaker_the_pattern_misses_are_counted(tree: Tree) -> None:
    corpus = Folder(str(tree("calm/s1_a.wav", "sad/b.wav")), speaker=r"s\d").load()

    assert [clip.speaker for clip in corpus.clips] == ["s1", None]
    assert corpus.notes == ("clips without a speaker: 1, such as sad/b.wav",)


def test_a_pattern_that_finds_no_speaker_at_all_is_refused(tree: Tree) -> None:
    with pytest.raises(ConfigError, match=r"matches no clip id, such as 'calm/a.wav'"):
        Folder(str(tree("calm/a.wav", "sad/b.wav")), speaker="Actor").load()


def test_without_a_root_there_is_nothing_to_read() -> None:
    with pytest.raises(CorpusError, match="folder needs a folder or table to read: use --data PATH"):
        Folder().load()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"root": "x", "speaker": "(a"}, "is not a regular expression: missing"),
        ({"root": "x", "speaker": 3}, "folder.speaker = 3: text is needed$"),
        ({"root": "x", "labels": "sad"}, "a list such as"),
        ({"root": "x", "labels": [1, 2]}, "a list such as"),
        ({"root": "x", "labels": 3}, "not iterable"),
        ({"root": 3}, "folder.root = 3: text is needed"),
    ],
)
def test_a_parameter_without_a_meaning_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Folder.create(parameters)


# Folders with tables


def test_a_folder_with_one_table_and_its_audio_in_one_place_is_read_by_the_table(tree: Tree) -> None:
    corpus = Folder(
        str(tree("wavs/a.wav", "wavs/b.wav", meta="path,label\nwavs/a.wav,x\nwavs/b.wav,y\n"))
    ).load()

    assert [(clip.id, clip.label) for clip in corpus.clips] == [("wavs/a.wav", "x"), ("wavs/b.wav", "y")]
    assert (corpus.name, corpus.notes) == ("my-clips", ("read from the table meta.csv",))


def test_class_folders_go_before_a_table_that_is_then_named(tree: Tree) -> None:
    corpus = Folder(str(tree("sad/a.wav", "calm/b.wav", meta="path,label\nsad/a.wav,x\n"))).load()

    assert corpus.labels == ("calm", "sad")
    assert "table meta.csv not read; give it as root to read it" in corpus.notes


def test_a_speaker_column_goes_before_the_pattern(tmp_path: Path) -> None:
    text = "path,label,speaker\ns1.wav,sad,Ann\ns2.wav,calm,\n"
    clips = Folder(table(tmp_path, text), speaker=r"s\d").load().clips

    assert [clip.speaker for clip in clips] == ["Ann", "s2"]


# What is no corpus


def test_a_root_that_is_not_there_is_told_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nowhere does not exist; root must be the folder of your clips"):
        Folder(str(tmp_path / "nowhere")).load()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["sub/.keep"], "neither sub-folders of audio.* nor exactly one table"),
        (["a.wav", "b.wav"], "neither sub-folders of audio"),
        (["sad/a.txt", "calm/b.txt"], "neither sub-folders of audio"),
        (["other.csv"], "columns path and label .found: other.csv"),
        (["sad/a.wav"], "one class, 'sad'; at least two are needed"),
    ],
)
def test_a_folder_without_two_classes_is_refused(tree: Tree, files: list[str], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        Folder(str(tree(*files))).load()


def test_a_file_that_is_no_table_is_refused(tree: Tree) -> None:
    with pytest.raises(CorpusError, match=r"a.wav is neither a folder nor a table \(.csv, .tsv or .txt\)"):
        Folder(str(tree("a.wav") / "a.wav")).load()


def test_a_file_name_that_is_no_text_is_refused_by_name(tree: Tree) -> None:
    root = tree("sad/a.wav", "calm/b.wav")
    try:
        (root / "sad" / "x\udcff.wav").touch()
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 names only")

    with pytest.raises(BenchError, match=r"x\\udcff.wav' is not UTF-8; rename"):
        Folder(str(root)).load()


# Recognition


@pytest.mark.parametrize(
    ("files", "tables", "expected"),
    [
        (["sad/a.wav", "calm/x/b.ogg"], {}, True),
        (["sad/a.wav", "calm/b.txt"], {}, False),
        (["sad/a.wav"], {"t": "path,label\n"}, True),
        ([], {"t": "\ufefflabel,x,path\n"}, True),
        (["a.wav"], {"t": "file,emotion\na.wav,x\n"}, True),
        ([], {"t": "file,emotion\n"}, False),
        ([], {"t": "file,mood\n"}, False),
        ([], {"t": "path,label\n", "u": "path,label\n"}, False),
        (["a.wav"], {}, False),
    ],
)
def test_folders_of_classes_or_of_one_table_are_recognised(
    tree: Tree, files: list[str], tables: dict[str, str], expected: bool
) -> None:
    assert Folder.recognises(tree(*files, **tables)) is expected


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("t.csv", b"label,path\n", True),
        ("t.TSV", b"path\tlabel\tspeaker\r\n", True),
        ("t.csv", b"path;label\n", True),
        ("t.csv", b"pfad;label\n", False),
        ("t.csv", b"\xff\xfep\0a\0", False),
        ("t.csv", b"", False),
        ("t.txt", b"path,label\n", True),
        ("t.md", b"path,label\n", False),
    ],
)
def test_a_table_is_recognised_by_its_header(tmp_path: Path, name: str, data: bytes, expected: bool) -> None:
    assert Folder.recognises(Path(table(tmp_path, data, name))) is expected


def test_what_is_not_there_or_runs_in_a_circle_is_not_recognised(tree: Tree, tmp_path: Path) -> None:
    root = tree("docs/a.txt")
    (root / "docs" / "up").symlink_to(root)

    assert not Folder.recognises(root)
    assert not Folder.recognises(tmp_path / "nowhere")
