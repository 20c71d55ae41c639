from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsbench.plugin.registry import discover
from marsbench.plugin.search_space import Dimension, HyperParameters, Sampling, explore
from marsbench.tuning.search_space import (
    Exploration,
    SearchSpace,
    of_plugin,
    optuna_parameter,
    tuned_features,
)

KINDS: dict[str, Callable[[str, float, float], Dimension]] = {
    "linear": lambda name, low, high: Dimension(name, low, low=low, high=high),
    "log": lambda name, low, high: Dimension(name, low, low=low, high=high, sampling="log"),
    "reverse_log": lambda name, low, high: Dimension(name, low, low=low, high=high, sampling="reverse_log"),
    "log in steps": lambda name, low, high: Dimension(
        name, low, low=low, high=high, step=2.0, sampling="log"
    ),
    "whole": lambda name, low, high: Dimension(name, int(low), low=int(low), high=int(high) + 1),
    "whole log": lambda name, low, high: Dimension(
        name, int(low), low=int(low), high=int(high) + 1, sampling="log"
    ),
    "whole log in steps": lambda name, low, high: Dimension(
        name, int(low), low=int(low), high=int(high) + 1, step=2, sampling="log"
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@given(low=st.integers(1, 50), width=st.integers(1, 100), seed=st.integers(0, 99))
def test_optuna_proposes_values_of_the_range_and_takes_them_back(
    kind: str, low: int, width: int, seed: int
) -> None:
    dimension = KINDS[kind]("a", float(low), float(low + width))
    code = optuna_parameter(dimension)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    proposed = study.ask({code.name: code.distribution}).params[code.name]
    value = code.decode(proposed)
    assert low - 1e-9 <= float(value) <= low + width + 1 + 1e-9
    assert type(value) is (int if kind.startswith("whole") else float)
    assert code.decode(code.encode(value)) == pytest.approx(value)


@pytest.mark.parametrize(
    ("sampling", "shown"), [("linear", "a"), ("log", "a"), ("reverse_log", "a, mirrored")]
)
def test_a_parameter_has_its_own_name_wherever_its_values_are_the_dimensions(
    sampling: Sampling, shown: str
) -> None:
    assert optuna_parameter(Dimension("a", 1.0, low=1.0, high=9.0, sampling=sampling)).name == shown


def nested(hp: HyperParameters) -> None:
    """Conditions in conditions, a declaration in one branch alone, and as many as another says."""
    if hp.Choice("cell", ["plain", "deep"]) == "deep":
        hp.Int("hidden", 1, 3)
    with hp.conditional_scope("cell", ["deep"]):
        hp.Boolean("wide")
        with hp.conditional_scope("wide", [True]):
            hp.Float("factor", 1.0, 2.0)
    for layer in range(hp.Int("layers", 1, 3)):
        hp.Int(f"units_{layer}", 4, 8)


def test_exploring_finds_what_any_value_leads_to() -> None:
    names = [dimension.name for dimension in explore(nested)]
    assert sorted(names) == sorted(
        ["cell", "hidden", "wide", "factor", "layers", "units_0", "units_1", "units_2"]
    )
    places = {name: place for place, name in enumerate(names)}
    assert places["cell"] < places["wide"] < places["factor"]


def test_what_cannot_be_declared_leads_nowhere_save_for_the_defaults() -> None:
    def declare(hp: HyperParameters) -> None:
        if hp.Boolean("breaks"):
            raise RuntimeError("no luck today")

    assert [dimension.name for dimension in explore(declare)] == ["breaks"]
    with pytest.raises(RuntimeError, match="no luck"):
        explore(declare, {"breaks": True})


def test_defaults_and_given_values_make_a_configuration_of_what_is_active() -> None:
    space = SearchSpace(explore(nested))
    assert space.defaults == {
        "cell": "plain",
        "layers": 1,
        "hidden": 1,
        "units_0": 4,
        "units_1": 4,
        "units_2": 4,
    }
    deep = space.completed({"cell": "deep", "wide": True, "factor": 1.5, "nothing": 3})
    assert deep.items() >= {"cell": "deep", "wide": True, "factor": 1.5}.items()
    assert "nothing" not in deep


def test_a_space_is_known_by_everything_in_it() -> None:
    spaces = [
        SearchSpace((Dimension("a", 1, low=1, high=high, when=when),))
        for high, when in ((2, ()), (3, ()), (3, (("b", (True,)),)))
    ]
    assert len({space.key for space in spaces}) == 3


def exploration(kit: Path, settings: dict[str, Any], **parameters: Any) -> SearchSpace:
    registry = discover((kit,))
    return Exploration(
        features=registry.get("features", "planted").recipe({}),
        model=registry.get("models", "knobs").recipe(parameters),
        folders=(kit,),
        input_shape=(2,),
        n_classes=3,
        by_hand={name.partition(".")[2]: value for name, value in settings.items() if name[0] == "k"},
        pinned=frozenset(settings),
    )(lambda *_: None)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, {"planted.scale", "knobs.x", "knobs.kind", "knobs.depth"}),
        ({"knobs.x": 0.5, "planted.scale": 2.0}, {"knobs.kind", "knobs.depth"}),
        ({"knobs.kind": "deep"}, {"planted.scale", "knobs.x", "knobs.depth"}),
        ({"knobs.kind": "plain"}, {"planted.scale", "knobs.x"}),
    ],
)
def test_what_is_set_by_hand_and_what_it_switches_off_are_not_in_the_space(
    kit: Path, settings: dict[str, Any], names: set[str]
) -> None:
    assert {dimension.name for dimension in exploration(kit, settings).dimensions} == names


def test_a_configuration_makes_another_recipe_of_the_features(kit: Path) -> None:
    recipe = discover((kit,)).get("features", "planted").recipe({})
    other = tuned_features(recipe, (kit,), {"planted.scale": 2.0, "knobs.x": 0.1})
    assert other.parameters == recipe.parameters | {"scale": 2.0}
    assert tuned_features(recipe, (kit,), {"knobs.x": 0.1}) == recipe
    assert of_plugin({"planted.scale": 2.0, "knobs.x": 0.1}, "knobs") == {"x": 0.1}
