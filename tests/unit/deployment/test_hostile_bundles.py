"""Bundles that somebody changed to cost time or memory: each is refused in one line, quickly."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from marsbench.atomic_files import read_checksummed, write_checksummed
from marsbench.deployment import bundle_files
from marsbench.deployment.bundle_files import read_bundle, read_bundle_record
from marsbench.deployment.formats import litert
from marsbench.deployment.formats.litert import LiteRtFormat
from marsbench.deployment.formats.onnx import OnnxFormat
from marsbench.errors import BenchError, PluginError, ResultsError
from marsbench.plugin import onnx as plugin_onnx
from marsbench.plugin.features import Features
from marsbench.plugin.registry import Registry, discover

Values = dict[str, Any]
GIB = 1 << 30
LITERT = Path(__file__).parents[2] / "fixtures" / "litert"


def edit(folder: Path, change: Callable[[Values], object]) -> None:
    """Change `bundle.json` and give it a new checksum, as an attacker would."""
    values = json.loads(read_checksummed(folder / "bundle.json"))
    change(values)
    write_checksummed(folder / "bundle.json", json.dumps(values))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A folder with the record of a bundle of three classes, and nothing else."""
    recipe = {"name": "x", "source": "0", "parameters": {}, "versions": {}}
    golden = [
        {"file": f"golden/{label}.flac", "clip": label, "label": label, "probabilities": [1.0, 0.0, 0.0]}
        for label in "abc"
    ]
    corpus = {
        "name": "tones",
        "fingerprint": "0",
        "n_clips": 9,
        "longest_seconds": 1.0,
        "median_seconds": 1.0,
        "lowest_sample_rate": 16000,
        "synthetic": True,
        "licence": "none",
    }
    values = {
        "labels": list("abc"),
        "sample_rate": 16000,
        "corpus": corpus,
        "environment": {},
        "seed": 0,
        "golden": golden,
        "features": recipe,
        "model": recipe,
        "hyperparameters": {},
        "input_shape": [4],
    }
    write_checksummed(tmp_path / "bundle.json", json.dumps(values))
    return tmp_path


def test_a_record_within_the_bounds_is_read(record: Path) -> None:
    assert read_bundle_record(record).labels == ["a", "b", "c"]


def refuses(record: Path, where: str) -> None:
    with pytest.raises(ResultsError, match=rf"bundle\.json is not of this version: .*{where}"):
        read_bundle_record(record)


@pytest.mark.parametrize("rate", [0, -1, 999, 1_000_000_000, 1.5, "fast"])
@pytest.mark.parametrize("where", ["sample_rate", "lowest_sample_rate"])
def test_a_sample_rate_out_of_bounds_is_refused(record: Path, rate: object, where: str) -> None:
    edit(record, lambda values: (values if where in values else values["corpus"]).update({where: rate}))
    refuses(record, where)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), 1e9])
@pytest.mark.parametrize("name", ["longest_seconds", "median_seconds"])
def test_a_duration_out_of_bounds_is_refused(record: Path, seconds: float, name: str) -> None:
    edit(record, lambda values: values["corpus"].update({name: seconds}))
    refuses(record, name)


@pytest.mark.parametrize("shape", [[], [0], [-1, 5], [1, 2, 3], [1 << 24, 1 << 24], [10**30]])
def test_features_of_an_odd_shape_are_refused(record: Path, shape: list[int]) -> None:
    edit(record, lambda values: values.update(input_shape=shape))
    refuses(record, "")


def too_many_golden_clips(values: Values) -> None:
    values["golden"] *= 5_000


@pytest.mark.parametrize(
    "change",
    [
        too_many_golden_clips,
        lambda values: values["golden"].append(values["golden"][0]),
        lambda values: values["golden"][0].update(probabilities=[float("inf")] * 3),
        lambda values: values["golden"][0].update(probabilities=[-5.0, 5.0, 1.0]),
        lambda values: values.update(labels=[f"class {number}" for number in range(20_000)]),
        lambda values: values.update(files={f"{number}": "0" for number in range(200_000)}),
    ],
)
def test_a_record_of_an_odd_size_is_refused(record: Path, change: Callable[[Values], object]) -> None:
    edit(record, change)
    refuses(record, "")


@pytest.mark.parametrize("name", ["golden/\0.flac", "/etc/passwd", "../other", "golden"])
def test_a_file_name_that_leads_elsewhere_is_refused(folder: Path, registry: Registry, name: str) -> None:
    edit(folder, lambda values: values["files"].update({name: "0" * 64}))
    with pytest.raises(ResultsError, match=r"cannot be read|outside its folder|not a regular file"):
        read_bundle(folder, registry)


def test_a_file_of_hundreds_of_gigabytes_is_not_read(folder: Path, registry: Registry) -> None:
    with (folder / "huge").open("wb") as file:
        file.truncate(200 * GIB)  # sparse: it takes no space
    edit(folder, lambda values: values["files"].update({"huge": "0" * 64}))
    with pytest.raises(ResultsError, match="is too large: its files have more than"):
        read_bundle(folder, registry)


@pytest.mark.parametrize("what", ["pipe", "huge"])
def test_a_record_that_is_a_pipe_or_huge_is_not_read(record: Path, what: str) -> None:
    path = record / "bundle.json"
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(200 * GIB)
    with pytest.raises(ResultsError, match="is not a regular file of at most"):
        read_bundle_record(record)


def saved_model(tmp_path: Path, nodes: list[Any], *, functions: Any = (), constants: Any = ()) -> Path:
    """An ONNX file from `features`, float32 (n,), to `probabilities`."""
    onnx = pytest.importorskip("onnx")
    make = onnx.helper
    ends = [make.make_tensor_value_info(name, 1, None) for name in ("features", "probabilities")]
    ends[0] = make.make_tensor_value_info("features", 1, ["n"])
    graph = make.make_graph(nodes, "g", ends[:1], ends[1:], list(constants))
    versions = [make.make_opsetid("", 18), make.make_opsetid("own", 1)]
    model = make.make_model(graph, functions=list(functions), opset_imports=versions, ir_version=10)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def predict(path: Path) -> object:
    """What `bench predict` does with a model's file and one clip of three values."""
    features = Features(np.ones((1, 3), np.float32), np.ones(1, np.int64))
    return OnnxFormat().open(path, lambda: pytest.fail("needs no plugin")).predict_proba(features)


def constant(name: str, value: object) -> Any:
    return pytest.importorskip("onnx").numpy_helper.from_array(np.array(value), name)


def test_an_endless_loop_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = pytest.importorskip("onnx").helper
    inside = [make.make_node("Identity", ["on"], ["still"]), make.make_node("Add", ["a", "one"], ["b"])]
    ends = [make.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("on", 9))]
    ends += [make.make_tensor_value_info("a", 1, ["n"])]
    after = [make.make_tensor_value_info("still", 9, []), make.make_tensor_value_info("b", 1, ["n"])]
    loop = make.make_node(
        "Loop", ["most", "yes", "features"], ["probabilities"], body=make.make_graph(inside, "b", ends, after)
    )
    constants = [constant("most", 2**62), constant("yes", True), constant("one", np.ones(1, np.float32))]
    path = saved_model(tmp_path, [loop], constants=constants)
    monkeypatch.setattr(plugin_onnx, "RUN_SECONDS", 0.3)
    with pytest.raises(PluginError, match=r"the model's file cannot be run: .*terminate"):
        predict(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("endless", r"the model's file cannot be run: it took longer than 0\.5 s"),
        ("computed_size", r"the model's file cannot be run: .*(FILL|2 GiB|memory)"),
        ("fixed_size", r"fixed_size\.tflite cannot be read in the format 'litert': .*memory"),
    ],
)
def test_a_litert_file_without_bounds_is_stopped(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setattr(litert, "RUN_SECONDS", 0.5)
    features = Features(np.ones((1, 3), np.float32), np.ones(1, np.int64))
    with pytest.raises(PluginError, match=message):
        LiteRtFormat().open(LITERT / f"{name}.tflite", lambda: pytest.fail("needs no plugin")).predict_proba(
            features
        )


def test_a_litert_file_whose_process_ended_answers_the_next_clip() -> None:
    pytest.importorskip("ai_edge_litert")
    process = litert._Process((LITERT / "computed_size.tflite").read_bytes())
    assert process.input_shape() == (1, 3)
    process._process.kill()
    with pytest.raises(ValueError, match="it crashed, or needs more than 2 GiB of memory"):
        process.run(np.ones(3, np.float32))
    assert process.input_shape() == (1, 3)


def test_functions_that_call_each_other_twice_are_refused(tmp_path: Path) -> None:
    make = pytest.importorskip("onnx").helper
    versions = [make.make_opsetid("", 18), make.make_opsetid("own", 1)]

    def doubled(number: int) -> Any:
        operator, domain = ("Identity", "") if number == 0 else (f"F{number - 1}", "own")
        nodes = [make.make_node(operator, [a], [b], domain=domain) for a, b in (("a", "c"), ("c", "b"))]
        return make.make_function("own", f"F{number}", ["a"], ["b"], nodes, versions)

    outermost = make.make_node("F23", ["features"], ["probabilities"], domain="own")
    path = saved_model(tmp_path, [outermost], functions=map(doubled, range(24)))
    with pytest.raises(PluginError, match="defines functions of its own"):
        predict(path)


@pytest.mark.parametrize("n_values", [3 * GIB // 4, 10**12])
def test_a_tensor_of_many_gigabytes_is_refused(tmp_path: Path, n_values: int) -> None:
    make = pytest.importorskip("onnx").helper
    nodes = [
        make.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        make.make_node("ReduceMax", ["zeros"], ["largest"], keepdims=1),
        make.make_node("Add", ["features", "largest"], ["probabilities"]),
    ]
    path = saved_model(tmp_path, nodes, constants=[constant("shape", np.array([n_values]))])
    with pytest.raises(PluginError, match=r"the model's file cannot be run: .*ConstantOfShape"):
        predict(path)


def test_an_answer_that_is_one_number_is_refused(tmp_path: Path) -> None:
    make = pytest.importorskip("onnx").helper
    total = make.make_node("ReduceSum", ["features"], ["probabilities"], keepdims=0)
    with pytest.raises(PluginError, match=r"the model's file gives float32 of shape \(\) for a clip"):
        predict(saved_model(tmp_path, [total]))


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"\x07", b"\xca\x01\x05"])
def test_what_is_no_model_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(BenchError):
        predict(path)


def archive(path: Path, *sizes: int) -> None:
    """An archive of entries of zeros, which are a thousandth as long once compressed."""
    path.parent.mkdir(exist_ok=True)
    with ZipFile(path, "w", ZIP_DEFLATED) as made:
        for number, size in enumerate(sizes):
            made.writestr(f"{number}.npy", bytes(size))


@pytest.mark.parametrize("name", ["model/network.keras", "model/estimator.skops", "emotion_x.keras", "a.npz"])
@pytest.mark.parametrize("sizes", [(1 << 26,), (1 << 23,) * 8])
def test_an_archive_that_unpacks_to_far_more_than_it_has_is_refused_unread(
    record: Path, name: str, sizes: tuple[int, ...]
) -> None:
    archive(record / name, *sizes)
    sha256 = hashlib.sha256((record / name).read_bytes()).hexdigest()
    edit(record, lambda values: values.update(files={name: sha256}))
    with pytest.raises(ResultsError, match=r"unpacks to 67,108,864 bytes; at most .* are accepted"):
        read_bundle(record, discover(()))


def test_an_archive_of_gigabytes_is_refused(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_files, "_MAX_UNPACKED", 1000)
    archive(record / "a.npz", 600, 600)
    sha256 = hashlib.sha256((record / "a.npz").read_bytes()).hexdigest()
    edit(record, lambda values: values.update(files={"a.npz": sha256}))
    with pytest.raises(ResultsError, match="at most 1,000 are accepted"):
        read_bundle(record, discover(()))
