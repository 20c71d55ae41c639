"""Keras networks are trained by kept traces, in one go or in rungs: always to the same bits.

Run as a program, it fits one network after another and prints what each came to: a fresh process for the
test that compares it with its own, in which anything may be kept.
"""

import hashlib
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest

from marsbench.errors import PluginError, TrainingError
from marsbench.execution.limits import environment_for, limited_threads
from marsbench.plugin.features import FeatureKind, Features
from marsbench.plugin.keras import import_keras, trainer
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.keras.trainer import Trainer, trainer_for
from marsbench.plugin.model import Examples, FitContext, concatenate
from marsbench.plugin.search_space import Defaults, HyperParameters, Scalar
from marsbench_plugins.models.cnn_lstm import CnnLstm


@dataclass
class Tiny(KerasModel):
    """One softmax layer behind dropout."""

    accepts: ClassVar[FeatureKind] = "vector"
    dropout: float = 0.0

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:  # noqa: ARG002 - fixed
        layers = import_keras().layers
        inner = [layers.Dropout(self.dropout)] if self.dropout else []
        return import_keras().Sequential(
            [import_keras().Input(input_shape), *inner, layers.Dense(n_classes, activation="softmax")]
        )


class Own(Tiny):
    """As a network that comes with marsbench."""

    __module__ = "marsbench_plugins.models.own"


@dataclass
class Built(Tiny):
    """Whatever a test makes of the usual network."""

    change: Callable[[Any], Any] = field(default=lambda network: network)

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        return self.change(super().build(hp, input_shape, n_classes))


@dataclass
class Recurrent(KerasModel):
    """A small LSTM."""

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:  # noqa: ARG002 - fixed
        keras = import_keras()
        layers = [keras.layers.LSTM(4), keras.layers.Dense(n_classes, activation="softmax")]
        return keras.Sequential([keras.Input(input_shape), *layers])


@dataclass
class Normalised(KerasModel):
    """Two steps of an LSTM behind what each batch moves."""

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:  # noqa: ARG002 - fixed
        layers = import_keras().layers
        inner = [layers.BatchNormalization(), layers.MaxPooling1D(4), layers.LSTM(4)]
        last = layers.Dense(n_classes, activation="softmax")
        return import_keras().Sequential([import_keras().Input(input_shape), *inner, last])


def vectors(shift: int = 0, seed: int = 0) -> Examples:
    """Three classes at three corners, the first one more frequent; `shift` mislabels them."""
    random = np.random.default_rng(seed)
    targets = np.maximum(np.arange(60) % 4 - 1, 0)
    values = 2 * np.eye(3)[targets] + random.normal(size=(60, 3))
    return Examples(Features(values.astype(np.float32), np.ones_like(targets)), (targets + shift) % 3)


def frames(n_frames: int = 8, n_dims: int = 3, n_clips: int = 30) -> Examples:
    """Clips of different lengths whose mean tells the class."""
    random = np.random.default_rng(0)
    targets, lengths = np.arange(n_clips) % 3, random.integers(n_frames // 2, n_frames + 1, n_clips)
    values = random.normal(size=(n_clips, n_frames, n_dims)) + targets[:, None, None]
    values *= np.arange(n_frames)[:, None] < lengths[:, None, None]
    return Examples(Features(values.astype(np.float32), lengths), targets)


EXAMPLES: dict[FeatureKind, Callable[[], Examples]] = {"vector": vectors, "frames": frames}
ROUGH = {"augment": True, "noise": 0.2, "gain": 0.1, "mixup": 0.4}


def fitted(model: KerasModel, context: FitContext | None = None, /, **overrides: Scalar) -> KerasModel:
    return model.fit(EXAMPLES[model.accepts](), Defaults(overrides), context or FitContext(3, 0))


def outcome(model: KerasModel) -> str:
    """Digest of all bits of what a fitted model predicts and of its history."""
    bits = model.predict_proba(EXAMPLES[model.accepts]().features).tobytes()
    return hashlib.sha256(bits + repr(model.history_).encode()).hexdigest()


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fresh process, no trainer is there."""
    monkeypatch.setattr(trainer, "_trainers", type(trainer._trainers)())


VALIDATED = FitContext(3, 0, vectors(shift=1))
"""The better the training clips are learnt, the worse these are."""


@pytest.mark.parametrize(
    ("model", "overrides", "context"),
    [
        pytest.param(Tiny(epochs=8), {}, FitContext(3, 0), id="plain"),
        pytest.param(Tiny(epochs=8), {}, FitContext(3, 0, vectors(seed=1)), id="validation"),
        pytest.param(Tiny(epochs=20, patience=2), {"learning_rate": 0.05}, VALIDATED, id="early stopping"),
        pytest.param(Tiny(epochs=20, patience=6), {"learning_rate": 0.05}, VALIDATED, id="late stopping"),
        pytest.param(Tiny(epochs=8, patience=0), {}, VALIDATED, id="no stopping"),
        pytest.param(
            Tiny(epochs=8), {"schedule": "cosine", "learning_rate": 0.01}, FitContext(3, 0), id="cosine"
        ),
        pytest.param(Tiny(epochs=8), {"weight_decay": 0.1}, FitContext(3, 0), id="weight decay"),
        pytest.param(Tiny(epochs=8), ROUGH, FitContext(3, 0), id="augmentation"),
        pytest.param(Tiny(epochs=8, dropout=0.5), {}, FitContext(3, 0), id="dropout"),
        pytest.param(Tiny(epochs=5), {}, FitContext(3, 0), id="a rung at the end"),
        pytest.param(Tiny(epochs=3), {}, FitContext(3, 0), id="a rung behind the end"),
        pytest.param(
            Tiny(epochs=20, patience=2, dropout=0.2),
            ROUGH | {"schedule": "cosine", "learning_rate": 0.05},
            VALIDATED,
            id="all together",
        ),
        pytest.param(Normalised(epochs=7), {"augment": True}, FitContext(3, 0), id="moving means, LSTM"),
        pytest.param(
            CnnLstm(epochs=7),
            {"augment": True, "schedule": "cosine"},
            FitContext(3, 0),
            id="cnn_lstm",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_fit_in_rungs_comes_to_what_one_in_one_go_does(
    model: KerasModel, overrides: dict[str, Scalar], context: FitContext
) -> None:
    expected = outcome(fitted(model, context, **overrides))
    checkpoint = None
    for until in (2, 5):
        rung = fitted(replace(model), replace(context, until=until, checkpoint=checkpoint), **overrides)
        checkpoint = rung.checkpoint_
        assert len(rung.history_) <= until
    last = fitted(replace(model), replace(context, checkpoint=checkpoint), **overrides)
    assert outcome(last) == expected


def test_early_stopping_happens_where_rungs_are_tested_with_it() -> None:
    early, late = (
        len(fitted(Tiny(epochs=20, patience=patience), VALIDATED, learning_rate=0.05).history_)
        for patience in (2, 6)
    )
    assert early <= 5 < late < 20


def test_dev_is_not_trained_on_even_without_early_stopping() -> None:
    dev = replace(VALIDATED, validation_is_dev=True)
    alone, beside, joined = (
        fitted(Tiny(epochs=2, patience=2), context, early_stopping=False)
        for context in (FitContext(3, 0), dev, VALIDATED)
    )
    assert outcome(alone) == outcome(beside) != outcome(joined)


@pytest.mark.parametrize("n_epochs", [2, 4])
def test_a_rung_comes_to_what_a_fit_of_so_many_epochs_does(n_epochs: int) -> None:
    rung = fitted(Tiny(epochs=9), FitContext(3, 0, until=n_epochs))
    assert outcome(rung) == outcome(fitted(Tiny(epochs=n_epochs)))


def test_rungs_may_be_climbed_by_turns_with_another_fit() -> None:
    seeds = (0, 1)
    expected = [outcome(fitted(Tiny(epochs=6, dropout=0.3), FitContext(3, seed))) for seed in seeds]
    contexts = [FitContext(3, seed, until=3) for seed in seeds]
    rungs = [fitted(Tiny(epochs=6, dropout=0.3), context).checkpoint_ for context in contexts]
    ends = [FitContext(3, seed, checkpoint=rung) for seed, rung in zip(seeds, rungs, strict=True)]
    assert [outcome(fitted(Tiny(epochs=6, dropout=0.3), context)) for context in ends] == expected


def test_a_fit_in_one_go_leaves_no_checkpoint() -> None:
    assert fitted(Tiny(epochs=1)).checkpoint_ is None


def test_bytes_that_are_no_checkpoint_are_refused() -> None:
    with pytest.raises(TrainingError, match="a checkpoint cannot be read"):
        fitted(Tiny(epochs=2), FitContext(3, 0, checkpoint=b"rubbish"))


FITS: dict[str, Callable[[], KerasModel]] = {
    "this": lambda: fitted(Tiny(epochs=4, dropout=0.3), learning_rate=0.02),
    "another rate": lambda: fitted(Tiny(epochs=2, dropout=0.3), learning_rate=0.3),
    "another schedule": lambda: fitted(Tiny(epochs=3, dropout=0.3), schedule="cosine"),
    "another batch size": lambda: fitted(Tiny(epochs=2, dropout=0.3), batch_size=16),
    "another seed": lambda: fitted(Tiny(epochs=2, dropout=0.3), FitContext(3, 5)),
    "another architecture": lambda: fitted(Tiny(epochs=2)),
    "another loss": lambda: fitted(Tiny(epochs=2, dropout=0.3), label_smoothing=0.1),
    "another optimiser": lambda: fitted(Tiny(epochs=2, dropout=0.3), weight_decay=0.1),
    "an LSTM": lambda: fitted(Recurrent(epochs=3)),
    "a built-in one": lambda: fitted(Own(epochs=3, dropout=0.4)),
}


ORDERS = (
    ("this", "another rate", "another architecture", "this", "an LSTM", "a built-in one"),
    ("a built-in one", "an LSTM", "a built-in one", "another architecture", "an LSTM", "this"),
)
"""In a fresh process: what comes first, the same once it is kept, another kind after them. And those here."""


def test_a_fit_comes_to_what_it_does_in_a_fresh_process_whatever_was_fitted_before() -> None:
    fresh, used = ORDERS
    command = [sys.executable, __file__, *fresh]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment_for(1))
    assert done.stderr == ""  # TensorFlow is loaded and trains without a word
    outcomes: dict[str, set[str]] = {}
    with limited_threads(1):
        here = [outcome(FITS[name]()) for name in used]
    for name, value in zip(fresh + used, done.stdout.split() + here, strict=True):
        outcomes.setdefault(name, set()).add(value)
    assert {name: len(values) for name, values in outcomes.items()} == dict.fromkeys(outcomes, 1)
    assert len(set.union(*outcomes.values())) == 5


@pytest.mark.parametrize(("model", "is_cleared"), [(Own(epochs=1), False), (Tiny(epochs=1), True)])
def test_only_a_built_in_network_finds_functions_that_were_optimised_before(
    model: KerasModel, is_cleared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_keras()
    bindings, cleared = importlib.import_module("tensorflow.python.pywrap_tfe"), list[object]()
    monkeypatch.setattr(bindings, "TFE_ContextClearCaches", cleared.append)
    fitted(model)
    assert bool(cleared) == is_cleared


@pytest.fixture(scope="module")
def this() -> Iterator[str]:
    """Outcome of `this` where no trainer is kept; its own and those of later fits are kept from then on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_trainers", type(trainer._trainers)())
        yield outcome(FITS["this"]())


@pytest.mark.parametrize("between", sorted(set(FITS) - {"this"}))
def test_a_fit_in_between_changes_nothing(this: str, between: str) -> None:
    FITS[between]()
    assert outcome(FITS["this"]()) == this


@pytest.mark.usefixtures("nothing_kept")
def test_a_fit_that_failed_leaves_nothing_behind() -> None:
    before = outcome(fitted(Tiny(epochs=3)))
    with pytest.raises(TrainingError, match="lower the learning rate"):
        fitted(Tiny(epochs=3), learning_rate=1e38)
    assert outcome(fitted(Tiny(epochs=3))) == before


@pytest.mark.parametrize("second", [Tiny(epochs=3, dropout=0.2), Tiny(epochs=3)], ids=["equal", "other"])
def test_two_models_keep_their_own_predictions(second: KerasModel) -> None:
    one = fitted(Tiny(epochs=3, dropout=0.2))
    before = outcome(one)
    two = fitted(second, FitContext(3, 1))
    after = outcome(two)
    assert [outcome(one), outcome(two), outcome(one)] == [before, after, before]
    assert before != after


@pytest.mark.usefixtures("nothing_kept")
def test_predictions_are_those_of_the_networks_own_weights() -> None:
    one = fitted(Tiny(epochs=2, dropout=0.2))
    fitted(Tiny(epochs=2, dropout=0.2), FitContext(3, 1))
    features = vectors().features
    plain = one.network_(one.scaling_.apply(features), training=False).numpy()
    assert np.allclose(one.predict_proba(features), plain, atol=1e-6)


@pytest.fixture
def traced(nothing_kept: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:  # noqa: ARG001 - for its patch
    """One entry for each time that an epoch was traced."""
    traces: list[int] = []
    original = Trainer._traced_epoch

    def counted(self: Trainer, *arguments: Any) -> Any:
        traces.append(1)
        return original(self, *arguments)

    monkeypatch.setattr(Trainer, "_traced_epoch", counted)
    return traces


def test_an_epoch_is_traced_once_for_several_fits_of_one_architecture(traced: list[int]) -> None:
    for seed, schedule, batch_size in ((0, "constant", 16), (1, "cosine", 32), (2, "constant", 64)):
        fitted(Tiny(epochs=3), FitContext(3, seed), schedule=schedule, batch_size=batch_size)
    assert len(traced) == 1


def test_another_architecture_loss_or_optimiser_is_traced_anew(traced: list[int]) -> None:
    for name in ("this", "another architecture", "another loss", "another optimiser", "this"):
        FITS[name]()
    assert len(traced) == 4


def test_only_the_last_few_architectures_are_kept(monkeypatch: pytest.MonkeyPatch, traced: list[int]) -> None:
    monkeypatch.setattr(trainer, "_MAX_TRAINERS", 2)
    rates = [0.1, 0.2, 0.3, 0.1]
    outcomes = [outcome(fitted(Tiny(epochs=2, dropout=rate))) for rate in rates]
    assert len(trainer._trainers) == 2 < len(set(rates))
    assert len(traced) == len(rates)
    assert outcomes[0] == outcomes[-1]


def loss_scaled_by(factor: float) -> Callable[[Any, Any], Any]:
    """A loss of this name, whatever it does."""

    def loss(targets: Any, answer: Any) -> Any:
        ops = import_keras().ops
        return factor * ops.sum(ops.square(targets - answer), axis=-1)

    return loss


def compiled_with(loss: Any) -> Callable[[Any], Any]:
    def change(network: Any) -> Any:
        network.compile("sgd", loss)
        return network

    return change


def layer_scaled_by(factor: float) -> Callable[[Any], Any]:
    """Puts a layer of the test's own, which tells nobody its factor, behind the network's input."""
    keras = import_keras()

    class Scaled(keras.layers.Layer):  # type: ignore[misc, name-defined]  # Keras has no types
        def call(self, values: Any) -> Any:
            return factor * values

    return lambda network: keras.Sequential([keras.Input((3,)), Scaled(), *network.layers])


def function_scaled_by(factor: float) -> Callable[[Any], Any]:
    """Puts an unnamed function behind the network's input."""
    keras = import_keras()
    return lambda network: keras.Sequential(
        [keras.Input((3,)), keras.layers.Lambda(lambda values: factor * values), *network.layers]
    )


OWN: dict[str, Callable[[float], Callable[[Any], Any]]] = {
    "loss": lambda factor: compiled_with(loss_scaled_by(factor)),
    "layer": layer_scaled_by,
    "function": function_scaled_by,
}


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("own", OWN)
def test_what_is_the_plugins_own_is_never_taken_for_another_of_its_name(own: str) -> None:
    one, other = (fitted(Built(epochs=3, change=OWN[own](factor))) for factor in (1.0, 5.0))
    assert one.history_[0]["loss"] != other.history_[0]["loss"]
    assert one.history_[-1]["loss"] < one.history_[0]["loss"]
    assert not trainer._trainers
    assert outcome(one) != outcome(other)
    assert outcome(fitted(Built(epochs=3, change=OWN[own](1.0)))) == outcome(one)


@pytest.mark.usefixtures("nothing_kept")
def test_a_loss_of_the_plugins_own_is_the_one_that_is_minimised() -> None:
    losses = [
        fitted(Built(epochs=1, change=OWN["loss"](factor)), batch_size=64).history_[0]["loss"]
        for factor in (1.0, 5.0)
    ]
    assert losses[1] == pytest.approx(5 * losses[0], rel=1e-5)  # one step: both before any change


def test_a_learning_rate_is_no_reason_to_trace_again(traced: list[int]) -> None:
    for rate in (0.01, 0.02):
        fitted(Tiny(epochs=1), learning_rate=rate)
    assert len(traced) == 1


def relu(values: Any) -> Any:
    """Not what Keras calls so."""
    return values * values


def behind(**arguments: Any) -> Callable[[Any], Any]:
    """The usual network behind a dense layer with something of the plugin's own."""

    def change(network: Any) -> Any:
        keras = import_keras()
        first = keras.layers.Dense(3, **arguments)
        return keras.Sequential([keras.Input((3,)), first, *network.layers])

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(behind(activation=relu), id="named as one of Keras's"),
        pytest.param(behind(activation=lambda values: values * values), id="lambda"),
        pytest.param(behind(kernel_constraint=lambda weights: weights / 2), id="lambda constraint"),
    ],
)
def test_a_function_of_the_plugins_own_is_what_predicts(change: Callable[[Any], Any]) -> None:
    model = fitted(Built(epochs=1, change=change))
    plain = model.network_(model.scaling_.apply(vectors().features), training=False).numpy()
    assert np.allclose(model.predict_proba(vectors().features), plain, atol=1e-6)


@dataclass
class Masked(KerasModel):
    """Recurrent, with more than one input to the recurrent layer."""

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:  # noqa: ARG002 - fixed
        keras = import_keras()
        inputs = keras.Input(input_shape)
        state = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
        values = keras.layers.LSTM(4)(keras.layers.Masking()(inputs), initial_state=[state, state])
        return keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(values))


def test_a_recurrent_layer_with_several_inputs_can_be_trained_long() -> None:
    model = fitted(Masked(epochs=2000, batch_size=16), FitContext(3, 0, until=1))
    plain = model.network_(model.scaling_.apply(frames().features), training=False).numpy()
    assert np.allclose(model.predict_proba(frames().features), plain, atol=1e-5)


def test_a_network_with_a_call_of_its_own_is_refused_in_one_line() -> None:
    keras = import_keras()

    class Own(keras.Model):  # type: ignore[misc, name-defined]  # Keras has no types
        def call(self, values: Any) -> Any:
            return values

    with pytest.raises(PluginError, match=r"Own, a subclass with its own `call`; a keras.Sequential"):
        fitted(Built(epochs=1, change=lambda _network: Own()))


def with_own_step(network: Any) -> Any:
    keras = import_keras()

    class OwnStep(keras.Sequential):  # type: ignore[misc, name-defined]  # Keras has no types
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    return OwnStep([keras.Input((3,)), *network.layers])


def test_a_network_with_a_step_of_its_own_is_refused_in_one_line() -> None:
    with pytest.raises(PluginError) as refused:
        fitted(Built(change=with_own_step))
    assert str(refused.value) == (
        "OwnStep overrides train_step, which marsbench does not call; override the plugin's fit instead"
    )


@pytest.mark.parametrize(
    "overrides",
    [
        {"batch_size": 16},
        {"class_weights": True},
        {"label_smoothing": 0.1},
        {"weight_decay": 0.1},
        {"schedule": "cosine"},
        {"schedule": "one_cycle"},
        {"learning_rate": 0.005},
        {"augment": True},
        {"augment": True, "mixup": 0.0},
    ],
    ids=str,
)
def test_a_hyperparameter_changes_the_outcome_and_leaves_it_certain(overrides: dict[str, Scalar]) -> None:
    one, again = (outcome(fitted(Tiny(epochs=4), **overrides)) for _ in range(2))
    assert one == again != outcome(fitted(Tiny(epochs=4)))


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("constant", []), ("cosine", [0.01, 0.01 * (0.5 + 8**-0.5), 0.005, 0.01 * (0.5 - 8**-0.5)])],
)
def test_the_learning_rate_stays_or_falls_along_half_a_cosine(
    monkeypatch: pytest.MonkeyPatch, schedule: str, rates: list[float]
) -> None:
    told: list[float] = []
    monkeypatch.setattr(Trainer, "set_learning_rate", lambda _self, rate: told.append(rate))
    fitted(Tiny(epochs=4), learning_rate=0.01, schedule=schedule)
    assert told == pytest.approx(rates)


def test_an_epoch_goes_through_a_small_corpus_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[Any] = []
    original = Trainer.epoch

    def kept(self: Trainer, values: Any, targets: Any, weights: Any, order: Any, size: int) -> Any:
        orders.append((order, size))
        return original(self, values, targets, weights, order, size)

    monkeypatch.setattr(Trainer, "epoch", kept)
    fitted(Tiny(epochs=1, batch_size=0))
    ((order, size),) = orders
    assert (len(order), size) == (9 * 60, 22)  # the least multiple of 60 clips above 512, in 24 steps
    assert all(sorted(part) == list(range(60)) for part in np.split(order, 9))


def test_without_early_stopping_the_validation_clips_are_trained_on_too() -> None:
    context = FitContext(3, 0, vectors(seed=1))
    model = fitted(Tiny(epochs=3), context, early_stopping=False)
    whole = Tiny(epochs=3).fit(concatenate(vectors(), vectors(seed=1)), Defaults(), FitContext(3, 0))
    assert outcome(model) == outcome(whole) != outcome(fitted(Tiny(epochs=3), context))


def test_class_weights_help_the_rare_classes() -> None:
    features = vectors().features
    plain, weighted = (
        fitted(Tiny(epochs=4), class_weights=weights).predict_proba(features).mean(axis=0)
        for weights in (False, True)
    )
    assert weighted[0] < plain[0]  # the frequent one


ENOUGH = trainer._MIN_STEPS_TO_UNROLL


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("pooling", ["last", "attention"])
@pytest.mark.parametrize(("gpu", "n_steps"), [(False, ENOUGH), (False, ENOUGH - 1), (True, ENOUGH)])
def test_an_lstm_is_unrolled_for_long_training_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, n_steps: int, pooling: str
) -> None:
    monkeypatch.setattr(trainer, "has_gpu", lambda: gpu)
    assert is_unrolled(reference(8, pooling=pooling), n_steps) == (n_steps == ENOUGH and not gpu)


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize(("n_frames", "unrolled"), [(1, True), (256, True), (257, False), (1000, False)])
def test_an_lstm_is_unrolled_for_up_to_64_steps(
    monkeypatch: pytest.MonkeyPatch, n_frames: int, unrolled: bool
) -> None:
    monkeypatch.setattr(trainer, "has_gpu", lambda: False)
    network = reference(n_frames, filters=32, lstm_units=32)
    assert is_unrolled(network, ENOUGH) == unrolled
    assert not any(layer.unroll for layer in lstms(network))  # what is saved is the network as it was built


def reference(n_frames: int, **overrides: Scalar) -> Any:
    """The reference network for so many frames."""
    return CnnLstm().build(Defaults(overrides), (n_frames, 3), 3)


def is_unrolled(network: Any, n_steps: int) -> bool:
    """Whether what is traced for a network has unrolled LSTMs."""
    (unrolled,) = {layer.unroll for layer in lstms(trainer_for(network, n_steps)._network)}
    return bool(unrolled)


def lstms(network: Any) -> list[Any]:
    """Both directions."""
    pairs = [layer for layer in network.layers if type(layer).__name__ == "Bidirectional"]
    return [single for pair in pairs for single in (pair.forward_layer, pair.backward_layer)]


@pytest.mark.usefixtures("nothing_kept")
def test_an_unrolled_lstm_computes_what_the_loop_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "has_gpu", lambda: False)
    network, values = reference(8), frames().features.values
    unrolled, looped = (trainer_for(network, n_steps).predict(values) for n_steps in (ENOUGH, 0))
    assert np.allclose(unrolled, looped, atol=1e-5)
    assert unrolled.std(axis=0).min() > 1e-3


def test_every_rung_of_a_long_fit_is_unrolled(monkeypatch: pytest.MonkeyPatch, traced: list[int]) -> None:
    monkeypatch.setattr(trainer, "has_gpu", lambda: False)
    monkeypatch.setattr(trainer, "_MIN_STEPS_TO_UNROLL", 10)  # 5 epochs of 2 steps
    expected = outcome(fitted(Recurrent(epochs=5, batch_size=16)))
    rung = fitted(Recurrent(epochs=5, batch_size=16), FitContext(3, 0, until=2))
    last = fitted(Recurrent(epochs=5, batch_size=16), FitContext(3, 0, checkpoint=rung.checkpoint_))
    assert outcome(last) == expected
    assert len(traced) == 1
    layers = [trainer._network.layers[0] for trainer in trainer._trainers.values()]
    assert [layer.unroll for layer in layers] == [True]


@pytest.mark.slow
def test_fits_of_one_architecture_take_no_more_and_more_memory() -> None:
    examples, sizes = frames(44, 8, 64), []
    for seed in range(50):
        CnnLstm(epochs=2).fit(examples, Defaults(), FitContext(3, seed)).predict_proba(examples.features)
        sizes.append(psutil.Process().memory_info().rss)
    assert sizes[-1] - sizes[2] < 200e6, [round(size / 1e6) for size in sizes]


def main() -> None:
    """Print the outcome of each fit that is named."""
    for name in sys.argv[1:]:
        print(outcome(FITS[name]()))  # noqa: T201 - read by `in_a_fresh_process`


if __name__ == "__main__":
    main()
