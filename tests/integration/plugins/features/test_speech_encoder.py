import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from marsbench.config import Experiment
from marsbench.data.audio import Waveform, resample
from marsbench.errors import BenchError, ConfigError, PluginError
from marsbench.features.pretrained import find_encoder
from marsbench.planning.plans import make_plans
from marsbench.plugin.checks import check
from marsbench.plugin.features import FeatureExtractor, Floats
from marsbench.plugin.onnx import Graph, Value
from marsbench.plugin.registry import discover
from marsbench.progress import Silent
from marsbench_plugins.features.functionals import Functionals
from marsbench_plugins.features.speech_encoder import SpeechEncoder
from marsbench_plugins.features.speech_encoder_frames import SpeechEncoderFrames
from marsbench_plugins.features.speech_encoder_functionals import SpeechEncoderFunctionals
from marsbench_plugins.filter_banks import mel_bank
from marsbench_plugins.onnx_encoder import OpenedEncoder
from marsbench_plugins.speech_encoding import levels, normalised
from marsbench_plugins.whisper_mel import whisper_log_mel

onnx: Any = pytest.importorskip("onnx", reason="the extra 'encoder' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'encoder' is not installed")

RATE = 16_000
BANDS, WIDTH, LAYERS = 4, 6, 3
STRIDE = 320
PLUGINS = [SpeechEncoder, SpeechEncoderFrames, SpeechEncoderFunctionals]
Doubles = NDArray[np.float64]
every_form = pytest.mark.parametrize(
    "form", [(mel, post) for mel in (True, False) for post in (True, False)], ids=str
)


class Weights(NamedTuple):
    stem: Doubles
    position: Doubles
    mixing: list[Doubles]
    """Two a layer."""


def weights(seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)
    mixing = [rng.normal(size=(WIDTH, WIDTH)) for _ in range(2 * LAYERS)]
    stem = {"mel": 2 * BANDS, "waveform": STRIDE}
    return Weights(rng.normal(size=(max(stem.values()), WIDTH)), rng.normal(size=(1, 50, WIDTH)), mixing)


def norm(value: Any) -> Any:
    """Layer normalisation of what has the methods of both numpy's arrays and a graph's values."""
    if isinstance(value, Value):
        centred = value - value.mean(2, keep=True)
        return centred / ((centred * centred).mean(2, keep=True) + 1e-5).apply("Sqrt")
    centred = value - value.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def tanh(value: Any) -> Any:
    return value.apply("Tanh") if isinstance(value, Value) else np.tanh(value)


def layers_of(hidden: Any, made_of: Weights, post: bool) -> list[Any]:
    """What enters the first layer and what leaves each, of pre-norm or post-norm layers."""
    found = [hidden]
    for number, mixing in enumerate(made_of.mixing):
        weight = mixing.astype(np.float32)
        hidden = norm(hidden + tanh(hidden @ weight)) if post else hidden + tanh(norm(hidden) @ weight)
        if number % 2:
            found.append(hidden)
    return found


def write_encoder(path: Path, *, mel: bool = True, post: bool = False, seed: int = 0) -> Path:
    """An encoder of 20 ms frames: of log-mel in windows of 1 s, or of any number of samples with a mask."""
    made_of, graph = weights(seed), Graph("encoder")
    if mel:
        sound = graph.input("input_features", np.float32, ["batch", BANDS, 100])
        rows = sound.transpose(0, 2, 1).reshape(1, 50, 2 * BANDS)
        hidden = rows @ made_of.stem[: 2 * BANDS] + made_of.stem[0] + made_of.position
    else:
        sound = graph.input("input_values", np.float32, ["batch", "n_samples"])
        sound = sound * graph.input("attention_mask", np.int64, ["batch", "n_samples"]).cast(np.float32)
        n_frames = graph.node("Div", sound.size(1), sound.like(0).cast(np.int64) + STRIDE, kind=np.int64)
        rows = sound.part(0, n_frames * STRIDE, axis=1).reshape(1, -1, STRIDE)
        hidden = rows @ made_of.stem[:STRIDE]
        hidden = hidden + tanh(hidden * 0.5)
    last = layers_of(hidden, made_of, post)[-1].reshape(sound.size(0), -1, WIDTH)
    graph.output("last_hidden_state", last if post else norm(last), ["batch", "n_frames", WIDTH])
    path.write_bytes(graph.model().SerializeToString())
    return path


def expected_layers(samples: Floats, *, mel: bool, post: bool, seed: int = 0) -> list[Doubles]:
    """The same by hand, (n_frames, WIDTH) each."""
    made_of = weights(seed)
    if mel:
        rows = whisper_log_mel(samples, 100, BANDS).T.reshape(50, 2 * BANDS)
        hidden = rows @ made_of.stem[: 2 * BANDS] + made_of.stem[0] + made_of.position[0]
    else:
        rows = samples[: len(samples) // STRIDE * STRIDE].reshape(-1, STRIDE)
        hidden = rows @ made_of.stem[:STRIDE]
        hidden = hidden + tanh(hidden * 0.5)
    return layers_of(hidden, made_of, post)


def voice(seconds: float, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * (200 * time + 3 * np.sin(9 * time)))
    return np.asarray(0.1 * (tone + rng.normal(0, 0.1, len(time))), np.float32)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "small.onnx")


@every_form
def test_layers_are_found_by_the_shape_of_the_graph(form: tuple[bool, bool], tmp_path: Path) -> None:
    mel, post = form
    path = write_encoder(tmp_path / "a.onnx", mel=mel, post=post)
    samples = voice(1.0)
    answer = OpenedEncoder(find_encoder(str(path)), range(LAYERS + 1))(samples)
    expected = np.hstack(expected_layers(samples, mel=mel, post=post))
    np.testing.assert_allclose(answer, expected, atol=2e-5)


def test_a_layer_can_be_a_tensor_of_the_file(encoder: Path) -> None:
    named = OpenedEncoder(find_encoder(str(encoder)), ["last_hidden_state"])(voice(1.0))
    last = expected_layers(voice(1.0), mel=True, post=False)[-1]
    np.testing.assert_allclose(named, norm(last), atol=2e-5)


@pytest.mark.parametrize("seconds", [0.1, 0.31, 0.5, 1.0])
def test_frames_of_padding_alone_are_left_out(encoder: Path, seconds: float) -> None:
    frames = SpeechEncoder(encoder=str(encoder), layers=[1], level=False).frames(voice(seconds))
    samples = normalised(voice(seconds))
    whole = expected_layers(samples, mel=True, post=False)[1]
    assert len(frames) == np.ceil(round(seconds * 50, 6))
    np.testing.assert_allclose(frames, whole[: len(frames)], atol=2e-5)


@pytest.mark.parametrize(("seconds", "n_frames"), [(2.5, 125), (2.05, 100), (2.1, 105)])
def test_a_long_clip_is_heard_window_by_window(encoder: Path, seconds: float, n_frames: int) -> None:
    extractor = SpeechEncoder(encoder=str(encoder), normalise=False)
    frames = extractor.frames(voice(seconds))
    assert len(frames) == n_frames
    np.testing.assert_array_equal(frames[50:100], extractor.frames(voice(seconds)[RATE : 2 * RATE]))


def test_a_clip_is_its_means_and_deviations(encoder: Path) -> None:
    extractor = SpeechEncoder(encoder=str(encoder), layers=[0, 2])
    frames = extractor.frames(voice(0.7))
    assert frames.shape == (35, 2 * WIDTH + 1)
    expected = np.concatenate([frames.mean(axis=0), frames.std(axis=0)])
    np.testing.assert_allclose(extractor.checked_extract(voice(0.7), RATE), expected, rtol=1e-4, atol=1e-6)


def test_frames_are_averaged_and_cut(encoder: Path) -> None:
    every = SpeechEncoderFrames(encoder=str(encoder), averaged=1, n_frames=None).extract(voice(0.9), RATE)
    fewer = SpeechEncoderFrames(encoder=str(encoder), averaged=4, n_frames=5).extract(voice(0.9), RATE)
    whole = SpeechEncoderFrames(encoder=str(encoder), averaged=4, n_frames=None).extract(voice(0.9), RATE)
    assert (every.shape, fewer.shape, whole.shape) == ((45, 7), (5, 7), (12, 7))
    np.testing.assert_allclose(fewer, every[:20].reshape(5, 4, 7).mean(axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole[-1], every[-1], rtol=1e-4, atol=1e-5)


def test_the_encoder_hears_no_loudness_and_the_level_tells_it(encoder: Path) -> None:
    extractor = SpeechEncoder(encoder=str(encoder))
    quiet, loud = extractor.frames(voice(1.0)), extractor.frames(10 * voice(1.0))
    np.testing.assert_allclose(quiet[:, :-1], loud[:, :-1], atol=1e-2)
    np.testing.assert_allclose(loud[:, -1] - quiet[:, -1], 20, atol=1e-3)


def test_levels_are_those_of_equal_stretches() -> None:
    samples = np.concatenate([np.full(320, 0.1), np.zeros(320), np.full(320, 1.0)]).astype(np.float32)
    np.testing.assert_allclose(levels(samples, 3), [-20, -100, 0], atol=1e-4)


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("form", [(True, False), (False, True)], ids=str)
def test_the_contract_is_kept(
    plugin: type[FeatureExtractor], form: tuple[bool, bool], tmp_path: Path
) -> None:
    path = write_encoder(tmp_path / "a.onnx", mel=form[0], post=form[1])
    problems = {item.name: item.problem for item in check(plugin, {"encoder": str(path)}) if item.problem}
    assert problems == {}


def test_an_equal_file_elsewhere_has_an_equal_key_and_another_file_another(tmp_path: Path) -> None:
    entry = discover(()).get("features", "speech_encoder")
    first = write_encoder(tmp_path / "a.onnx")
    (tmp_path / "elsewhere").mkdir()
    again = shutil.copy(first, tmp_path / "elsewhere" / "a.onnx")
    key = entry.recipe({"encoder": str(first)}).key
    assert key == entry.recipe({"encoder": str(again)}).key == entry.recipe({"encoder": "a"}).key
    write_encoder(first, seed=1)
    recipe = entry.recipe({"encoder": str(first)})
    assert recipe.key != key
    assert str(tmp_path) not in str(recipe)


def test_a_recipe_finds_its_encoder_though_the_users_file_is_gone(encoder: Path) -> None:
    entry = discover(()).get("features", "speech_encoder")
    recipe = entry.recipe({"encoder": str(encoder)})
    before = SpeechEncoder(encoder=str(encoder)).extract(voice(0.5), RATE)
    encoder.unlink()
    np.testing.assert_array_equal(SpeechEncoder.create(recipe.parameters).extract(voice(0.5), RATE), before)


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([4], "encoder small has no layer 4. Available: 0 to 3."),
        ([-1], "encoder small has no layer -1"),
        (["nonsense"], "encoder small has no tensor 'nonsense'"),
    ],
)
def test_a_layer_that_is_not_there_is_told(encoder: Path, layers: list[int | str], told: str) -> None:
    with pytest.raises(PluginError, match=told):
        SpeechEncoder(encoder=str(encoder), layers=layers).extract(voice(0.5), RATE)


@pytest.mark.parametrize("layers", [[], [True], [1.5], 2, "add_1"])
def test_what_can_be_no_layer_is_refused_at_once(layers: list[Any]) -> None:
    with pytest.raises(ConfigError, match="layers must be numbers from 0 on or names of tensors"):
        SpeechEncoder.create({"layers": layers})


def test_an_encoder_must_be_named() -> None:
    with pytest.raises(ConfigError, match=r"speech_encoder needs an encoder: .*whisper_tiny"):
        discover(()).get("features", "speech_encoder").recipe({})


def test_an_encoder_that_is_set_once_serves_all_extractors_of_a_run(encoder: Path, kit: Path) -> None:
    names = ["speech_encoder", "speech_encoder_functionals"]
    settings = {"speech_encoder.encoder": str(encoder)}
    asked = Experiment(features=names, model=["svm"], data=["tones"], plugins=[kit], set=settings)
    (plan,) = make_plans(asked, Silent())
    assert [one.settings[f"{one.features.name}.encoder"] for one in plan.pipelines] == [str(encoder)] * 2


def with_weights_elsewhere(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def with_a_number_for_sound(model: Any) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[1:]


def without_layers(model: Any) -> None:
    model.graph.output[0].name = model.graph.node[0].output[0]


def with_a_strange_operator(model: Any) -> None:
    model.graph.node[0].op_type = "Backdoor"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (with_weights_elsewhere, "has weights in other files"),
        (with_a_number_for_sound, "has no input of samples"),
        (without_layers, "the layers of encoder .* cannot be determined"),
        (with_a_strange_operator, "encoder .* cannot be run: .*Backdoor"),
    ],
)
def test_a_file_that_is_no_encoder_is_refused(
    encoder: Path, change: Callable[[Any], None], told: str
) -> None:
    model = onnx.load_model(str(encoder))
    change(model)
    encoder.write_bytes(model.SerializeToString())
    with pytest.raises(PluginError, match=told) as caught:
        SpeechEncoder(encoder=str(encoder)).extract(voice(0.5), RATE)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\xff\xff\xff")
    with pytest.raises(PluginError, match="is not an ONNX file"):
        SpeechEncoder(encoder=str(tmp_path / "a.onnx")).extract(voice(0.5), RATE)


def test_a_file_that_changed_since_it_was_kept_is_not_used(encoder: Path) -> None:
    file = find_encoder(str(encoder))
    file.path.write_bytes(b"other")
    with pytest.raises(BenchError, match="is damaged"):
        SpeechEncoder(encoder=file.name, sha256=file.sha256, layers=[3]).extract(voice(0.5), RATE)


def test_a_run_keeps_its_features_until_the_encoder_is_another(bench: Any, kit: Path, encoder: Path) -> None:
    def said() -> str:
        grid = ("--features", "speech_encoder", "--model", "nearest_mean", "--data", "tones", "--trials", "0")
        setting = ("--set", f"speech_encoder.encoder={encoder}")
        result = bench("run", *grid, *setting, "--plugins", kit, "--protocol", "holdout80")
        assert result.exit_code == 0, result.stderr
        return str(result.stderr)

    assert "0 of 30 clips from the store" in said()
    shutil.rmtree("results")
    assert "all 30 clips from the store" in said()
    write_encoder(encoder, seed=1)
    assert "0 of 30 clips from the store" in said()


def by_the_formula(samples: Floats, n_frames: int, n_mels: int) -> Doubles:
    """Whisper's published steps, frame by frame and sum by sum."""
    sound = np.pad(samples.astype(float), (0, n_frames * 160 - len(samples)))
    sound = np.concatenate([sound[200:0:-1], sound, sound[-2:-202:-1]])
    window = np.array([0.5 * (1 - np.cos(2 * np.pi * n / 400)) for n in range(400)])
    waves = np.exp(-2j * np.pi * np.outer(np.arange(201), np.arange(400)) / 400)
    frames = [waves @ (window * sound[160 * t : 160 * t + 400]) for t in range(n_frames)]
    mel = mel_bank(RATE, 400, n_mels).T @ (np.abs(np.array(frames).T) ** 2)
    log = np.log10(np.clip(mel, 1e-10, None))
    return np.asarray((np.maximum(log, log.max() - 8.0) + 4.0) / 4.0)


@pytest.mark.parametrize(("n_samples", "n_mels"), [(1600, 80), (7913, 128), (15_900, 80), (16_000, 80)])
def test_the_log_mel_is_whispers(n_samples: int, n_mels: int) -> None:
    samples = voice(1.0)[:n_samples]
    expected = by_the_formula(samples, 100, n_mels)
    np.testing.assert_allclose(whisper_log_mel(samples, 100, n_mels), expected, atol=1e-5)


def test_what_is_longer_than_the_log_mels_window_is_not_heard() -> None:
    np.testing.assert_array_equal(whisper_log_mel(voice(2.0), 100), whisper_log_mel(voice(2.0)[:RATE], 100))


def test_the_log_mel_shows_gain_as_an_offset_and_spans_80_db() -> None:
    quiet, loud = whisper_log_mel(voice(1.0), 100), whisper_log_mel(10 * voice(1.0), 100)
    np.testing.assert_allclose(loud - quiet, 0.5, atol=1e-4)
    assert np.ptp(whisper_log_mel(voice(0.3), 100)) == pytest.approx(2)


def test_encoder_and_functionals_stand_side_by_side(encoder: Path) -> None:
    rate = Functionals.sample_rate
    clip = resample(Waveform(voice(1.3), RATE), rate)
    joined = SpeechEncoderFunctionals(encoder=str(encoder)).extract(clip.samples, rate)
    by_encoder = SpeechEncoder(encoder=str(encoder)).extract(resample(clip, RATE).samples, RATE)
    functionals = Functionals().extract(clip.samples, rate)
    np.testing.assert_array_equal(joined, np.concatenate([by_encoder, functionals]))


@pytest.mark.parametrize("n_samples", range(2205, 2216))
def test_the_shortest_clips_are_still_heard_at_the_encoders_rate(encoder: Path, n_samples: int) -> None:
    clip = resample(Waveform(voice(0.2), RATE), Functionals.sample_rate).samples[:n_samples]
    assert np.isfinite(
        SpeechEncoderFunctionals(encoder=str(encoder)).extract(clip, Functionals.sample_rate)
    ).all()


@pytest.fixture(scope="session")
def published() -> Path:
    """The complete Whisper-tiny encoder smart-turn-v3.2-cpu.onnx."""
    if "MARSBENCH_ENCODER" not in os.environ:
        pytest.skip("MARSBENCH_ENCODER is not set to smart-turn-v3.2-cpu.onnx")
    return Path(os.environ["MARSBENCH_ENCODER"])


def test_the_layers_of_a_published_encoder_are_found(published: Path) -> None:
    names = ["add_20", "add_146", "add_268", "add_390", "add_512"]
    file = find_encoder(str(published))
    frames = OpenedEncoder(file, range(5))(voice(2.0))
    assert frames.shape == (100, 5 * 384)
    np.testing.assert_array_equal(frames, OpenedEncoder(file, [*names])(voice(2.0)))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_published_encoder_keeps_the_contract(plugin: type[FeatureExtractor], published: Path) -> None:
    found = check(plugin, {"encoder": str(published), "layers": [1]})
    assert {item.name: item.problem for item in found if item.problem} == {}
