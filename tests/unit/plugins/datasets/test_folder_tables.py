import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marsbench.data.audio_validation import check_audio
from marsbench.data.labels import EMOTIONS
from marsbench.errors import CorpusError
from marsbench_plugins.datasets.folder import Folder


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


def test_a_listed_file_that_is_missing_is_reported_by_the_audio_check(tmp_path: Path) -> None:
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", np.sin(np.arange(8000) / 9), 8000)
    text = "path,label\na.wav,sad\nb.wav,calm\ngone.wav,calm\n"

    bad = check_audio(Folder(table(tmp_path, text)).load()).bad
    assert [(clip.id, clip.reason) for clip in bad] == [("gone.wav", "no such file")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header has no column 'path'. Available: none"),
        ("path,labels\na.wav,sad\n", "line 1: the header has no column 'label'. Did you mean 'labels'"),
        ("file;label\n", "line 1: the header has no column 'path'"),
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
        (b"path,label\na.wav,sad\nb\xff.wav,calm\n", "line 3: not UTF-8 text; save the table as UTF-8"),
        ("path,label\na.wav,sad\n".encode("utf-16"), "line 1: not UTF-8 text"),
        ("path,label\na.wav,sad\n".encode("utf-16-le"), "line 1: not UTF-8 text"),
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


@pytest.mark.parametrize(
    "column", ["start", "end", "Start", "end_time", "onset", "offset_ms", "segment_start"]
)
def test_columns_for_parts_of_files_are_refused(tmp_path: Path, column: str) -> None:
    text = f"path,label,{column}\na.wav,sad,0.5\nb.wav,calm,1\n"

    with pytest.raises(CorpusError, match=f"line 1: column '{column}' names a part of a file"):
        Folder(table(tmp_path, text)).load()


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
