import os
from collections import Counter
from pathlib import Path
from zipfile import ZipFile

import pytest

from marsbench.atomic_files import home
from marsbench.data.corpus import Corpus
from marsbench.data.labels import EMOTIONS
from marsbench.errors import ConfigError, CorpusError
from marsbench_plugins.datasets.ravdess import Ravdess

SPEECH = [f"03-01-0{emotion}-01-01-01-{actor:02}" for emotion in range(1, 9) for actor in (1, 12)]
SONG = [f"03-02-0{emotion}-01-02-01-{actor:02}" for emotion in range(1, 7) for actor in (1, 12)]
ZIPS = {"Audio_Speech_Actors_01-24.zip": SPEECH, "Audio_Song_Actors_01-24.zip": SONG}


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def lay_out(root: Path, speech: str, song: str, suffix: str = ".wav") -> Path:
    """Empty files in Actor_XX folders below two folders of `root`."""
    for folder, names in ((speech, SPEECH), (song, SONG)):
        for name in names:
            touch(root / folder / f"Actor_{name[-2:]}" / f"{name}{suffix}")
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "ravdess", "speech", "song")


@pytest.fixture
def zips(tmp_path: Path) -> Path:
    root = tmp_path / "zips"
    root.mkdir()
    for file_name, names in ZIPS.items():
        with ZipFile(root / file_name, "w") as archive:
            for name in names:
                archive.writestr(f"Actor_{name[-2:]}/{name}.wav", name)
    return root


def table(corpus: Corpus) -> list[tuple[object, ...]]:
    """Everything but where the files lie."""
    return [(clip.id, clip.label, clip.speaker, clip.attributes) for clip in corpus.clips]


def test_a_name_tells_all_there_is_to_know_of_a_clip(tmp_path: Path) -> None:
    touch(tmp_path / "03-01-06-01-02-01-12.wav")
    touch(tmp_path / "03-02-05-02-01-02-03.wav")
    speech, song = Ravdess(str(tmp_path)).load().clips
    assert (speech.id, speech.label) == ("speech/Actor_12/03-01-06-01-02-01-12", "fearful")
    assert (song.id, song.label) == ("song/Actor_03/03-02-05-02-01-02-03", "angry")
    assert speech.attributes == {
        "channel": "speech",
        "intensity": "normal",
        "statement": "dogs",
        "repetition": "1",
        "sex": "female",
    }
    assert song.attributes == {
        "channel": "song",
        "intensity": "strong",
        "statement": "kids",
        "repetition": "2",
        "sex": "male",
    }
    assert (speech.speaker, song.speaker) == ("Actor_12", "Actor_03")


@pytest.mark.parametrize(
    ("channels", "name", "labels", "count"),
    [
        ("both", "ravdess", EMOTIONS, 28),
        ("speech", "ravdess-speech", EMOTIONS, 16),
        ("song", "ravdess-song", EMOTIONS[:6], 12),
    ],
)
def test_channels_choose_the_clips_and_the_classes(
    tree: Path, channels: str, name: str, labels: tuple[str, ...], count: int
) -> None:
    corpus = Ravdess.create({"root": str(tree), "channels": channels}).load()
    assert (corpus.name, corpus.labels, len(corpus.clips)) == (name, labels, count)
    assert corpus.licence == "CC BY-NC-SA 4.0"
    assert not corpus.synthetic


def test_other_channels_are_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"ravdess: Unknown channels 'sing'. Did you mean 'song'"):
        Ravdess.create({"channels": "sing"})


@pytest.mark.parametrize(
    ("speech", "song", "suffix"),
    [
        ("Audio_Speech_Actors_01-24", "Audio_Song_Actors_01-24", ".wav"),
        (".", ".", ".wav"),
        ("a/b/c/speech", "song", ".FLAC"),
    ],
)
def test_the_layout_of_the_folder_changes_nothing(
    tree: Path, tmp_path: Path, speech: str, song: str, suffix: str
) -> None:
    other = lay_out(tmp_path / "other", speech, song, suffix)
    assert table(Ravdess(str(other)).load()) == table(Ravdess(str(tree)).load())


def test_a_tree_nested_in_itself_is_read_once_and_noted(tree: Path) -> None:
    before = Ravdess(str(tree)).load()
    lay_out(tree, "again/speech", "again/song")
    corpus = Ravdess(str(tree)).load()
    assert corpus.clips == before.clips
    ((what, names),) = corpus.left_out
    assert (what, len(names)) == ("files left out that have another one's clip name", 28)
    assert all(name.startswith("again/") for name in names)


def test_a_link_back_to_the_top_is_followed_once(tree: Path) -> None:
    before = Ravdess(str(tree)).load()
    (tree / "speech" / "back").symlink_to(tree)
    assert Ravdess(str(tree)).load() == before


def test_a_channel_behind_a_link_is_found(tree: Path, tmp_path: Path) -> None:
    (tree / "song").rename(tmp_path / "elsewhere")
    (tree / "song").symlink_to(tmp_path / "elsewhere")
    assert len(Ravdess(str(tree)).load().clips) == 28


@pytest.mark.parametrize(
    "name",
    [
        "01-01-01-01-01-01-01.wav",  # full audio-visual
        "03-03-01-01-01-01-01.wav",
        "03-01-09-01-01-01-01.wav",
        "03-01-00-01-01-01-01.wav",
        "03-01-01-03-01-01-01.wav",
        "03-01-01-01-01-01-25.wav",
        "03-01-01-01-01-01.wav",
        "03-01-01-01-01-01-01 (1).wav",
        "happy.flac",
    ],
)
def test_audio_by_any_other_name_is_left_out_and_noted(tree: Path, name: str) -> None:
    touch(tree / name)
    corpus = Ravdess(str(tree)).load()
    assert len(corpus.clips) == 28
    assert corpus.left_out == (("audio files left out that are not named like RAVDESS clips", (name,)),)


def test_an_incomplete_corpus_is_noted_by_channel(tree: Path) -> None:
    assert Ravdess(str(tree)).load().notes == (
        "28 clips found, 2,452 were published (speech 16 of 1,440, song 12 of 1,012)",
    )
    assert Ravdess(str(tree), "song").load().notes == (
        "12 clips found, 1,012 were published (song 12 of 1,012)",
    )


def test_the_published_zips_are_unpacked_once_and_read(zips: Path, tree: Path) -> None:
    first = Ravdess(str(zips)).load()
    assert table(first) == table(Ravdess(str(tree)).load())
    assert {clip.path.read_text() for clip in first.clips} == {*SPEECH, *SONG}
    made = [clip.path.stat().st_ino for clip in first.clips]
    assert [clip.path.stat().st_ino for clip in Ravdess(str(zips)).load().clips] == made
    assert sorted(path.name for path in zips.iterdir()) == sorted(ZIPS)


def test_a_single_zip_is_read_by_its_own_path(zips: Path) -> None:
    corpus = Ravdess(str(zips / "Audio_Song_Actors_01-24.zip")).load()
    assert {clip.attributes["channel"] for clip in corpus.clips} == {"song"}
    assert len(corpus.clips) == 12


def test_a_changed_zip_is_unpacked_anew(zips: Path) -> None:
    Ravdess(str(zips)).load()
    with ZipFile(zips / "Audio_Song_Actors_01-24.zip", "a") as archive:
        archive.writestr("Actor_05/03-02-01-01-01-01-05.wav", "new")
    assert len(Ravdess(str(zips)).load().clips) == 29


def test_clips_beside_zips_are_preferred(tree: Path) -> None:
    (tree / "Audio_Song_Actors_01-24.zip").write_bytes(b"not even a zip")
    assert len(Ravdess(str(tree)).load().clips) == 28


def test_without_a_root_it_is_read_where_fetching_puts_it() -> None:
    lay_out(home() / "data" / "ravdess", *(archive.folder for archive in Ravdess.archives))
    assert len(Ravdess().load().clips) == 28


@pytest.mark.parametrize("root", ["", "nowhere", "."])
def test_where_nothing_is_the_way_to_get_it_is_told(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match=r"no RAVDESS clips in .*`bench data fetch ravdess`.*`--data PATH`"):
        Ravdess(root).load()


def test_a_corpus_without_the_wanted_channel_is_named_so(tmp_path: Path) -> None:
    touch(tmp_path / "03-01-01-01-01-01-01.wav")
    with pytest.raises(CorpusError, match="no RAVDESS song clips in"):
        Ravdess(str(tmp_path), "song").load()


def test_its_folders_and_zips_are_recognised(tree: Path, zips: Path) -> None:
    assert Ravdess.recognises(tree)
    assert Ravdess.recognises(tree.parent)
    assert Ravdess.recognises(zips)
    assert Ravdess.recognises(zips / "Audio_Song_Actors_01-24.zip")


def test_it_is_recognised_beside_a_manifest_of_other_files(tree: Path) -> None:
    (tree / "MANIFEST.csv").write_text("file,emotion\n03-01-01-01-01-01-01.flac.orig,1\n", "utf-8")
    assert Ravdess.recognises(tree)


@pytest.mark.parametrize("name", ["happy/01.wav", "clips.zip", "01-01-01-01-01-01-01.wav", "readme.txt"])
def test_others_are_not_recognised(name: str, tmp_path: Path) -> None:
    touch(tmp_path / "other" / name)
    assert not Ravdess.recognises(tmp_path / "other")
    assert not Ravdess.recognises(tmp_path / "other" / name)
    assert not Ravdess.recognises(tmp_path / "nowhere")


def test_the_real_corpus_has_the_published_counts() -> None:
    if "MARSBENCH_RAVDESS" not in os.environ:
        pytest.skip("MARSBENCH_RAVDESS names no folder with RAVDESS")
    corpus = Ravdess(os.environ["MARSBENCH_RAVDESS"]).load()
    assert corpus.notes == ()
    counts = Counter((clip.attributes["channel"], clip.label) for clip in corpus.clips)
    speech = {("speech", emotion): 192 for emotion in EMOTIONS} | {("speech", "neutral"): 96}
    song = {("song", emotion): 184 for emotion in EMOTIONS[:6]} | {("song", "neutral"): 92}
    assert counts == speech | song
    assert len({clip.speaker for clip in corpus.clips}) == 24
