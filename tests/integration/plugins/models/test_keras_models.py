"""Everything that needs TensorFlow: the base of Keras models, the built-in ones, Keras Tuner's answers."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from marsbench.errors import PluginError, TrainingError
from marsbench.plugin.checks import check
from marsbench.plugin.features import FeatureKind, Features
from marsbench.plugin.keras import import_keras
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.model import Examples, FitContext
from marsbench.plugin.search_space import Defaults, HyperParameters, Scalar
from marsbench_plugins.models.cnn2d import Cnn2d
from marsbench_plugins.models.cnn_lstm import CnnLstm


@dataclass
class Tiny(KerasModel):
    """One softmax layer."""

    accepts: ClassVar[FeatureKind] = "vector"

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        keras = import_keras()
        layer = keras.layers.Dense(n_classes, activation=hp.Choice("activation", ["softmax", "linear"]))
        return keras.Sequential([keras.Input(input_shape), layer])


def vectors(shift: int = 0, seed: int = 0) -> Examples:
    """Three classes at three corners, in dimensions far from standard; `shift` mislabels them."""
    random = np.random.default_rng(seed)
    targets = np.arange(60) % 3
    values = (3 * np.eye(3)[targets] + random.normal(size=(60, 3))) * [1, 100, 1] + [0, 500, 0]
    return Examples(Features(values.astype(np.float32), np.ones_like(targets)), (targets + shift) % 3)


def fitted(model: KerasModel, context: FitContext | None = None, **overrides: Scalar) -> KerasModel:
    return model.fit(vectors(), Defaults(overrides), context or FitContext(3, 0))


def log_loss(model: KerasModel, examples: Examples) -> float:
    likelihoods = model.predict_proba(examples.features)[np.arange(len(examples)), examples.targets]
    return float(-np.log(likelihoods).mean())


@pytest.fixture(scope="module")
def tiny() -> KerasModel:
    return fitted(Tiny(epochs=30), FitContext(3, 0, vectors(seed=1)), learning_rate=0.05)


@pytest.mark.parametrize("plugin", [CnnLstm, Cnn2d])
def test_a_network_keeps_its_contract(plugin: type[KerasModel]) -> None:
    assert [entry for entry in check(plugin) if entry.problem] == []


def test_the_reference_network_at_its_last_step_is_the_published_one() -> None:
    network = CnnLstm().build(Defaults({"pooling": "last"}), (174, 59), 8)
    layers = [(type(layer).__name__, tuple(layer.output.shape[1:])) for layer in network.layers[1:]]
    block = ["Conv1D", "BatchNormalization", "MaxPooling1D", "Dropout"]
    head = ["Bidirectional", "Dense", "Dropout", "Dense"]
    assert [name for name, _ in layers] == block + block + head
    widths = [shape[-1] for _, shape in layers]
    assert widths == [64] * 4 + [128] * 4 + [128, 128, 128, 8]
    assert network.layers[1].kernel_size == (5,)


def test_the_untuned_reference_network_trains_all_clips_in_one_cycle_of_few_epochs() -> None:
    hp, model = Defaults(), CnnLstm()
    model.declare(hp, (12, 5), 3)
    assert not model.wants_validation
    assert (model.epochs, hp.values["batch_size"], hp.values["schedule"]) == (9, 0, "one_cycle")
    assert (hp.values["pooling"], hp.values["augment"]) == ("attention", False)


@pytest.mark.parametrize("point", CnnLstm.starting_points, ids=str)
def test_every_starting_point_of_the_reference_network_is_a_configuration(point: dict[str, Scalar]) -> None:
    hp = Defaults(point)
    CnnLstm().declare(hp, (12, 5), 3)
    hp.refuse_unused("cnn_lstm")


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (300, 2)])
@pytest.mark.parametrize("plugin", [CnnLstm, Cnn2d])
def test_a_network_can_be_built_for_any_shape(plugin: type[KerasModel], shape: tuple[int, int]) -> None:
    assert plugin().build(Defaults(), shape, 4).output_shape == (None, 4)


def test_a_fit_learns_from_features_of_any_scale(tiny: KerasModel) -> None:
    answer = tiny.predict_proba(vectors().features)
    assert (answer.argmax(axis=1) == vectors().targets).mean() > 0.9
    assert np.allclose(answer.sum(axis=1), 1, atol=1e-12)


def test_scaling_knows_the_training_clips_only(tiny: KerasModel) -> None:
    assert np.allclose(tiny.scaling_.mean, vectors().features.values.mean(axis=0, dtype=np.float64))


def test_scaling_can_be_left_to_the_extractor() -> None:
    model = fitted(Tiny(epochs=1, standardise=False))
    assert np.array_equal(model.scaling_.mean, np.zeros(3))


def test_parameters_are_counted_and_epochs_recorded(tiny: KerasModel) -> None:
    assert tiny.n_parameters_ == 3 * 3 + 3
    assert tiny.history_[0].keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert tiny.history_[-1]["loss"] < tiny.history_[0]["loss"]


def test_each_epoch_is_reported() -> None:
    seen: list[tuple[int, int]] = []
    fitted(
        Tiny(epochs=3), FitContext(3, 0, on_epoch=lambda epoch, most, _metrics: seen.append((epoch, most)))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_training_stops_when_the_validation_loss_no_longer_falls_and_keeps_the_best_weights() -> None:
    misleading = vectors(shift=1)  # the better the training clips are learnt, the worse these are
    model = fitted(Tiny(epochs=40, patience=3), FitContext(3, 0, misleading), learning_rate=0.05)
    losses = [epoch["val_loss"] for epoch in model.history_]
    assert len(losses) == int(np.argmin(losses)) + 1 + 3 < 40
    assert log_loss(model, misleading) == pytest.approx(min(losses), rel=1e-4)


def test_patience_0_trains_every_epoch_and_keeps_the_last_weights() -> None:
    misleading = vectors(shift=1)
    model = fitted(Tiny(epochs=8, patience=0), FitContext(3, 0, misleading), learning_rate=0.05)
    assert len(model.history_) == 8
    assert log_loss(model, misleading) == pytest.approx(model.history_[-1]["val_loss"], rel=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_only_the_seed_decides_a_fit(tiny: KerasModel, seed: int) -> None:
    other = fitted(Tiny(epochs=30), FitContext(3, seed, vectors(seed=1)), learning_rate=0.05)
    same = np.array_equal(other.predict_proba(vectors().features), tiny.predict_proba(vectors().features))
    assert same == (seed == 0)
    assert (other.history_ == tiny.history_) == (seed == 0)


def test_an_earlier_model_still_predicts_after_another_fit(tiny: KerasModel) -> None:
    before = tiny.predict_proba(vectors().features)
    fitted(Tiny(epochs=1))
    assert np.array_equal(tiny.predict_proba(vectors().features), before)


def test_clips_are_predicted_alike_alone_and_together(tiny: KerasModel) -> None:
    features = vectors().features
    together = tiny.predict_proba(features)
    alone = [tiny.predict_proba(features[np.array([row])])[0] for row in (0, 59)]
    assert np.allclose(together[[0, 59]], alone, atol=1e-6)


def test_no_clips_get_no_rows(tiny: KerasModel) -> None:
    assert tiny.predict_proba(vectors().features[np.array([], np.int64)]).shape == (0, 3)


def test_a_loss_of_nan_ends_the_fit_with_its_epoch() -> None:
    with pytest.raises(TrainingError, match=r"loss is (NaN|infinite) in epoch \d+ of 5"):
        fitted(Tiny(epochs=5), learning_rate=1e38)


def test_outputs_that_are_no_probabilities_are_refused() -> None:
    model = fitted(Tiny(epochs=1), activation="linear")
    with pytest.raises(TrainingError, match="not probabilities"):
        model.predict_proba(vectors().features)


def test_nothing_can_be_learnt_from_no_clips() -> None:
    nothing = Examples(vectors().features[np.array([], np.int64)], np.array([], np.int64))
    with pytest.raises(TrainingError, match="no clips"):
        Tiny().fit(nothing, Defaults(), FitContext(3, 0))


@dataclass
class Wrong(Tiny):
    """Builds for another number of classes, or no network."""

    extra: int = 1

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        return super().build(hp, input_shape, n_classes + self.extra) if self.extra else "network"


@pytest.mark.parametrize(
    ("extra", "message"),
    [(0, "returned str; a keras.Model is needed"), (1, r"output shape \(None, 4\); \(None, 3\) is needed")],
)
def test_build_must_return_a_network_for_the_classes(extra: int, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        fitted(Wrong(extra=extra))


@dataclass
class Compiled(Tiny):
    """Brings its own optimiser, and leaves its input shape open."""

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:  # noqa: ARG002 - fixed
        keras = import_keras()
        network = keras.Sequential([keras.layers.Dense(n_classes, activation="softmax")])
        network.compile("sgd", "kl_divergence")
        return network


def test_a_compiled_network_keeps_its_optimiser_and_asks_for_no_learning_rate() -> None:
    hp = Defaults()
    model = Compiled(epochs=1).fit(vectors(), hp, FitContext(3, 0))
    assert type(model.network_.optimizer).__name__ == "SGD"
    assert hp.values == {
        "batch_size": 32,
        "early_stopping": True,
        "class_weights": False,
        "augment": False,
    }


def test_a_saved_model_answers_the_same_when_loaded(tiny: KerasModel, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    loaded = Tiny().load(tmp_path)
    assert np.array_equal(loaded.predict_proba(vectors().features), tiny.predict_proba(vectors().features))
    assert loaded.n_parameters_ == tiny.n_parameters_
    assert {path.name for path in tmp_path.iterdir()} >= {"model.keras", "scaling.npz"}


def test_a_loaded_model_that_is_asked_clip_by_clip_describes_its_network_at_no_clip(
    tiny: KerasModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.save(tmp_path)
    loaded, features = Tiny().load(tmp_path), vectors().features
    monkeypatch.setattr("marsbench.plugin.keras.trainer._configuration", lambda _: pytest.fail("described"))
    answers = [loaded.predict_proba(features[np.array([row])]) for row in range(3)]
    monkeypatch.undo()
    assert np.allclose(np.concatenate(answers), tiny.predict_proba(features)[:3], atol=1e-6)


def test_what_is_loaded_into_a_model_again_is_what_it_predicts_with(tiny: KerasModel, tmp_path: Path) -> None:
    model = Tiny()
    for name, fitted in {
        "one": tiny,
        "other": Tiny(epochs=1).fit(vectors(1), Defaults(), FitContext(3, 0)),
    }.items():
        (tmp_path / name).mkdir()
        fitted.save(tmp_path / name)
        model.load(tmp_path / name)
        assert np.array_equal(
            model.predict_proba(vectors().features), fitted.predict_proba(vectors().features)
        )


def test_another_width_of_features_is_refused(tiny: KerasModel) -> None:
    wide = Features(np.ones((2, 5), np.float32), np.ones(2, np.int64))
    with pytest.raises(PluginError, match="fitted on 3 feature dimensions; the given features have 5"):
        tiny.predict_proba(wide)


@pytest.mark.parametrize("content", [None, b"", b"no zip"])
def test_anything_else_than_a_saved_network_is_refused(
    tiny: KerasModel, tmp_path: Path, content: bytes | None
) -> None:
    tiny.scaling_.save(tmp_path / "scaling.npz")
    if content is not None:
        (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(PluginError, match="is not a network of test_keras_models"):
        Tiny().load(tmp_path)


def test_a_file_that_would_run_code_is_refused(tiny: KerasModel, tmp_path: Path) -> None:
    keras = import_keras()
    tiny.scaling_.save(tmp_path / "scaling.npz")
    hostile = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x)])
    hostile.save(tmp_path / "model.keras")
    with pytest.raises(PluginError, match="is not a network of test_keras_models"):
        Tiny().load(tmp_path)


def test_a_file_that_names_a_foreign_class_is_refused(tiny: KerasModel, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config |= {"module": "subprocess", "class_name": "Popen", "registered_name": None}
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        for name, content in (parts | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, content)
    with pytest.raises(PluginError, match="is not a network of test_keras_models"):
        Tiny().load(tmp_path)


DECLARATIONS = [
    ("Int", {"name": "a", "min_value": 3, "max_value": 9}),
    ("Int", {"name": "a", "min_value": 2, "max_value": 64, "step": 2, "sampling": "log", "default": 8}),
    ("Float", {"name": "a", "min_value": 0.5, "max_value": 2.0}),
    ("Float", {"name": "a", "min_value": 1e-4, "max_value": 1.0, "sampling": "log", "default": 0.01}),
    ("Choice", {"name": "a", "values": ["x", "y"]}),
    ("Choice", {"name": "a", "values": [1, 2, 3], "default": 2}),
    ("Boolean", {"name": "a"}),
    ("Boolean", {"name": "a", "default": True}),
    ("Fixed", {"name": "a", "value": 5}),
]


@pytest.mark.parametrize(("kind", "arguments"), DECLARATIONS)
def test_defaults_are_those_of_keras_tuner(kind: str, arguments: dict[str, Any]) -> None:
    import_keras()
    from keras_tuner import HyperParameters as KerasTuners

    ours, theirs = Defaults(), KerasTuners()
    answer, expected = (getattr(hp, kind)(**arguments) for hp in (ours, theirs))
    assert (answer, type(answer)) == (expected, type(expected))
    assert ours.values == theirs.values


@pytest.mark.parametrize("plugin", [CnnLstm, Cnn2d])
def test_the_untuned_configuration_is_the_one_that_keras_tuner_would_start_from(
    plugin: type[KerasModel],
) -> None:
    import_keras()
    from keras_tuner import HyperParameters as KerasTuners

    ours, theirs = Defaults(), KerasTuners()
    for hp in (ours, theirs):
        plugin().build(hp, (12, 5), 3)
    assert ours.values == theirs.values


def test_conditional_declarations_are_active_where_keras_tuner_has_them_active() -> None:
    import_keras()
    from keras_tuner import HyperParameters as KerasTuners

    ours, theirs = Defaults(), KerasTuners()
    for hp in (ours, theirs):
        hp.Choice("cell", ["lstm", "gru"])
        for cell in ("lstm", "gru"):
            with hp.conditional_scope("cell", [cell]):
                hp.Int(f"{cell}_units", 4, 8)
    assert ours.values == theirs.values == {"cell": "lstm", "lstm_units": 4}
