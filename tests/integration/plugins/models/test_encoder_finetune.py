"""`encoder_finetune`: blocks read from ONNX files compute what onnxruntime computes, and are trained."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.formats import every_format_predicts_as
from marsbench.errors import BenchError, ConfigError, PluginError
from marsbench.features.pretrained import find_encoder
from marsbench.plugin.checks import check
from marsbench.plugin.features import Features, Floats
from marsbench.plugin.keras import import_keras
from marsbench.plugin.model import Examples, FitContext
from marsbench.plugin.onnx import Graph, Value
from marsbench.plugin.search_space import Defaults
from marsbench_plugins.encoder_blocks import Block, encoder_blocks
from marsbench_plugins.features.mfcc import Mfcc
from marsbench_plugins.features.speech_encoder_frames import SpeechEncoderFrames
from marsbench_plugins.models.encoder_finetune import EncoderFinetune, _transformed
from marsbench_plugins.onnx_encoder import layer_graph

onnx: Any = pytest.importorskip("onnx", reason="the extra 'encoder' is not installed")
onnxruntime: Any = pytest.importorskip("onnxruntime", reason="the extra 'encoder' is not installed")

BANDS, N_FRAMES, N_CLASSES = 4, 50, 3
HEADS = 2


class Form(NamedTuple):
    """How an encoder is written down."""

    weights: str = "float"
    """Or int8, or both: activations are quantised too."""
    norm: str = "one operator"
    gelu: str = "erf"
    linear: str = "MatMul"

    def __repr__(self) -> str:
        return " ".join(self)


FORMS = [
    Form(),
    Form(weights="int8"),
    Form(weights="both"),
    Form(norm="ten operators"),
    Form(gelu="one operator"),
    Form(weights="int8", linear="transposed"),
]


class Writer:
    """Writes a Whisper-type encoder of 20 ms frames, of log-mel in windows of 1 s."""

    def __init__(self, form: Form, width: int, seed: int) -> None:
        self.graph, self.form, self.width = Graph("encoder"), form, width
        self.random = np.random.default_rng(seed)

    def write(self, path: Path, n_blocks: int = 2) -> Path:
        sound = self.graph.input("input_features", np.float32, ["batch", BANDS, 2 * N_FRAMES])
        rows = sound.transpose(0, 2, 1).reshape(-1, N_FRAMES, 2 * BANDS)
        positions = self.random.normal(size=(1, N_FRAMES, self.width))
        hidden = self.linear(rows, 2 * BANDS, self.width) + positions
        for _ in range(n_blocks):
            hidden = self.block(hidden)
        self.graph.output("last_hidden_state", self.norm(hidden), ["batch", N_FRAMES, self.width])
        model = self.graph.model()
        model.opset_import[0].version = 20  # the first with the operator Gelu
        path.write_bytes(model.SerializeToString())
        return path

    def block(self, hidden: Value) -> Value:
        width, normed = self.width, self.norm(hidden)
        key, query, value = (self.heads(self.linear(normed, width, width, bias)) for bias in (0, 1, 1))
        scale = (width // HEADS) ** -0.25
        scores = (query * scale) @ (key * scale).transpose(0, 1, 3, 2)
        mixed = (self.rounded(scores.apply("Softmax", axis=-1)) @ value).transpose(0, 2, 1, 3)
        hidden = hidden + self.linear(mixed.reshape(-1, N_FRAMES, width), width, width)
        wide = self.gelu(self.linear(self.norm(hidden), width, 2 * width))
        return hidden + self.linear(wide, 2 * width, width)

    def heads(self, value: Value) -> Value:
        return value.reshape(-1, N_FRAMES, HEADS, self.width // HEADS).transpose(0, 2, 1, 3)

    def linear(self, value: Value, n_in: int, n_out: int, bias: float = 1) -> Value:
        kernel = self.random.normal(size=(n_in, n_out)) / np.sqrt(n_in)
        product = self.rounded(value) @ self.kernel(kernel.astype(np.float32))
        return product + bias * self.random.normal(size=n_out) if bias else product

    def kernel(self, values: Floats) -> Value:
        graph, is_transposed = self.graph, self.form.linear == "transposed"
        values = values.T.copy() if is_transposed else values
        kernel = graph.value(values, np.float32)
        if self.form.weights != "float":
            axis = 0 if is_transposed else 1
            scale = (np.abs(values).max(axis=1 - axis) / 127).astype(np.float32)
            whole = np.round(values / np.expand_dims(scale, 1 - axis)).astype(np.int8)
            parts = graph.value(whole, np.int8), graph.value(scale, np.float32)
            zero = graph.value(np.zeros(len(scale)), np.int8)
            kernel = graph.node("DequantizeLinear", *parts, zero, kind=np.float32, axis=axis)
        return kernel.transpose(1, 0) if is_transposed else kernel

    def rounded(self, value: Value) -> Value:
        if self.form.weights != "both":
            return value
        grid = self.graph.value(np.float32(0.05), np.float32), self.graph.value(np.uint8(128), np.uint8)
        whole = self.graph.node("QuantizeLinear", value, *grid, kind=np.uint8)
        return self.graph.node("DequantizeLinear", whole, *grid, kind=np.float32)

    def norm(self, value: Value) -> Value:
        gamma, beta = 1 + self.random.normal(size=(2, self.width)) / 4
        if self.form.norm == "one operator":
            parts = value.like(gamma), value.like(beta)
            return self.graph.node("LayerNormalization", value, *parts, kind=np.float32, epsilon=1e-3)
        centred = value - value.mean(2, keep=True)
        variance = self.graph.node("Pow", centred, centred.like(2), kind=np.float32).mean(2, keep=True)
        deviation: Value = (variance + 1e-3).apply("Sqrt")
        return centred / deviation * value.like(gamma) + value.like(beta)

    def gelu(self, value: Value) -> Value:
        if self.form.gelu == "one operator":
            return value.apply("Gelu")
        if self.form.gelu == "tanh":
            return value.apply("Tanh")
        return value * (((value / 2**0.5).apply("Erf") + 1) * 0.5)


def write_encoder(path: Path, form: Form = FORMS[0], *, width: int = 8, seed: int = 0) -> Path:
    return Writer(form, width, seed).write(path)


def without_rounded_activations(data: bytes) -> bytes:
    """The file as it was before its activations were quantised: pairs of operators on them are left out."""
    model = onnx.load_model_from_string(data)
    nodes = list(model.graph.node)
    makers = {name: node for node in nodes for name in node.output}
    same = {}
    for node in nodes:
        before = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if before is not None and before.op_type == "QuantizeLinear":
            same[node.output[0]] = before.input[0]
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)
    return bytes(model.SerializeToString())


def layers_by_onnxruntime(data: bytes, layers: list[str], inputs: Floats) -> list[Floats]:
    model = onnx.load_model_from_string(data)
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in layers)
    options = onnxruntime.SessionOptions()
    # Its optimisers would multiply by int8 weights in integers, which rounds activations.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return list(session.run(layers, {session.get_inputs()[0].name: inputs}))


def blocks_of(path: Path, layer: int = 0, n_blocks: int = 2) -> tuple[Block, ...]:
    file = find_encoder(str(path))
    return encoder_blocks(file.name, file.sha256, file.path, layer, n_blocks)


def hidden_states(blocks: tuple[Block, ...], values: Floats) -> list[NDArray[np.float32]]:
    """What the Keras layers give before any training, for values of frames that are all real."""
    keras = import_keras()
    weights: list[Any] = []
    hidden = inputs = keras.Input(values.shape[1:])
    real = keras.ops.any(keras.ops.not_equal(inputs, 0.0), axis=-1)
    outputs = []
    for block in blocks:
        hidden = _transformed(hidden, real, block, 4, weights)
        outputs.append(hidden)
    network = keras.Model(inputs, outputs)
    for layer, parts in weights:
        layer.set_weights([*parts[:2]])
    answers = network(values)
    return [answer.numpy() for answer in (answers if isinstance(answers, list) else [answers])]


def log_mel(n_bands: int = BANDS, n_frames: int = 2 * N_FRAMES) -> Floats:
    values = np.random.default_rng(1).normal(size=(1, n_bands, n_frames))
    return np.asarray(values / 4, np.float32)


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_blocks_give_the_hidden_states_of_onnxruntime(form: Form, tmp_path: Path) -> None:
    path = write_encoder(tmp_path / "a.onnx", form)
    _, layers = layer_graph(find_encoder(str(path)))
    data = without_rounded_activations(path.read_bytes())
    first, *expected = layers_by_onnxruntime(data, layers, log_mel())
    for found, wanted in zip(hidden_states(blocks_of(path), first), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.slow
def test_a_published_encoders_blocks_give_the_hidden_states_of_onnxruntime() -> None:
    if "MARSBENCH_ENCODER" not in os.environ:
        pytest.skip("MARSBENCH_ENCODER is not set to smart-turn-v3.2-cpu.onnx")
    path = Path(os.environ["MARSBENCH_ENCODER"])
    names = ["add_20", "add_146", "add_268", "add_390", "add_512"]
    data = without_rounded_activations(path.read_bytes())
    first, *expected = layers_by_onnxruntime(data, names, log_mel(80, 800))
    found = hidden_states(blocks_of(path, 0, 4), first)
    assert max(np.abs(a - b).max() for a, b in zip(found, expected, strict=True)) < 1e-3


def with_tanh(path: Path) -> Path:
    return write_encoder(path, Form(gelu="tanh"))


def with_computed_weights(path: Path) -> Path:
    model = onnx.load(str(write_encoder(path)))
    (product, *_) = [node for node in model.graph.node if node.op_type == "MatMul"][-1:]
    weight = product.input[1]
    model.graph.node.insert(0, onnx.helper.make_node("Neg", [weight], ["computed"]))
    product.input[1] = "computed"
    path.write_bytes(model.SerializeToString())
    return path


def with_a_scaled_branch(path: Path) -> Path:
    model = onnx.load(str(write_encoder(path)))
    place, product = [item for item in enumerate(model.graph.node) if item[1].op_type == "MatMul"][-1]
    scaled = onnx.helper.make_node("Mul", ["product", "factor"], [*product.output])
    product.output[0] = "product"
    model.graph.node.insert(place + 1, scaled)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "factor"))
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("write", "layer", "n_blocks", "told"),
    [
        (with_tanh, 0, 1, "the activation is not GELU"),
        (with_computed_weights, 1, 1, "the weights of .* are no constants"),
        (with_a_scaled_branch, 1, 1, "is multiplied by 0.5"),
        (write_encoder, 2, 1, "encoder a has 2 layers: no 1 after layer 2 can be trained"),
        (write_encoder, 1, 2, "encoder a has 2 layers: no 2 after layer 1 can be trained"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    write: Callable[[Path], Path], layer: int, n_blocks: int, told: str, tmp_path: Path
) -> None:
    with pytest.raises(PluginError, match=told) as caught:
        blocks_of(write(tmp_path / "a.onnx"), layer, n_blocks)
    assert "\n" not in str(caught.value)


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    return str(write_encoder(tmp_path / "small.onnx"))


def clips(n_dims: int = 9, n_frames: int = 7) -> Examples:
    random = np.random.default_rng(0)
    targets = np.arange(12) % N_CLASSES
    lengths = random.integers(2, n_frames + 1, len(targets))
    values = random.normal(size=(12, n_frames, n_dims)) + np.eye(N_CLASSES, n_dims)[targets][:, None]
    values[np.arange(n_frames) >= lengths[:, None]] = 0
    return Examples(Features(values.astype(np.float32), lengths), targets)


@pytest.mark.parametrize(("rank", "n_frozen"), [(0, 0), (4, 16)])
def test_the_pretrained_weights_are_trained_or_additions_of_low_rank(
    encoder: str, rank: int, n_frozen: int
) -> None:
    model = EncoderFinetune(encoder=encoder, layer=1)
    network = model.build(Defaults({"rank": rank}), (7, 9), N_CLASSES)
    frozen = [v for layer in network.layers if not layer.trainable for v in layer.variables]
    assert len(frozen) == n_frozen
    before = [v.numpy() for v in frozen]
    network.compile("adam", "categorical_crossentropy", run_eagerly=True)
    changed = [v.numpy() for v in network.trainable_variables]
    for _ in range(2):  # the first step of an addition of zeros moves only its second factor
        network.train_on_batch(clips().features.values, np.eye(N_CLASSES)[clips().targets])
    assert all(map(np.array_equal, before, [v.numpy() for v in frozen]))
    same = list(map(np.array_equal, changed, [v.numpy() for v in network.trainable_variables]))
    assert not any(same)


@pytest.mark.parametrize("level", [0, 1])
def test_padding_changes_no_prediction(encoder: str, level: int) -> None:
    model = EncoderFinetune(encoder=encoder, layer=0, blocks=2)
    values = np.random.default_rng(0).normal(size=(2, 5, 16 + level)).astype(np.float32)
    short, long = (model.build(Defaults({}), (n_frames, 16 + level), N_CLASSES) for n_frames in (5, 8))
    long.set_weights(short.get_weights())
    padded = np.pad(values, ((0, 0), (0, 3), (0, 0)))
    np.testing.assert_allclose(long(padded).numpy(), short(values).numpy(), atol=1e-5)


def test_features_of_another_width_are_refused(encoder: str) -> None:
    with pytest.raises(
        PluginError, match="frames of 59 dimensions are no layers of small, which have 8 each"
    ):
        EncoderFinetune(encoder=encoder, layer=1).build(Defaults({}), (7, 59), N_CLASSES)


def test_it_takes_only_hidden_states_of_the_layer_below_and_of_its_own_encoder(
    encoder: str, tmp_path: Path
) -> None:
    model = EncoderFinetune(encoder=encoder, layer=1)
    other = str(write_encoder(tmp_path / "other.onnx", seed=1))
    assert model.skip(SpeechEncoderFrames(encoder=encoder, layers=[0, 1])) is None
    assert "up to layer 1" in str(model.skip(SpeechEncoderFrames(encoder=encoder, layers=[1, 0])))
    assert "up to layer 1" in str(model.skip(Mfcc()))
    assert "of its own encoder, small" in str(model.skip(SpeechEncoderFrames(encoder=other, layers=[1])))


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"standardise": True}, "standardise must be false"),
        ({"layer": -1}, "layer must be at least 0"),
        ({"blocks": 0}, "blocks must be at least 1"),
        ({}, "encoder_finetune needs the encoder of its features"),
    ],
)
def test_wrong_parameters_are_told(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(BenchError, match=told) as caught:
        _ = EncoderFinetune.create(parameters).parameters
    assert isinstance(caught.value, ConfigError)


def test_the_file_of_an_encoder_decides_the_identity_not_its_place(encoder: str, tmp_path: Path) -> None:
    other = write_encoder(tmp_path / "small2.onnx", seed=1)
    first, second = (EncoderFinetune(encoder=str(path)).parameters for path in (encoder, other))
    assert first == EncoderFinetune(encoder="small").parameters
    assert first["sha256"] != second["sha256"]
    assert str(tmp_path) not in str(first)


def test_hyperparameters_can_be_declared_for_any_features(encoder: str) -> None:
    model = EncoderFinetune(encoder=encoder, layer=1)
    for point in ({}, *model.starting_points):
        hp = Defaults(dict(point))
        model.declare(hp, (174, 59), N_CLASSES)
        hp.refuse_unused("encoder_finetune")


@pytest.mark.slow
def test_it_keeps_its_contract(tmp_path: Path) -> None:
    path = write_encoder(tmp_path / "a.onnx", width=4)
    parameters = {"encoder": str(path), "layer": 0, "blocks": 2}
    assert [entry for entry in check(EncoderFinetune, parameters) if entry.problem] == []


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 4])
def test_every_format_predicts_as_the_network(encoder: str, rank: int, tmp_path: Path) -> None:
    examples = clips()
    model = EncoderFinetune(encoder=encoder, layer=1, epochs=2)
    model.fit(examples, Defaults({"rank": rank}), FitContext(N_CLASSES, 0))
    every_format_predicts_as(model, examples.features, tmp_path)
