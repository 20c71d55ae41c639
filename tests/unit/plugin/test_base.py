"""What every plugin is."""

import inspect
from dataclasses import dataclass

import pytest

from marsbench.errors import ConfigError
from marsbench.plugin.base import Plugin


@dataclass
class Ruler(Plugin):
    """Measures."""

    length: int
    unit: str = "cm"

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length={self.length}; at least 1 is needed")


class Plain(Plugin):
    """Has no parameters."""


def test_the_name_is_the_files_stem() -> None:
    assert Ruler(1).name == "test_base"


def test_parameters_are_the_constructors_arguments_in_order() -> None:
    assert list(Ruler(3, "m").parameters.items()) == [("length", 3), ("unit", "m")]


def test_a_parameter_without_default_is_marked() -> None:
    assert Ruler.parameter_defaults() == {"length": inspect.Parameter.empty, "unit": "cm"}


def test_a_plugin_may_have_no_parameters() -> None:
    assert Plain.create({}).parameters == {}


def test_create_keeps_the_defaults_of_what_is_not_given() -> None:
    assert Ruler.create({"length": 2}) == Ruler(2, "cm")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lenght": 2}, "test_base: Unknown parameter 'lenght'. Did you mean 'length'"),
        ({"length": 0}, "test_base: length=0; at least 1 is needed"),
        ({}, "test_base: .*missing 1 required positional argument: 'length'"),
    ],
)
def test_a_refused_parameter_is_named(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Ruler.create(parameters)


def test_plugins_go_together_unless_they_say_otherwise() -> None:
    assert Ruler(1).skip(Plain()) is None
