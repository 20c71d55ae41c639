"""The built-in networks beyond the reference: built, trained and exported, tiny wherever that will do."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from fixtures.formats import every_format_predicts_as
from marsbench.errors import PluginError
from marsbench.plugin.checks import check
from marsbench.plugin.features import Features
from marsbench.plugin.keras import import_keras, make_deterministic
from marsbench.plugin.keras.model import KerasModel
from marsbench.plugin.model import Examples, FitContext
from marsbench.plugin.search_space import Defaults, Scalar
from marsbench_plugins.models.conformer import Conformer
from marsbench_plugins.models.res_cnn2d import ResCnn2d
from marsbench_plugins.models.res_lstm import ResLstm
from marsbench_plugins.networks import attention_mean

Network = type[KerasModel]
TINY: dict[Network, dict[str, Scalar]] = {
    Conformer: {"width": 8, "blocks": 1, "heads": 2, "kernel": 7},
    ResCnn2d: {"filters": 2, "stages": 2},
    ResLstm: {"filters": 4, "lstm_units": 4, "kernel": 3},
}
N_CLASSES = 3
every_network = pytest.mark.parametrize("plugin", TINY, ids=lambda plugin: plugin.__name__)


def clips(n_frames: int = 13, n_dims: int = 5) -> Examples:
    """Of 1 to `n_frames` frames, in dimensions far from standard."""
    random = np.random.default_rng(0)
    targets = np.arange(24) % N_CLASSES
    lengths = random.integers(1, n_frames + 1, len(targets))
    means = 2 * np.eye(N_CLASSES, n_dims)[targets]
    values = (means[:, None] + random.normal(size=(24, n_frames, n_dims))) * 10 - 30
    values[np.arange(n_frames) >= lengths[:, None]] = 0
    return Examples(Features(values.astype(np.float32), lengths), targets)


def stepped(plugin: Network, seed: int) -> list[Any]:
    """Weights after one step, which is not traced: that would take longer than everything else here."""
    make_deterministic(seed)
    network = plugin().build(Defaults(TINY[plugin]), (13, 5), N_CLASSES)
    network.compile("adam", "categorical_crossentropy", run_eagerly=True)
    network.train_on_batch(clips().features.values, np.eye(N_CLASSES)[clips().targets])
    return cast("list[Any]", network.get_weights())


@every_network
@pytest.mark.parametrize(("shape", "n_classes"), [((1, 1), 2), ((1, 59), 8), ((37, 5), 8)])
def test_a_network_can_be_built_for_any_shape(
    plugin: Network, shape: tuple[int, int], n_classes: int
) -> None:
    network = plugin().build(Defaults(TINY[plugin]), shape, n_classes)
    answer = network(np.ones((2, *shape), np.float32)).numpy()
    assert answer.shape == (2, n_classes)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "plugin",
    [Conformer, *(pytest.param(plugin, marks=pytest.mark.slow) for plugin in (ResLstm, ResCnn2d))],
    ids=lambda plugin: plugin.__name__,
)
def test_only_the_seed_decides_what_a_step_makes_of_the_weights(plugin: Network) -> None:
    first, again, other = (stepped(plugin, seed) for seed in (0, 0, 1))
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))


@every_network
def test_every_starting_point_is_a_configuration(plugin: Network) -> None:
    for point in plugin.starting_points:
        hp = Defaults({**TINY[plugin], **point})
        plugin().declare(hp, (9, 5), N_CLASSES)
        hp.refuse_unused(plugin.__name__)


@every_network
def test_a_network_trains_every_epoch_by_mixed_clips_at_a_falling_rate(plugin: Network) -> None:
    hp = Defaults(TINY[plugin])
    plugin().declare(hp, (9, 5), N_CLASSES)
    assert not plugin().wants_validation
    assert (hp.values["schedule"], hp.values["augment"], hp.values["mixup"]) == ("cosine", True, 0.3)


def test_a_misspelt_default_of_the_training_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResCnn2d, "training", {"shedule": "cosine"})
    with pytest.raises(PluginError, match=r"res_cnn2d.training has 'shedule', which is not a hyperparameter"):
        ResCnn2d().declare(Defaults(TINY[ResCnn2d]), (9, 5), N_CLASSES)


def test_attention_gives_a_mean_over_time() -> None:
    keras = import_keras()
    inputs = keras.Input((7, 4))
    network = keras.Model(inputs, attention_mean(inputs))
    values = np.random.default_rng(0).normal(size=(3, 7, 4)).astype(np.float32)
    answer = network(values).numpy()
    assert ((values.min(axis=1) < answer) & (answer < values.max(axis=1))).all()
    steady = np.repeat(values[:, :1], 7, axis=1)
    np.testing.assert_allclose(network(steady).numpy(), steady[:, 0], atol=1e-5)
    weights = network.get_weights()
    network.set_weights([100 * weight for weight in weights])
    assert np.abs(network(values).numpy() - values.mean(axis=1)).max() > 0.1, "all steps weigh the same"


@pytest.mark.slow
@every_network
def test_a_network_keeps_its_contract(plugin: Network) -> None:
    assert [entry for entry in check(plugin) if entry.problem] == []


@pytest.mark.slow
@every_network
@pytest.mark.parametrize("n_frames", [13, 1])
def test_every_format_predicts_as_the_network(plugin: Network, n_frames: int, tmp_path: Path) -> None:
    examples = clips(n_frames)
    model = plugin(epochs=3).fit(examples, Defaults(TINY[plugin]), FitContext(N_CLASSES, 0))
    every_format_predicts_as(model, examples.features, tmp_path)
