"""Corpora of the field: recognised by their published layouts and names, and by nothing else."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast
from zipfile import ZipFile

import pytest

from marsbench.data.corpus import AudioFacts, CheckedCorpus, Corpus
from marsbench.data.corpus_options import Reading
from marsbench.errors import CorpusError
from marsbench.planning.plans import resolve_dataset, resolve_datasets
from marsbench.plugin.base import Dataset
from marsbench.plugin.registry import discover, drop_in_folders
from marsbench.protocols.apply import apply_protocol
from marsbench_plugins.published import PublishedCorpus

PLUGINS = Path(__file__).parents[4] / "plugins" / "marsbench_plugins" / "datasets"
DOCS = (Path(__file__).parents[4] / "docs" / "corpora.md").read_text("utf-8")

MELD_CSV = """Sr No.,Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID
1,"Well, a",Chandler,joy,0,0
2,b,Dr. Green,anger,0,1
"""
IEMOCAP_TXT = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
[10.0100 - 11.3925]\tSes01F_impro01_M001\tfru\t[2.5000, 2.5000, 2.5000]
[14.8872 - 18.0175]\tSes01F_impro01_M002\txxx\t[2.5000, 2.5000, 2.5000]
"""


class Case(NamedTuple):
    """A corpus in its published layouts, and what the first file tells."""

    layouts: tuple[tuple[str, ...], ...]
    clip: tuple[str, str, str | None]
    attributes: Mapping[str, str]
    others: Mapping[str, str] = {}
    """Further files: content by path."""


IEMOCAP = (
    "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
    "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M001.wav",
    "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M002.wav",
)
CASES = {
    "crema_d": Case(
        (
            ("AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1002_IEO_HAP_LO.wav", "AudioWAV/1091_ITH_SAD_X.wav"),
            ("1001_DFA_ANG_XX.wav", "1002_IEO_HAP_LO.wav", "1091_ITH_SAD_X.wav"),
        ),
        ("1001_DFA_ANG_XX", "anger", "1001"),
        {"sex": "male", "statement": "DFA", "intensity": "unspecified"},
    ),
    "emodb": Case(
        (("wav/03a01Fa.wav", "wav/16b10Lb.wav"), ("03a01Fa.flac", "16b10Lb.flac")),
        ("03a01Fa", "happiness", "03"),
        {"sex": "male", "statement": "a01", "repetition": "a"},
        {"lablaut/03a01Fa.lablaut": ""},
    ),
    "emovo": Case(
        (("f1/dis-f1-b1.wav", "m3/tri-m3-n5.wav"), ("EMOVO/f1/dis-f1-b1.wav", "EMOVO/m3/tri-m3-n5.wav")),
        ("dis-f1-b1", "disgust", "f1"),
        {"sex": "female", "statement": "b1"},
    ),
    "esd": Case(
        (
            ("0011/Angry/train/0011_000351.wav", "0002/Surprise/evaluation/0002_001750.wav"),
            ("ESD/0011/Angry/train/0011_000351.wav", "ESD/0002/Surprise/evaluation/0002_001750.wav"),
        ),
        ("0011_000351", "angry", "0011"),
        {"sex": "male", "language": "English", "statement": "English_1", "split": "train"},
        {"0011/0011.txt": "0011_000351\tThe nine the eggs, I keep.\tAngry\n"},
    ),
    "iemocap": Case(
        (IEMOCAP, tuple(f"IEMOCAP_full_release/{name}" for name in IEMOCAP)),
        ("Ses01F_impro01_F000", "neutral", "session1_female"),
        {"session": "1", "scenario": "improvised", "sex": "female"},
        {
            "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": IEMOCAP_TXT,
            "Session1/dialog/EmoEvaluation/._Ses01F_impro01.txt": "\0",
            "Session1/dialog/wav/Ses01F_impro01.wav": "",
        },
    ),
    "jl_corpus": Case(
        (
            ("female1_angry_10a_1.wav", "male2_encouraging_1b_2.wav"),
            ("JL(wav+txt)/female1_angry_10a_1.wav", "JL(wav+txt)/male2_encouraging_1b_2.wav"),
        ),
        ("female1_angry_10a_1", "angry", "female1"),
        {"sex": "female", "statement": "10", "session": "a", "repetition": "1"},
    ),
    "meld": Case(
        (
            ("train/train_splits/dia0_utt0.mp4", "train/train_splits/dia0_utt1.mp4"),
            ("train/dia0_utt0.wav", "train/dia0_utt1.wav", "dev/dia0_utt0.wav", "test/dia0_utt1.wav"),
            (
                "train/train_splits/dia0_utt0.mp4",
                "train/train_splits/dia0_utt1.mp4",
                "dev/dev_splits_complete/dia0_utt0.mp4",
                "test/output_repeated_splits_test/dia0_utt1.mp4",
                "test/output_repeated_splits_test/final_videos_testdia0_utt1.mp4",
            ),
        ),
        ("train/dia0_utt0", "joy", "Chandler"),
        {"split": "train"},
        {f"{split}_sent_emo.csv": MELD_CSV for split in ("train", "dev", "test")},
    ),
    "savee": Case(
        (
            ("AudioData/DC/a01.wav", "AudioData/KL/su15.wav"),
            ("DC_a01.wav", "KL_su15.wav"),
            ("ALL/DC_a01.wav", "ALL/KL_su15.wav"),
        ),
        ("DC_a01", "anger", "DC"),
        {"sex": "male", "statement": "a01"},
    ),
    "shemo": Case(
        (("female/F01A02.wav", "male/M12N31.wav"), ("F01A02.wav", "M12N31.wav")),
        ("F01A02", "anger", "F01"),
        {"sex": "female"},
    ),
    "tess": Case(
        (
            ("OAF_angry/OAF_back_angry.wav", "YAF_pleasant_surprised/YAF_youth_ps.wav"),
            ("OAF_back_angry.wav", "YAF_youth_ps.wav"),
        ),
        ("OAF_back_angry", "anger", "OAF"),
        {"sex": "female", "statement": "back"},
    ),
    "urdu": Case(
        (
            ("Angry/SM1_F10_A010.wav", "Happy/SF3_F1_H01.wav"),
            ("Angry/SM1/SM1_F10_A010.wav", "Happy/SF3/SF3_F1_H01.wav"),
        ),
        ("SM1_F10_A010", "angry", "SM1"),
        {"sex": "male"},
    ),
}
REGISTRY = discover(())
LAYOUTS = [(name, number) for name, case in CASES.items() for number in range(len(case.layouts))]


def write(root: Path, names: tuple[str, ...], others: Mapping[str, str] = {}) -> Path:
    for name, text in {**dict.fromkeys(names, ""), **others}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def lay_out(root: Path, name: str, number: int = 0) -> Path:
    return write(root / "data", CASES[name].layouts[number], CASES[name].others)


def plugin(name: str) -> type[PublishedCorpus]:
    return cast("type[PublishedCorpus]", REGISTRY.get("datasets", name).plugin)


def load(name: str, root: Path) -> Corpus:
    return plugin(name).create({"root": str(root)}).load()


def recognising(path: Path) -> list[str]:
    """Every dataset that recognises a path, except those for anything else."""
    classes = {entry.name: cast("type[Dataset]", entry.plugin) for entry in REGISTRY.entries("datasets")}
    return [name for name, one in classes.items() if not one.fallback and one.recognises(path)]


def checked(corpus: Corpus) -> CheckedCorpus:
    facts = tuple(AudioFacts(content=clip.id, sha256=clip.id) for clip in corpus.clips)
    return CheckedCorpus(corpus, corpus.clips, facts)


# Recognised


def test_every_published_corpus_has_a_case_here() -> None:
    published = [
        entry.name
        for entry in REGISTRY.entries("datasets")
        if issubclass(entry.plugin, PublishedCorpus) and entry.name != "ravdess"
    ]
    assert published == sorted(CASES)


@pytest.mark.parametrize(("name", "number"), LAYOUTS)
@pytest.mark.parametrize("outer", ["", "my download/x"])
def test_a_published_layout_is_recognised_by_its_plugin_and_by_no_other(
    tmp_path: Path, name: str, number: int, outer: str
) -> None:
    lay_out(tmp_path / outer, name, number)
    assert recognising(tmp_path) == [name]
    assert resolve_dataset(REGISTRY, str(tmp_path))[0].name == name


def test_a_folder_is_walked_once_and_only_plugins_that_may_recognise_it_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path, "savee")
    walked: list[object] = []
    walk = os.walk

    def recorded(root: Path, **how: Any) -> Any:
        walked.append(root)
        return walk(root, **how)

    monkeypatch.setattr(os, "walk", recorded)
    registry = discover.__wrapped__(())
    assert resolve_dataset(registry, str(tmp_path))[0].name == "savee"
    assert walked == [tmp_path]
    assert [e.name for e in registry.entries("datasets") if "_class" not in vars(e)] == ["demo", "hf"]


def test_a_folder_that_has_changed_is_walked_again(tmp_path: Path) -> None:
    lay_out(tmp_path, "savee")
    assert resolve_dataset(REGISTRY, str(tmp_path))[0].name == "savee"
    (tmp_path / "mine.csv").write_text("path,label\nx.wav,a\ny.wav,b\n")
    assert resolve_dataset(REGISTRY, str(tmp_path))[0].name == "folder"


@pytest.mark.parametrize("name", CASES)
def test_clips_in_class_folders_of_the_users_are_the_users(tmp_path: Path, name: str) -> None:
    stems = [Path(path).name for path in CASES[name].layouts[0]]
    write(tmp_path, tuple(f"{folder}/{stem}" for stem in stems for folder in ("calm voices", "loud voices")))
    assert recognising(tmp_path) == []


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("place", ["", "data"])
def test_clips_beside_a_table_of_the_users_are_the_users(tmp_path: Path, name: str, place: str) -> None:
    lay_out(tmp_path, name)
    (tmp_path / place / "mine.csv").write_text("path,label\nx.wav,a\ny.wav,b\n")
    assert recognising(tmp_path) == []


@pytest.mark.parametrize(
    ("table", "users"),
    [
        ("Filename;Emotion\nwav/03a01Fa.wav;joyful\nwav/16b10Lb.wav;dull\n", True),
        ("path,label\nmoved/03a01Fa.wav,joyful\n", True),
        ("file,emotion\nwav/03a01Fa.wav,joyful\nwav/16b10Lb.wav\n", True),
        ("file,emotion\n03a01Fa.original,1\n16b10Lb.original,2\n", False),
        ("stimulus,filename\n1,wav/03a01Fa.wav\n", False),
    ],
)
def test_a_table_counts_if_it_is_of_these_clips(tmp_path: Path, table: str, users: bool) -> None:
    write(lay_out(tmp_path, "emodb"), (), {"all.csv": table})
    assert recognising(tmp_path) == ([] if users else ["emodb"])


def test_tables_of_audformat_are_published_ones(tmp_path: Path) -> None:
    tables = {"db.yaml": "name: emodb", "db.emotion.csv": "file,emotion\nwav/03a01Fa.wav,happiness\n"}
    write(lay_out(tmp_path, "emodb"), (), tables)
    assert recognising(tmp_path) == ["emodb"]


@pytest.mark.parametrize("name", CASES)
def test_a_few_clips_among_others_are_the_users(tmp_path: Path, name: str) -> None:
    root = lay_out(tmp_path, name)
    write(root, tuple(f"{number}.wav" for number in range(9)))
    assert recognising(tmp_path) == []


@pytest.mark.parametrize(
    "names",
    [
        ("happy/1.wav", "sad/2.wav"),
        ("a01.wav", "d02.wav", "sa03.wav"),
        ("03a01Xa.wav", "04a01Fa.wav", "03a06Fa.wav"),
        ("1001_DFA_angry_XX.wav", "1001_DFA_SAD_YY.wav", "x1001_DFA_SAD_XX.wav"),
        ("OAF_back_calm.wav", "YAF_back.wav"),
        ("DC_x01.wav", "AB_a01.wav"),
        ("0011_000351.wav", "0012_000351.wav"),
        ("0011/Bored/0011_000351.wav", "0012/Bored/0012_000351.wav"),
        ("f1/dis-f1-b9.wav", "f4-dis-b1.wav"),
        ("F1A02.wav", "M01X02.wav", "X01A02.wav"),
        ("dia0_utt0.wav", "dia0_utt1.wav"),
        ("Ses06F_impro01_F000.wav", "Ses01F_impro01.wav"),
        ("speaker1/happy/1.wav", "speaker2/happy/1.wav", "speaker2/sad/1.wav"),
        ("train/happy/1.wav", "test/happy/1.wav", "train/sad/1.wav"),
        ("male.zip", "female.zip"),
    ],
)
def test_what_only_looks_alike_is_not_recognised(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert recognising(write(tmp_path, names)) == []
    assert recognising(tmp_path / names[0]) == []
    assert recognising(tmp_path / "nowhere") == []


@pytest.mark.parametrize("name", CASES)
def test_a_users_expression_for_labels_wins_over_the_names(tmp_path: Path, name: str) -> None:
    root = str(lay_out(tmp_path, name))
    asked = Reading(label="(.)")
    assert resolve_dataset(REGISTRY, root, asked)[0].name == "folder"
    assert [entry.name for entry, _ in resolve_datasets(REGISTRY, [root, root], asked)] == [name, name]
    assert resolve_dataset(REGISTRY, root, Reading(speaker="(.)", classes=("a", "b")))[0].name == name


# Read


@pytest.mark.parametrize("name", CASES)
def test_names_and_the_corpuss_own_files_tell_of_a_clip(tmp_path: Path, name: str) -> None:
    corpus = load(name, lay_out(tmp_path, name))
    (clip,) = [clip for clip in corpus.clips if clip.id == CASES[name].clip[0]]
    assert (clip.id, clip.label, clip.speaker) == CASES[name].clip
    assert clip.attributes == CASES[name].attributes
    assert (corpus.name, corpus.licence) == (name, plugin(name).licence)


@pytest.mark.parametrize(("name", "number"), [pair for pair in LAYOUTS if pair[1]])
def test_the_layout_does_not_change_the_clips(tmp_path: Path, name: str, number: int) -> None:
    def facts(root: Path) -> dict[str, Any]:
        found = load(name, root).clips
        return {clip.id: (clip.label, clip.speaker, dict(clip.attributes)) for clip in found}

    first, other = facts(lay_out(tmp_path / "1", name)), facts(lay_out(tmp_path / "2", name, number))
    assert first.items() <= other.items()


@pytest.mark.parametrize("name", CASES)
def test_numbers_that_differ_from_the_published_ones_are_noted(tmp_path: Path, name: str) -> None:
    published = plugin(name).published
    note = load(name, lay_out(tmp_path, name)).notes[-1]
    assert f"{sum(published.values()):,} were published" in note
    assert all(f"{label} " in note for label in published)


def test_published_numbers_are_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin("emodb"), "published", {"happiness": 1, "boredom": 1})
    assert load("emodb", lay_out(tmp_path, "emodb")).notes == ()


def test_classes_are_in_the_published_order_without_those_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path, ("03a01Wa.wav", "03a01Ta.wav", "03a01Na.wav"))
    assert load("emodb", tmp_path).labels == ("neutral", "sadness", "anger")


def test_of_copies_in_two_formats_the_lossless_one_is_read(tmp_path: Path) -> None:
    stems = ("1001_DFA_ANG_XX", "1001_DFA_SAD_XX")
    write(
        tmp_path,
        tuple(f"{kind}/{stem}.{kind[5:].lower()}" for stem in stems for kind in ("AudioMP3", "AudioWAV")),
    )
    corpus = load("crema_d", tmp_path)
    assert recognising(tmp_path) == ["crema_d"]
    assert {clip.path.suffix for clip in corpus.clips} == {".wav"}
    assert [(what, len(names)) for what, names in corpus.left_out] == [
        ("files left out that have another one's clip name", 2)
    ]


def test_sentences_of_esd_are_those_of_a_language_in_each_emotion(tmp_path: Path) -> None:
    names = ("0010/Neutral/0010_000350.wav", "0010/Angry/0010_000700.wav", "0012/Happy/0012_000702.wav")
    clips = load("esd", write(tmp_path, names)).clips
    assert [clip.attributes["statement"] for clip in clips] == ["Mandarin_350", "Mandarin_350", "English_2"]


def test_turns_without_an_agreed_label_are_left_out_and_counted(tmp_path: Path) -> None:
    corpus = load("iemocap", lay_out(tmp_path, "iemocap"))
    assert [(clip.label, clip.speaker) for clip in corpus.clips] == [
        ("neutral", "session1_female"),
        ("frustration", "session1_male"),
    ]
    (_, unlike), (what, names) = corpus.left_out
    assert (what, len(names), len(unlike)) == ("clips left out that IEMOCAP gives no label", 1, 1)


@pytest.mark.parametrize("name", ["iemocap", "meld"])
def test_where_the_files_of_labels_lack_their_names_are_told(tmp_path: Path, name: str) -> None:
    write(tmp_path, CASES[name].layouts[0])
    assert recognising(tmp_path) == [name]
    with pytest.raises(CorpusError, match=re.escape(f"files {plugin(name).label_files} have them")):
        load(name, tmp_path)


def test_a_file_of_labels_without_its_columns_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, CASES["meld"].layouts[0], {"train_sent_emo.csv": "Utterance,Speaker\na,b\n"})
    with pytest.raises(CorpusError, match=r"train_sent_emo\.csv has no column 'Dialogue_ID'"):
        load("meld", tmp_path)


def test_downloaded_zips_are_recognised_and_read(tmp_path: Path) -> None:
    for archive, stem in zip(plugin("shemo").archives, ("F01A02", "M12N31"), strict=True):
        with ZipFile(tmp_path / archive.file_name, "w") as file:
            file.writestr(f"{archive.folder}/{stem}.wav", stem)
    assert recognising(tmp_path) == ["shemo"]
    assert [clip.id for clip in load("shemo", tmp_path).clips] == ["F01A02", "M12N31"]


# Not there


@pytest.mark.parametrize("name", CASES)
def test_where_nothing_is_the_way_to_get_it_is_told(name: str) -> None:
    corpus = plugin(name)
    told = f"bench data fetch {name}" if corpus.archives else corpus.access
    with pytest.raises(CorpusError, match=re.escape(told)) as caught:
        corpus.create({}).load()
    assert f"no {corpus.title} clips in" in str(caught.value)


def test_a_corpus_that_cannot_be_fetched_says_where_to_ask(bench: Any) -> None:
    result = bench("data", "fetch", "iemocap")
    assert result.exit_code == 1
    assert "ask for it at https://sail.usc.edu" in result.stderr


def test_a_plugin_shows_licence_and_what_to_cite(bench: Any) -> None:
    shown = bench("plugins", "show", "tess").stdout
    assert "Licence: CC BY-NC-ND 4.0" in shown
    assert "Cite: Pichora-Fuller and Dupuis 2020" in shown


# Kept true


@pytest.mark.parametrize("name", CASES)
def test_a_corpus_takes_thirty_lines(name: str) -> None:
    assert len((PLUGINS / f"{name}.py").read_text("utf-8").splitlines()) <= 30


@pytest.mark.parametrize("name", CASES)
def test_the_page_of_corpora_has_the_published_facts(name: str) -> None:
    (row,) = [line for line in DOCS.splitlines() if line.startswith(f"| `{name}` ")]
    corpus = plugin(name)
    classes = corpus.published
    assert f"| {sum(classes.values()):,} |" in row
    assert f"| {', '.join(classes)} |" in row
    assert f"| {corpus.licence} |" in row


def test_the_example_of_the_page_is_a_corpus(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL)
    write(tmp_path, ("audio/wav/s01_h_1.wav", "audio/wav/s02_s_1.wav"), {"plugins/datasets/ours.py": program})
    entry, fixed = resolve_dataset(discover(drop_in_folders()), "audio")
    corpus = cast("Dataset", entry.plugin.create(fixed)).load()
    assert (corpus.name, corpus.labels, corpus.clips[0].speaker) == ("ours", ("happy", "sad"), "s01")


# Protocols


FOLDS = {
    "emobox_esd": "0005 0011 0016 0018 | 0012 0014 0015 0019 | 0003 0004 0006 0009 | 0007 0008 0013 0020 | "
    "0001 0002 0010 0017",
    "emobox_iemocap": " | ".join(f"session{number}_female session{number}_male" for number in range(1, 6)),
    "emobox_emovo": "f2 | m3 | m2 | f3 | f1 | m1",
    "emobox_jl": "male2 | female1 | male1 | female2",
    "emobox_savee": "JE | KL | DC | JK",
}


def clips_of(protocol: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Names of files of two classes by each speaker, and files of labels."""
    if protocol != "emobox_iemocap":
        patterns = {
            "emobox_esd": ("{}/Angry/{}_000351.wav", "{}/Sad/{}_001051.wav"),
            "emobox_emovo": ("{}/dis-{}-b1.wav", "{}/tri-{}-b1.wav"),
            "emobox_jl": ("{}_angry_1a_1.wav", "{}_sad_1a_1.wav"),
            "emobox_savee": ("{}/a01.wav", "{}/sa01.wav"),
        }[protocol]
        names = re.findall(r"\w+", FOLDS[protocol])
        return tuple(pattern.replace("{}", name) for name in names for pattern in patterns), {}
    turns = [f"Ses0{n}{actor}_impro01_{sex}000" for n in range(1, 6) for actor, sex in ("FF", "FM", "MF")]
    lines = "".join(f"[1.0 - 2.0]\t{turn}\t{'neu' if turn[5] == 'F' else 'ang'}\t[]\n" for turn in turns)
    return tuple(f"{turn}.wav" for turn in turns), {"EmoEvaluation/all.txt": lines}


@pytest.mark.parametrize("protocol", FOLDS)
def test_folds_of_emobox_test_the_speakers_in_print(tmp_path: Path, protocol: str) -> None:
    write(tmp_path, *clips_of(protocol))
    (name,) = recognising(tmp_path)
    corpus = checked(load(name, tmp_path))
    applied = apply_protocol(protocol, corpus)
    tested = [{corpus.speakers[row] for row in fold.test} for fold in applied.folds]
    assert tested == [set(fold.split()) for fold in FOLDS[protocol].split(" | ")]
    assert sum(len(fold.test) for fold in applied.folds) == len(corpus.clips)
    assert applied.by_speaker
    assert applied.leakage.speakers_shared == 0


def test_more_folds_than_speakers_are_refused_with_the_reason(tmp_path: Path) -> None:
    names = tuple(
        f"{voice}_{n}word_{label}.wav" for voice in ("OAF", "YAF") for n in "abcde" for label in ("sad", "ps")
    )
    corpus = checked(load("tess", write(tmp_path, names)))
    with pytest.raises(CorpusError, match="speaker5 needs 5 speakers; corpus 'tess' has 2"):
        apply_protocol("speaker5", corpus)
    assert len(apply_protocol("speaker2", corpus).folds) == len(apply_protocol("loso", corpus).folds) == 2
