"""The classes of a corpus in another order: whatever is exported still names the right one."""

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.data.audio import load

Bench = Callable[..., Any]
DATASET = '''
from dataclasses import dataclass, replace
from marsbench.plugin import Dataset
from marsbench.plugin.registry import discover


@dataclass
class Reordered(Dataset):
    """The kit's tones with their classes in another order."""

    order: str = ""
    kit: str = ""

    def load(self):
        entry = discover((__import__("pathlib").Path(self.kit),)).get("datasets", "tones")
        return replace(entry.plugin.create({}).load(), labels=tuple(self.order.split("-")))
'''


@pytest.fixture(params=["low-middle-high", "high-low-middle", "middle-high-low", "high-middle-low"])
def labels(request: pytest.FixtureRequest, bench: Bench, kit: Path) -> list[str]:
    """Classes in an order of which a pipeline was trained and is exported as a bundle and as one file."""
    order = str(request.param)
    file = Path("plugins", "datasets", "reordered.py")
    file.parent.mkdir(parents=True)
    file.write_text(DATASET)
    asked = ("--set", f"reordered.order={order}", "--set", f"reordered.kit={kit}", "--trials", "0")
    words = ("--features", "mfcc", "--model", "logistic_regression", "--data", "reordered")
    result = bench("run", *words, *asked)
    assert result.exit_code == 0, result.stderr
    assert bench("export", "--best").exit_code == 0
    return order.split("-")


@pytest.fixture
def clips(labels: list[str], home: Path) -> dict[str, Path]:
    """A clip of each class."""
    return {label: next(home.glob(f"tones/{label}-*.wav")) for label in labels}


def test_predict_names_the_right_class(bench: Bench, labels: list[str], clips: dict[str, Path]) -> None:
    words = ("predict", "bundle", *clips.values())
    rows = json.loads(bench(*words, "--json").stdout)
    assert [row["label"] for row in rows] == list(clips)
    assert all(max(row["probabilities"].items(), key=lambda item: item[1])[0] == row["label"] for row in rows)
    assert list(rows[0]["probabilities"]) == labels
    table = csv.DictReader(io.StringIO(bench(*words, "--csv").stdout))
    for label, row in zip(clips, table, strict=True):
        assert row["label"] == label == max(labels, key=lambda name: float(row[f"p_{name}"]))


def test_the_page_names_the_right_class(
    labels: list[str], clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    testing = pytest.importorskip("streamlit.testing.v1", reason="no streamlit here")
    import marsbench.app

    assert labels
    monkeypatch.setattr(sys, "argv", ["page.py", "bundle"])
    page = testing.AppTest.from_file(
        str(Path(next(iter(marsbench.app.__path__)), "page.py")), default_timeout=60
    )
    page.run()
    for label, clip in clips.items():
        page.file_uploader[0].set_value((clip.name, clip.read_bytes(), "audio/wav")).run()
        shown = " ".join(element.proto.body for element in page.get("html"))
        assert f"<strong>{label}</strong>" in shown


def test_the_onnx_file_names_the_right_class(bench: Bench, labels: list[str], clips: dict[str, Path]) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    pytest.importorskip("skl2onnx", reason="the extra 'export' is not installed")
    assert bench("export", "--best", "--format", "onnx", "--end-to-end").exit_code == 0
    session = runtime.InferenceSession("pipeline.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"]) == labels
    for label, clip in clips.items():
        sound = load(clip, int(facts["sample_rate"])).samples
        assert labels[np.argmax(session.run(["probabilities"], {"waveform": sound})[0])] == label
