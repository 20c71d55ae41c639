"""Which folders are the classes: recognised, or refused with both readings."""

import re
from pathlib import Path

import pytest

from marsbench.data.corpus import Corpus
from marsbench.data.corpus_options import Reading
from marsbench.errors import ConfigError, CorpusError
from marsbench.planning.plans import listed_corpus, resolve_dataset
from marsbench.plugin.registry import discover, drop_in_folders
from marsbench_plugins.datasets.folder import Folder
from marsbench_plugins.datasets.ravdess import Ravdess

ANN_AND_BOB = ["Ann/left/a.wav", "Ann/right/b.wav", "Bob/left/c.wav", "Bob/right/d.wav"]


def make(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def dataset_of(path: Path) -> str:
    return resolve_dataset(discover(drop_in_folders(())), str(path))[0].name


def facts(corpus: Corpus) -> set[tuple[str, str | None, str | None]]:
    return {(clip.label, clip.speaker, clip.attributes.get("split")) for clip in corpus.clips}


@pytest.mark.parametrize(
    ("names", "expected", "note"),
    [
        (
            ["train/happy/a.wav", "train/sad/b.wav", "test/happy/c.wav", "test/sad/d.wav"],
            {
                ("happy", None, "train"),
                ("sad", None, "train"),
                ("happy", None, "test"),
                ("sad", None, "test"),
            },
            "split/class",
        ),
        (
            ["Train/hot/a.wav", "Train/cold/b.wav", "dev-set/hot/c.wav"],
            {("hot", None, "train"), ("cold", None, "train"), ("hot", None, "dev-set")},
            "split/class",
        ),
        (
            ["hot/train/a.wav", "hot/test/b.wav", "cold/train/c.wav"],
            {("hot", None, "train"), ("hot", None, "test"), ("cold", None, "train")},
            "class/split",
        ),
        (
            ["s01/happy/a.wav", "s01/sad/b.wav", "s02/happy/c.wav"],
            {("happy", "s01", None), ("sad", "s01", None), ("happy", "s02", None)},
            "speaker/class",
        ),
        (
            ["0011/Angry/train/a.wav", "0011/Neutral/test/b.wav", "0012/Angry/train/c.wav"],
            {("Angry", "0011", "train"), ("Neutral", "0011", "test"), ("Angry", "0012", "train")},
            "speaker/class/split",
        ),
        (
            ["train/Actor_1/01_wut/a.wav", "test/Actor_2/02_freude/b.wav"],
            {("01_wut", "Actor_1", "train"), ("02_freude", "Actor_2", "test")},
            "split/speaker/class",
        ),
    ],
)
def test_splits_and_speakers_above_or_below_the_classes_are_recognised(
    tmp_path: Path, names: list[str], expected: set[tuple[str, str | None, str | None]], note: str
) -> None:
    corpus = Folder(str(make(tmp_path, names))).load()

    assert facts(corpus) == expected
    assert f"folders are read as {note}" in corpus.notes


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["hot/a.wav", "cold/b.wav", "test/c.wav"], ("cold", "hot", "test")),
        (["1/a.wav", "2/b.wav"], ("1", "2")),
        (["hot/s1/a.wav", "hot/s2/b.wav", "cold/s1/c.wav", "cold/s2/d.wav"], ("cold", "hot")),
        (["happy/Ann/a.wav", "happy/Bob/b.wav", "sad/Ann/c.wav", "sad/Bob/d.wav"], ("happy", "sad")),
        (["female/03-01-03-01-01-01-02.wav", "male/03-01-04-01-01-01-01.wav"], ("female", "male")),
    ],
)
def test_folders_that_can_only_be_classes_stay_classes(
    tmp_path: Path, names: list[str], labels: tuple[str, ...]
) -> None:
    corpus = Folder(str(make(tmp_path, names))).load()

    assert (corpus.labels, corpus.notes) == (labels, ())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ANN_AND_BOB,
            "layout=class they are Ann, Bob; with --set folder.layout=speaker/class .* left, right",
        ),
        (["men/happy/a.wav", "men/sad/b.wav", "women/sad/c.wav"], "layout=speaker/class .* are happy, sad"),
        (["train/a.wav", "test/b.wav"], "folders test, train are named like a split and not like classes"),
        (
            ["positive/happy/a.wav", "positive/calm/b.wav", "negative/sad/c.wav"],
            "layout=class they are negative, positive; .* are calm, happy, sad",
        ),
        (["a-W.wav", "b-F.wav"], r"; if names such as a-W\.wav tell the class: --label REGEX$"),
        (["Actor_01/a.wav", "Actor_02/b.wav", "more/c.wav"], "are named like speakers and not like classes"),
    ],
)
def test_folders_with_two_readings_are_refused_with_the_option(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        Folder(str(make(tmp_path, names))).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("class", {("Ann", None, None), ("Bob", None, None)}),
        (
            "speaker/class",
            {(side, name, None) for side in ("left", "right") for name in ("Ann", "Bob")},
        ),
        ("*/class", {("left", None, None), ("right", None, None)}),
    ],
)
def test_the_layout_chooses(
    tmp_path: Path, layout: str, expected: set[tuple[str, str | None, str | None]]
) -> None:
    assert facts(Folder(str(make(tmp_path, ANN_AND_BOB)), layout=layout).load()) == expected


def labelled(root: Path, pattern: str, **parameters: str) -> Corpus:
    entry = discover(drop_in_folders(())).get("datasets", "folder")
    return listed_corpus(entry, {"root": str(root), **parameters}, Reading(label=pattern))


@pytest.mark.parametrize(
    ("names", "pattern", "expected"),
    [
        (["1-W.wav", "2-F.wav"], r"-(\w)\.", {("W", None, None), ("F", None, None)}),
        (
            ["W.wav", "a/F.wav", "a/b/c/N.wav"],
            r"(\w)\.",
            {("W", None, None), ("F", None, None), ("N", None, None)},
        ),
        (
            ["train/Actor_1/x-W.wav", "test/Actor_2/x-F.wav"],
            r"-(\w)\.",
            {("W", "Actor_1", "train"), ("F", "Actor_2", "test")},
        ),
        (["Ann/left/a.wav", "Bob/right/d.wav"], "/([^/]+)/", {("left", None, None), ("right", None, None)}),
        (["happy/1.wav", "sad/2.wav"], r"(\d)\.", {("1", None, None), ("2", None, None)}),
    ],
)
def test_with_an_expression_for_the_class_audio_may_lie_in_any_folders(
    tmp_path: Path, names: list[str], pattern: str, expected: set[tuple[str, str | None, str | None]]
) -> None:
    corpus = labelled(make(tmp_path, names), pattern)
    assert facts(corpus) == expected
    assert {clip.id for clip in corpus.clips} == set(names)


def test_with_an_expression_for_the_class_a_layout_names_the_other_levels(tmp_path: Path) -> None:
    corpus = labelled(make(tmp_path, ANN_AND_BOB), "(left|right)", layout="speaker/class")
    assert facts(corpus) == {(side, name, None) for side in ("left", "right") for name in ("Ann", "Bob")}


def test_an_expression_that_misses_some_audio_is_refused_with_how_many_and_which(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--label .* finds a label in 2 of 3 clips; none in readme.wav:"):
        labelled(make(tmp_path, ["1-W.wav", "2-F.wav", "readme.wav"]), r"-(\w)\.")


def test_a_table_needs_no_label_column_where_an_expression_finds_the_class(tmp_path: Path) -> None:
    make(tmp_path, ["audio/1-W.wav", "audio/2-F.wav"])
    (tmp_path / "t.csv").write_text("path,speaker,label\naudio/1-W.wav,s1,\naudio/2-F.wav,s2,x\n")
    (tmp_path / "u.csv").write_text("path,speaker\naudio/1-W.wav,s1\naudio/2-F.wav,s2\n")
    for table in ("t.csv", "u.csv"):
        corpus = labelled(tmp_path / table, r"-(\w)\.")
        assert facts(corpus) == {("W", "s1", None), ("F", "s2", None)}
        assert not any("label" in clip.attributes for clip in corpus.clips)
    entry = discover(drop_in_folders(())).get("datasets", "folder")
    with pytest.raises(ConfigError, match="--columns label= is for --label REGEX"):
        listed_corpus(entry, {"root": str(tmp_path / "u.csv")}, Reading(columns={"label": ""}))


def test_clips_of_a_table_that_lies_elsewhere_are_named_below_the_folder_of_all(tmp_path: Path) -> None:
    make(tmp_path, ["audio/x/1.wav", "audio/y/2.wav", "tables/none.wav"])
    rows = "".join(
        f"{tmp_path}/audio/{name},{label}\n" for name, label in (("x/1.wav", "a"), ("y/2.wav", "b"))
    )
    (tmp_path / "tables" / "t.csv").write_text(f"path,label\n{rows}")
    corpus = Folder(str(tmp_path / "tables" / "t.csv")).load()
    assert [clip.id for clip in corpus.clips] == ["x/1.wav", "y/2.wav"]


def test_class_folders_with_one_emotion_in_each_have_folders_of_any_name_below(tmp_path: Path) -> None:
    root = make(tmp_path, ["happy/happy_high/a.wav", "happy/happy_low/b.wav", "sad/sad_high/c.wav"])
    assert facts(Folder(str(root)).load()) == {("happy", None, None), ("sad", None, None)}


def test_labels_choose_the_level_of_folders(tmp_path: Path) -> None:
    corpus = Folder(str(make(tmp_path, ANN_AND_BOB)), labels=["right", "left"]).load()

    assert facts(corpus) == {("left", None, None), ("right", None, None)}


@pytest.mark.parametrize("layout", ["speaker", "class/class", "class//x", "a/b"])
def test_a_layout_without_one_class_is_refused(layout: str) -> None:
    with pytest.raises(ConfigError, match="name each level of folders once"):
        Folder.create({"root": "x", "layout": layout})


def test_audio_above_the_classes_is_counted(tmp_path: Path) -> None:
    root = make(tmp_path, ["s01/happy/a.wav", "s02/sad/b.wav", "s02/loose.wav", "top.wav"])

    unused = "audio files left out that are in no class's folder", ("s02/loose.wav", "top.wav")
    assert unused in Folder(str(root)).load().left_out


@pytest.mark.parametrize("outer", ["corpus", "a/b/c"])
def test_an_outer_folder_is_not_counted(tmp_path: Path, outer: str) -> None:
    root = make(tmp_path, [f"{outer}/hot/a.wav", f"{outer}/cold/b.wav", "__MACOSX/._x.wav"])
    corpus = Folder(str(root)).load()

    assert Folder.recognises(root)
    assert corpus.labels == ("cold", "hot")
    assert [clip.id for clip in corpus.clips] == [f"{outer}/cold/b.wav", f"{outer}/hot/a.wav"]
    assert corpus.notes[0] == f"classes are the folders in {outer}"


def test_a_table_in_an_outer_folder_is_read(tmp_path: Path) -> None:
    root = make(tmp_path, ["x/wavs/a.wav", "x/wavs/b.wav", "x/wavs/c.wav"])
    (root / "x" / "clips.csv").write_text("path,label\nwavs/a.wav,hot\nwavs/b.wav,cold\n")
    corpus = Folder(str(root)).load()

    assert [clip.id for clip in corpus.clips] == ["x/wavs/a.wav", "x/wavs/b.wav"]
    assert ("audio files left out that the table does not list", ("x/wavs/c.wav",)) in corpus.left_out


# Names of RAVDESS in the user's own folders


@pytest.mark.parametrize("below", ["", "Actor_01/"])
def test_class_folders_win_over_names_of_ravdess(tmp_path: Path, below: str) -> None:
    names = [
        f"{folder}/{below}03-01-0{n}-01-01-01-01.wav" for folder in ("men", "women") for n in range(1, 9)
    ]
    root = make(tmp_path, names)

    assert dataset_of(root) == "folder"
    assert {clip.label for clip in Folder(str(root)).load().clips} == {"men", "women"}


def test_a_table_wins_over_names_of_ravdess(tmp_path: Path) -> None:
    root = make(tmp_path, [f"wavs/03-01-0{n}-01-01-01-01.wav" for n in range(1, 9)])
    (root / "mine.csv").write_text(
        "path,label\nwavs/03-01-01-01-01-01-01.wav,x\nwavs/03-01-02-01-01-01-01.wav,y\n"
    )

    assert dataset_of(root) == "folder"
    assert dataset_of(root / "mine.csv") == "folder"


@pytest.mark.parametrize("n_ravdess", [4, 84])
def test_a_merge_with_clips_of_ravdess_keeps_all_clips(tmp_path: Path, n_ravdess: int) -> None:
    mine = [f"{label}/{n}.wav" for label in ("happy", "sad") for n in range(30)]
    ravdess = [f"happy/03-01-03-0{1 + n % 2}-01-01-{1 + n // 2 % 24:02}.wav" for n in range(48)]
    ravdess += [f"sad/03-01-04-0{1 + n % 2}-02-01-{1 + n // 2 % 24:02}.wav" for n in range(48)]
    root = make(tmp_path, [*mine, *ravdess[:n_ravdess]])

    assert dataset_of(root) == "folder"
    assert len(Folder(str(root)).load().clips) == 60 + n_ravdess


def test_few_names_of_ravdess_among_others_are_not_ravdess(tmp_path: Path) -> None:
    names = [f"03-01-0{n}-01-01-01-01.wav" for n in range(1, 5)]

    assert not Ravdess.recognises(make(tmp_path, [*names, *(f"{n}.wav" for n in range(60))]))


@pytest.mark.parametrize(
    "folder", ["", "data/", "speech/Actor_01/", "RAVDESS/Audio_Speech_Actors_01-24/Actor_01/", "Actor_01/"]
)
def test_clips_laid_out_as_published_are_ravdess(tmp_path: Path, folder: str) -> None:
    other = "song/Actor_02/" if "/A" in folder else folder
    names = [f"{folder}03-01-03-01-01-01-01.wav", f"{other}03-02-04-01-01-01-02.wav"]

    assert dataset_of(make(tmp_path, names)) == "ravdess"


def test_other_formats_beside_ravdess_are_counted(tmp_path: Path) -> None:
    root = make(tmp_path, ["03-01-03-01-01-01-01.wav", "03-01-04-01-01-01-01.wav", "x.mp3"])

    unlike = "audio files left out that are not named like RAVDESS clips", ("x.mp3",)
    assert Ravdess(str(root)).load().left_out == (unlike,)


# Depth


@pytest.mark.parametrize("kind", [Folder, Ravdess])
def test_folders_nested_too_deep_are_one_line(tmp_path: Path, kind: type[Folder] | type[Ravdess]) -> None:
    folder = tmp_path / "hot"
    (tmp_path / "cold").mkdir()
    (tmp_path / "cold" / "03-01-03-01-01-01-01.wav").touch()
    deep = folder / "/".join(["d"] * 200)
    deep.mkdir(parents=True)

    with pytest.raises(CorpusError, match=re.escape("nested more than 32 deep")) as caught:
        kind(str(tmp_path)).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "said"), [("call", "Did you mean 'calls'?"), ("./Calls", "calls'?"), ("xyz", "/xyz either.")]
)
def test_of_a_misspelt_path_the_nearest_one_beside_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, said: str
) -> None:
    make(tmp_path, ["calls/happy/a.wav", "labels.csv"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(said) + "$"):
        resolve_dataset(discover(drop_in_folders(())), typed)
