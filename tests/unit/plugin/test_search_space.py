"""How hyperparameters are answered without a tuner."""

import pytest

from marsbench.errors import ConfigError
from marsbench.plugin.search_space import Defaults, Dimension, OtherDefaults


def declare(hp: Defaults) -> dict[str, object]:
    return {
        "units": hp.Int("units", 8, 64, step=8),
        "rate": hp.Float("rate", 1e-4, 1e-2, sampling="log", default=1e-3),
        "cell": hp.Choice("cell", ["lstm", "gru"]),
        "both": hp.Boolean("both"),
        "kind": hp.Fixed("kind", "net"),
    }


def test_every_default_together_is_the_untuned_configuration() -> None:
    hp = Defaults()
    expected = {"units": 8, "rate": 1e-3, "cell": "lstm", "both": False, "kind": "net"}
    assert declare(hp) == expected
    assert hp.values == expected


@pytest.mark.parametrize(
    ("name", "value"), [("units", 32), ("rate", 0.5), ("cell", "gru"), ("both", True), ("kind", "net")]
)
def test_a_value_set_by_hand_is_the_answer(name: str, value: bool | float | str) -> None:
    hp = Defaults({name: value})
    assert declare(hp)[name] == value
    assert hp.values[name] == value


def test_a_whole_number_set_for_a_float_becomes_one() -> None:
    assert isinstance(Defaults({"rate": 1}).Float("rate", 0.0, 2.0), float)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("units", 2.5),
        ("units", True),
        ("rate", "fast"),
        ("rate", True),
        ("cell", "rnn"),
        ("cell", 1),
        ("both", 1),
        ("kind", "other"),
    ],
)
def test_a_value_that_the_declaration_cannot_mean_is_refused(name: str, value: bool | float | str) -> None:
    with pytest.raises(ConfigError, match=f"{name} = {value!r}: .* is needed; "):
        declare(Defaults({name: value}))


def test_the_refusal_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"one of these is needed; lstm \| gru"):
        declare(Defaults({"cell": "rnn"}))


def test_every_declaration_is_recorded_in_order() -> None:
    hp = Defaults({"units": 16})
    declare(hp)
    assert [dimension.name for dimension in hp.space] == ["units", "rate", "cell", "both", "kind"]
    assert hp.space[0] == Dimension("units", 8, None, 8, 64, 8)


@pytest.mark.parametrize(
    ("dimension", "words"),
    [
        (Dimension("a", 1, None, 1, 9, 2), "1 to 9, step 2"),
        (Dimension("a", 1.0, None, 0.001, 100.0, None, "log"), "0.001 to 100, log"),
        (Dimension("a", False, (False, True)), "False | True"),
    ],
)
def test_a_dimension_describes_itself(dimension: Dimension, words: str) -> None:
    assert dimension.describe() == words


def test_a_misspelt_name_is_refused_with_the_nearest_one() -> None:
    hp = Defaults({"unit": 16})
    declare(hp)
    with pytest.raises(ConfigError, match=r"net: Unknown parameter 'unit'. Did you mean 'units'"):
        hp.refuse_unused("net")


def test_a_name_that_was_asked_for_is_not_refused() -> None:
    hp = Defaults({"units": 16})
    declare(hp)
    hp.refuse_unused("net")


def ask_for_cells(hp: Defaults) -> None:
    cell = hp.Choice("cell", ["lstm", "gru"])
    with hp.conditional_scope("cell", ["gru"]):
        hp.Int("resets", 1, 3)
        with hp.conditional_scope("resets", [2, 3]):
            hp.Boolean("deep")
    hp.Fixed("last", cell)


@pytest.mark.parametrize(
    ("overrides", "active"),
    [
        ({}, {"cell", "last"}),
        ({"cell": "gru"}, {"cell", "resets", "last"}),
        ({"cell": "gru", "resets": 2}, {"cell", "resets", "deep", "last"}),
    ],
)
def test_a_declaration_is_active_only_while_its_parents_have_the_right_values(
    overrides: dict[str, int | str], active: set[str]
) -> None:
    hp = Defaults(overrides)
    ask_for_cells(hp)
    assert hp.values.keys() == active
    assert len(hp.space) == 4


def test_an_inactive_declaration_keeps_its_conditions() -> None:
    hp = Defaults()
    ask_for_cells(hp)
    assert hp.space[2].when == (("cell", ("gru",)), ("resets", (2, 3)))


def test_a_value_set_by_hand_for_an_inactive_declaration_counts_as_unused() -> None:
    hp = Defaults({"resets": 2})
    ask_for_cells(hp)
    with pytest.raises(ConfigError, match="resets"):
        hp.refuse_unused("net")


def test_other_defaults_stand_in_for_those_of_a_declaration_and_below_what_is_set_by_hand() -> None:
    answers = Defaults({"b": 0.25})
    hp = OtherDefaults(answers, {"a": 7, "b": 0.75, "c": "y", "d": True})
    assert hp.Int("a", 1, 9) == 7
    assert hp.Float("b", 0.0, 1.0, default=0.5) == 0.25
    assert hp.Choice("c", ["x", "y"]) == "y"
    assert hp.Boolean("d")
    assert hp.Int("e", 1, 9, default=2) == 2
    assert [dimension.default for dimension in answers.space] == [7, 0.75, "y", True, 2]


def test_other_defaults_know_those_that_nothing_asked_for() -> None:
    hp = OtherDefaults(Defaults(), {"a": 7, "b": 8})
    with hp.conditional_scope("missing", [True]):
        hp.Int("a", 1, 9)
    assert hp.undeclared == {"b"}
