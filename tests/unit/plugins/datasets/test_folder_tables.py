import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marsbench.data.audio_validation import check_audio
from marsbench.data.corpus import Corpus
from marsbench.data.corpus_options import Reading
from marsbench.data.labels import EMOTIONS
from marsbench.errors import ConfigError, CorpusError
from marsbench.planning.plans import listed_corpus
from marsbench.plugin.registry import discover
from marsbench_plugins.datasets.folder import Folder
from marsbench_plugins.table_columns import find_columns


def table(tmp_path: Path, text: str | bytes, name: str = "clips.csv") -> str:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def ids(root: str) -> list[str]:
    return [clip.id for clip in Folder(root).load().clips]


def test_a_table_gives_path_label_speaker_and_attributes(tmp_path: Path) -> None:
    text = 'label,path,speaker,room\nsad,"sub/a, b.wav",Ann,big hall\ncalm,c d.wav,,\n'
    corpus = Folder(table(tmp_path, text)).load()

    assert [(c.id, c.label, c.speaker, dict(c.attributes)) for c in corpus.clips] == [
        ("sub/a, b.wav", "sad", "Ann", {"room": "big hall"}),
        ("c d.wav", "calm", None, {}),
    ]
    assert corpus.clips[0].path == tmp_path / "sub/a, b.wav"
    assert corpus.name == "clips"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("clips.tsv", "path\tlabel\na, b.wav\tsad\nc.wav\tcalm\n"),
        ("clips.csv", '\ufeffpath,label\r\n"a, b.wav",sad\r\n\r\nc.wav,calm'),
        ("CLIPS.CSV", '"path","label"\n"a, b.wav",sad\n  c.wav ,  calm  \n'),
    ],
)
def test_delimiters_marks_line_ends_and_quotes_are_read(tmp_path: Path, name: str, text: str) -> None:
    assert ids(table(tmp_path, text, name)) == ["a, b.wav", "c.wav"]


def test_paths_outside_the_tables_folder_are_absolute_ids(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    inside, outside = tmp_path / "t" / "in.wav", tmp_path / "out.wav"
    text = f"path,label\n{inside},sad\n{outside},calm\n../up.wav,calm\n./x/../y.wav,sad\n"

    assert ids(table(tmp_path, text, "t/clips.csv")) == [
        "in.wav",
        outside.as_posix(),
        (tmp_path / "up.wav").as_posix(),
        "y.wav",
    ]


@pytest.mark.parametrize(
    ("listed", "is_a_table"), [("x/a.wav", True), ("x\\a.wav", True), ("a.wav", False), ("", False)]
)
def test_a_manifest_under_guessed_names_is_a_table_of_clips_if_its_files_are_there(
    listed: str, is_a_table: bool, tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.wav").touch()
    table(tmp_path, f"file,emotion\n{listed},sad\n")
    assert Folder.recognises(tmp_path) == is_a_table


def test_a_listed_file_that_is_missing_is_reported_by_the_audio_check(tmp_path: Path) -> None:
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", np.sin(np.arange(8000) / 9), 8000)
    text = "path,label\na.wav,sad\nb.wav,calm\ngone.wav,calm\n"

    bad = check_audio(Folder(table(tmp_path, text)).load()).bad
    assert [(clip.id, clip.reason) for clip in bad] == [("gone.wav", "no such file")]


@pytest.mark.parametrize(
    ("header", "columns", "message"),
    [
        ("file,label", "path=label", "'label' is given as the path; .* --columns label=NAME. Left: file"),
        ("path,label", "label=path", "'path' is given as the label; .* --columns path=NAME. Left: label"),
        ("label", "path=label", "'label' is given as the path; .* Left: none"),
    ],
)
def test_a_column_given_another_role_is_not_offered_again(header: str, columns: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_columns(header.split(","), Reading.parse({"columns": columns}).columns)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header has no column 'path'. Available: none"),
        (
            "path,lable\na.wav,sad\n",
            "line 1: the header has no column 'label'. Did you mean 'lable'.* right one: --columns label=",
        ),
        ("one;two;label\n", "line 1: the header has no column 'path'. Available: label, one, two"),
        (
            "file,wav,label\na,b,c\n",
            "line 1: the path may be column 'file' or 'wav'; name it: --columns path=file",
        ),
        ("path,label,label\na.wav,sad,x\n", "line 1: the header has column 'label' twice"),
        ("path,label\n", "the table has no rows"),
        ("path,label\na.wav,sad\n,calm\n", "line 3: the path is empty"),
        ("path,label\na.wav,sad\n\nb.wav, \n", "line 4: the label is empty"),
        ("path,label\na.wav,sad\nb.wav\n", "line 3: the header has 2 fields, this line 1"),
        ("path,label\na,b.wav,sad\n", "line 2: the header has 2 fields, this line 3"),
        (
            "path,label\na.wav,sad\nb.wav,calm\n./a.wav,calm\n",
            "line 4: '.*a.wav' is already listed in line 2",
        ),
        (b"path,label\na.wav,sad\nb\0.wav,calm\n", "line 3: not text; save the table as CSV in UTF-8"),
        (b"PK\x03\x04\x00\x01\x02\xff", "line 1: not text; save the table as CSV"),
        ('path,label\n"a.wav,sad\n', "line 2: unexpected end of data"),
        ("path,label\na.wav,sad\nb.wav,sad\n", "one class, 'sad'; at least two are needed"),
    ],
)
def test_a_defect_in_a_table_is_one_line_with_its_line_number(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        Folder(table(tmp_path, text)).load()
    assert "\n" not in str(caught.value)


ROWS = [("wäv/a.wav", "sad", "1"), ("wäv/b.wav", "calm", "2")]


def listed(root: str, columns: dict[str, str] | None = None) -> Corpus:
    entry = discover(()).get("datasets", "folder")
    return listed_corpus(entry, {"root": root}, Reading.parse({"columns": columns or {}}))


def facts(corpus: Corpus) -> list[tuple[str, str, str | None]]:
    return [(clip.id, clip.label, clip.speaker) for clip in corpus.clips]


@pytest.mark.parametrize(
    "header",
    [("Filename", "Emotion", "Spk"), ("file_path", "class", "Actor ID"), ("WAV", "LABEL", "subject")],
)
@pytest.mark.parametrize(
    ("delimiter", "encoding", "told"),
    [
        (",", "utf-8", ""),
        (";", "utf-8-sig", "; fields divided by semicolons"),
        ("\t", "utf-16", "; fields divided by tabs; UTF-16 text"),
        ("|", "utf-16-le", "; fields divided by vertical bars; UTF-16 text"),
        (";", "cp1252", "; fields divided by semicolons; Windows-1252 text"),
    ],
)
def test_usual_names_delimiters_and_encodings_are_recognised_and_told(
    tmp_path: Path, header: tuple[str, ...], delimiter: str, encoding: str, told: str
) -> None:
    text = "\r\n".join(delimiter.join(row) for row in (header, *ROWS)) + "\r\n"
    corpus = listed(table(tmp_path, text.encode(encoding)))

    assert facts(corpus) == ROWS
    path, label, speaker = header
    named = f"path={path},label={label},speaker={speaker}"
    assert corpus.notes == (f"clips.csv is read with columns {named} (--columns names others){told}",)


def test_a_table_with_nothing_to_guess_has_no_note(tmp_path: Path) -> None:
    assert listed(table(tmp_path, "path,label\na.wav,sad\nb.wav,calm\n")).notes == ()


def test_columns_are_named_by_role(tmp_path: Path) -> None:
    text = "sep=;\nDatei X;Gefühl;label;Wer;;\na.wav;sad;1;Ann;;\nb.wav;calm;2;Bob;;\n;;;;;\n"
    corpus = listed(table(tmp_path, text), {"path": "Datei X", "label": "Gefühl", "speaker": "Wer"})

    assert facts(corpus) == [("a.wav", "sad", "Ann"), ("b.wav", "calm", "Bob")]
    assert dict(corpus.clips[0].attributes) == {"label": "1"}
    with pytest.raises(CorpusError, match=r"line 2: the header has no column 'Datei'. Did you mean 'Datei X"):
        listed(table(tmp_path, text), {"path": "Datei", "label": "Gefühl"})


def test_a_role_can_be_left_without_a_column(tmp_path: Path) -> None:
    text = "path,label,actor\na.wav,sad,Ann\nb.wav,calm,Bob\n"
    corpus = listed(table(tmp_path, text), {"speaker": ""})
    assert (corpus.clips[0].speaker, dict(corpus.clips[0].attributes)) == (None, {"actor": "Ann"})


def test_a_folder_is_read_by_the_table_in_it_whose_columns_are_named(tmp_path: Path) -> None:
    table(tmp_path, "x,y\na.wav,sad\nb.wav,calm\n")
    with pytest.raises(
        CorpusError, match=r"exactly one table .* \(found: clips.csv; give one of them as --data\)"
    ):
        listed(str(tmp_path))
    assert len(listed(str(tmp_path), {"path": "x", "label": "y"}).clips) == 2


@pytest.mark.parametrize("text", ["path", "colour=x", ["path"], {"path": 3}])
def test_columns_that_do_not_fit_are_one_line(text: object) -> None:
    with pytest.raises(ConfigError, match=r"columns.*ROLE=NAME|columns.*string"):
        Reading.parse({"columns": text}, "marsbench.run")


def test_columns_of_what_reads_no_table_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="--columns names the columns of a table of clips; demo reads no table"
    ):
        listed_corpus(discover(()).get("datasets", "demo"), {}, Reading(columns={"path": "x"}))


def test_backslashes_divide_folders_unless_a_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "c\\d.wav").touch()
    text = "path,label\nsub\\a.wav,sad\n.\\b.wav,calm\nc\\d.wav,calm\n"
    assert ids(table(tmp_path, text)) == ["sub/a.wav", "b.wav", "c\\d.wav"]


AUDFORMAT = """file,start,end,emotion
a.wav,0 days 00:00:01.500000,0 days 00:00:03.250000,sad
a.wav,0 days 00:00:03.250000,NaT,calm
"""


@pytest.mark.parametrize(
    "text",
    [
        "path,label,start,end\na.wav,sad,1.5,3.25\na.wav,calm,3.25,\n",
        "file;emotion;Start;Ende;end\na.wav;sad;1,5;x;3,25\na.wav;calm;3,25;;\n",
        AUDFORMAT,
        'path,label,onset,offset\na.wav,sad,00:01.5,"0:00:03,250"\na.wav,calm,0:03.25,\n',
        "path,label,start_ms,end_ms\na.wav,sad,1500,3250\na.wav,calm,3250,\n",
        "audio_filepath\toffset\tduration\tlabel\na.wav\t1.5\t1.75\tsad\na.wav\t3.25\t\tcalm\n",
    ],
)
def test_rows_with_times_are_segments(tmp_path: Path, text: str) -> None:
    corpus = listed(table(tmp_path, text))

    assert [(clip.id, clip.label, clip.start, clip.end) for clip in corpus.clips] == [
        ("a.wav#1.500-3.250", "sad", 1.5, 3.25),
        ("a.wav#3.250-", "calm", 3.25, None),
    ]
    assert corpus.notes[-1] == "clips are segments: 2 of 1 files"


def test_a_row_without_times_is_a_whole_file_and_fine_times_stay_apart(tmp_path: Path) -> None:
    text = "path,label,start,end\na.wav,sad,,\nb.wav,calm,,1.00005\nb.wav,calm,1,1.00005\n"
    assert ids(table(tmp_path, text)) == ["a.wav", "b.wav#0.000-1.00005", "b.wav#1.000-1.00005"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2,1", "line 2: the segment starts at 2 s and ends at 1 s, which is not after it"),
        ("1,1", "line 2: the segment starts at 1 s and ends at 1 s"),
        ("-1,1", "line 2: the start is -1; a time within the file is needed"),
        ("-1 days +23:59:59,1", "line 2: the start is -1 days .23:59:59; a time within the file"),
        ("nan,1", "line 2: the start is 'nan'; seconds such as 1.5 or 0:01.5 are needed"),
        ("0,inf", "line 2: the end is 'inf'; seconds"),
        ("0,1e999", "line 2: the end is 1e999; a time within the file"),
        ("0,1_0", "line 2: the end is '1_0'; seconds"),
        ('0,"1,500"', "line 2: the end is '1,500'; seconds"),
        ("0,1\nx.wav,sad,0,1", "line 3: '.*x.wav' is already listed in line 2"),
    ],
)
def test_times_that_are_none_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    root = table(tmp_path, f"path,label,start,end\nx.wav,sad,{text}\ny.wav,calm,0,1\n")
    with pytest.raises(CorpusError, match=message):
        listed(root)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("start", "column 'start' names a part of a file, but only one of its two ends is there"),
        ("offset", "column 'offset' names a part of a file, but only one"),
        ("start_sample,end_sample", "column 'start_sample' counts samples or frames; give times in seconds"),
        ("start,end,start", "the header has column 'start' twice"),
    ],
)
def test_times_that_make_no_segment_are_refused(tmp_path: Path, header: str, message: str) -> None:
    root = table(tmp_path, f"path,label,{header}\n")
    with pytest.raises(CorpusError, match=f"line 1: {message}"):
        listed(root)


def test_columns_of_times_can_be_notes(tmp_path: Path) -> None:
    text = "path,label,start\na.wav,sad,soon\nb.wav,calm,late\n"
    corpus = listed(table(tmp_path, text), {"start": "", "end": ""})
    assert dict(corpus.clips[0].attributes) == {"start": "soon"}


LABELS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
    .filter(lambda label: label == label.strip() and '"' not in label)
    .map(lambda label: unicodedata.normalize("NFC", label)),
    min_size=2,
    max_size=6,
    unique=True,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LABELS, st.randoms(use_true_random=False))
def test_any_labels_come_back_in_the_declared_order(tmp_path: Path, labels: list[str], random: Any) -> None:
    rows = [f'{number}.wav,"{label}"' for number, label in enumerate(labels)]
    random.shuffle(rows)
    root = table(tmp_path, "\n".join(["path,label", *rows]))
    corpus = Folder(root, labels=labels).load()

    assert corpus.labels == tuple(labels)
    assert {int(Path(clip.id).stem): clip.label for clip in corpus.clips} == dict(enumerate(labels))
    assert set(Folder(root).load().labels) == set(labels)


@given(st.sets(st.sampled_from(EMOTIONS), min_size=2))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_emotions_stand_in_the_canonical_order_whatever_the_order_of_rows(
    tmp_path: Path, found: set[str]
) -> None:
    root = table(tmp_path, "\n".join(["path,label", *(f"{label}.wav,{label}" for label in found)]))

    assert Folder(root).load().labels == tuple(label for label in EMOTIONS if label in found)
