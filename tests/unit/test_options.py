"""Options as fields of models, and the texts of their values."""

import json
import re
import shlex
from collections.abc import Callable
from inspect import signature
from pathlib import Path, PurePath
from types import NoneType
from typing import Annotated, Any, Literal, Unpack, get_args, get_type_hints

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from typer.main import get_command
from typer.testing import CliRunner

from marsbench.api import options as api_options
from marsbench.cli.main import app as cli_app
from marsbench.cli.options import Given, takes
from marsbench.config import Criteria, Experiment, Fusion, Search
from marsbench.data.corpus_options import COLUMNS
from marsbench.errors import ConfigError
from marsbench.options import Hint, Options, options_of, seconds, size
from marsbench.results.reproduce import command


class Louder(Experiment):
    """An experiment with one more option: this field is all that is written of it."""

    gain: Annotated[float | None, Hint("DECIBELS", "as recorded")] = Field(default=None, gt=-100)
    """By how much clips are amplified."""


LEAST = ["--features", "mfcc", "--model", "svm"]
asked: list[Any] = []
app = typer.Typer(rich_markup_mode=None)


@app.command()
@takes(Louder)
def louder(given: Given) -> None:
    """A command that takes the options of `Louder`."""
    asked.append(given)


@api_options.takes(Louder)
def amplified(**options: Unpack[api_options.RunOptions]) -> Louder:
    """Ask for louder clips.

    Args:
        **options: those of `Louder`.

    Raises:
        BenchError: one does not fit.
    """
    return api_options.asked_for(Louder, options, "amplified")


def typed(*words: str) -> Given:
    """What a command with the options of `Louder` gets of its words."""
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    given: Given = asked.pop()
    return given


def test_a_new_option_is_in_the_help_text() -> None:
    shown = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    assert "--gain DECIBELS By how much clips are amplified. [default: as recorded]" in shown


def test_a_new_option_is_among_what_the_command_line_gave() -> None:
    assert typed(*LEAST, "--gain", "3") == {"features": ["mfcc"], "model": ["svm"], "gain": "3"}
    assert Louder.parse({}, typed=typed(*LEAST, "--gain", "3")).gain == 3


def test_a_new_option_is_a_key_of_files_and_the_command_line_wins() -> None:
    file = {"features": "mfcc", "model": "svm", "gain": 1.5}
    assert Louder.parse(file, "grid.toml").gain == 1.5
    assert Louder.parse(file, "grid.toml", typed("--gain", "3")).gain == 3


def test_a_wrong_value_of_a_new_option_is_named_as_it_was_given() -> None:
    with pytest.raises(ConfigError, match=r"^--gain -200: should be greater than -100$"):
        Louder.parse({}, typed=typed(*LEAST, "--gain", "-200"))
    with pytest.raises(ConfigError, match=r"^grid.toml: gain = -200: should be greater than -100$"):
        Louder.parse({"features": "mfcc", "model": "svm", "gain": -200}, "grid.toml")
    with pytest.raises(ConfigError, match=r"^amplified: gain = -200: should be greater than -100$"):
        amplified(features="mfcc", model="svm", gain=-200)  # type: ignore[call-arg]  # RunOptions lacks it


def test_a_new_option_is_a_parameter_of_functions_with_its_line_in_the_docstring() -> None:
    parameter = signature(amplified).parameters["gain"]
    assert (parameter.default, parameter.annotation) == (None, float | None)
    lines = (amplified.__doc__ or "").splitlines()
    assert "    gain: By how much clips are amplified. Default: as recorded." in lines
    assert lines[-2:] == ["Raises:", "    BenchError: one does not fit."]
    assert not any("**options" in line for line in lines)


def test_a_new_option_is_in_the_command_that_repeats_a_run_unless_at_its_default() -> None:
    values = {"features": ["mfcc"], "model": ["svm"], "gain": 3.5}
    assert command("bench run", Louder, values) == "bench run --gain 3.5 --features mfcc --model svm"
    assert command("bench run", Louder, values | {"gain": None}) == "bench run --features mfcc --model svm"


NAMES = st.lists(st.from_regex(r"[a-z_]\w{0,5}", fullmatch=True), min_size=1, max_size=2, unique=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5)
SHARES = st.floats(0, 1)
TIMES = st.floats(1e-6, 1e12)
PATHS = TEXTS.map(Path).filter(lambda path: not str(path).startswith("~"))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
ASKED = {
    "features": NAMES, "model": NAMES, "data": TEXTS, "protocol": NAMES, "seed": st.integers(0, 2**30 - 1),
    "set": st.dictionaries(st.sampled_from(["a.b", "a.c"]), TEXTS | INTEGERS | st.booleans() | SHARES),
    "bad_audio": st.sampled_from(["skip", "fail"]), "objective": st.sampled_from(["macro_f1", "uar"]),
    "results": PATHS, "plugins": st.lists(PATHS, max_size=2), "repeats": st.integers(1, 1000),
    "criteria": st.builds(Criteria, accuracy=SHARES, macro_f1=SHARES, class_recall=SHARES),
    "trials": st.none() | st.integers(0, 99), "tuner": st.sampled_from(["optuna", "keras-tuner"]),
    "inner_folds": st.none() | st.integers(1, 20), "time_budget": st.none() | TIMES,
    "workers": st.none() | st.integers(0, 9), "cluster": st.none() | TEXTS, "threads": st.integers(1, 9),
    "unit_timeout": st.none() | TIMES, "unit_memory": st.none() | st.integers(1, 2**40),
    "gain": st.none() | st.floats(-99, 99), "independent_clips": st.booleans(),
    "speaker": st.none() | TEXTS.map(re.escape), "label": st.none() | TEXTS.map(re.escape),
    "columns": st.dictionaries(st.sampled_from(COLUMNS), TEXTS | st.just("")),
    "map": st.dictionaries(TEXTS, TEXTS | st.just("")), "min_clips": st.integers(1, 99),
    "classes": st.none() | st.lists(TEXTS, min_size=1, max_size=3, unique=True),
    "name": st.none() | st.sampled_from(["mine", "a-b_1"]), "channel": st.sampled_from(["mix", "left"]),
    "normalise": st.sampled_from([None, "corpus", "speaker"]), "average_versions": st.booleans(),
    "versions": st.none() | st.lists(st.sampled_from(["speed", "vtl", "noise"]), min_size=1, unique=True),
}  # fmt: skip


@given(st.fixed_dictionaries(ASKED))
def test_a_command_made_of_any_experiment_is_read_as_the_same(values: dict[str, Any]) -> None:
    values["average_versions"] &= values["versions"] is not None  # else there is nothing to average
    made = Louder.model_validate(values)
    assert options_of(Louder).keys() == values.keys()
    words = shlex.split(command("louder", Louder, values))[1:]
    assert Louder.parse({}, typed=typed(*words)) == made


MODELS = {
    Experiment: api_options.RunOptions,
    Search: api_options.SearchOptions,
    Fusion: api_options.EnsembleOptions,
}


@pytest.mark.parametrize("model", MODELS)
def test_every_option_says_what_it_is(model: type[Options]) -> None:
    for option in options_of(model).values():
        assert (option.field.description or "").endswith("."), option.name
        assert option.metavar or option.kind is bool, option.name


@pytest.mark.parametrize(("model", "types"), MODELS.items())
def test_type_checkers_know_the_same_options(model: type[Options], types: Any) -> None:
    options = {name: option for name, option in options_of(model).items() if not option.hint.is_argument}
    assert get_type_hints(types).keys() == options.keys()
    assert types.__required_keys__ == {name for name, one in options.items() if one.field.is_required()}


@pytest.mark.parametrize(("model", "types"), MODELS.items())
def test_type_checkers_know_the_types_of_options(model: type[Options], types: Any) -> None:
    for name, hint in get_type_hints(types).items():
        option, kinds = options_of(model)[name], get_args(hint) or (hint,)
        assert (NoneType in kinds) == (option.field.default is None), name
        assert option.kind not in {bool, int, float} or option.kind in kinds, name
        assert option.kind is not Literal or kinds == get_args(option.field.annotation), name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1d", 86_400), ("500ms", 0.5),
        ("1.5h", 5400), (" 2 min 5 sec ", 125), ("1e-06s", 1e-6), ("90S", 90),
    ],
)  # fmt: skip
def test_a_time_is_numbers_with_units(text: str, value: float) -> None:
    assert seconds(text) == value


@given(st.floats(1e-9, 1e12))
def test_a_time_written_in_seconds_is_read_exactly(value: float) -> None:
    assert seconds(f"{value!r}s") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500MB", 500_000_000),
        ("4GB", 4 * 10**9),
        ("2GiB", 2 << 30),
        ("1.5k", 1500),
        ("10 b", 10),
        ("3mi", 3 << 20),
    ],
)
def test_a_size_is_a_number_with_a_unit(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "soon", "h", "5x", "-5s", "1h30", "m5", "1e999s", "nans", "inf"])
def test_what_is_no_time_is_answered_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a time such as 90s, 30m, 2h or 1h30m is needed$"):
        seconds(text)


@pytest.mark.parametrize("text", ["", "much", "GB", "4XB", "-4GB", "1e400GB"])
def test_what_is_no_size_is_answered_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a size such as 500MB, 4GB or 2GiB is needed$"):
        size(text)


def test_a_number_without_a_unit_is_answered_with_the_units() -> None:
    with pytest.raises(ValueError, match=r"^5 what. Write 5s, 5m or 5h$"):
        seconds("5")
    with pytest.raises(ValueError, match=r"^1.5 what. Write 1.5MB or 1.5GB$"):
        size(" 1.5 ")


class Three:
    def __index__(self) -> int:
        return 3

    def __repr__(self) -> str:  # a part of the test's name: the same in every process
        return "Three()"


class Place:
    def __fspath__(self) -> str:
        return "here"

    def __repr__(self) -> str:
        return "Place()"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"workers": np.int64(3)}, 3), ({"threads": np.uint8(3)}, 3), ({"seed": np.array(3)}, 3),
        ({"repeats": Three()}, 3), ({"trials": np.int16(0)}, 0), ({"inner_folds": np.int64(2)}, 2),
        ({"time_budget": np.float32(60)}, 60.0), ({"unit_memory": np.int64(10**9)}, 10**9),
        ({"results": Place()}, Path("here")), ({"results": PurePath("here")}, Path("here")),
        ({"data": Place()}, ["here"]), ({"data": (PurePath("here"), "there")}, ["here", "there"]),
        ({"plugins": (Place(), "there")}, [Path("here"), Path("there")]),
        ({"features": ("mfcc", "prosody")}, ["mfcc", "prosody"]), ({"model": np.array(["svm"])}, ["svm"]),
        ({"protocol": PurePath("/own.toml")}, ["/own.toml"]),
        ({"set": {"svm.C": np.float64(0.5)}}, {"svm.C": 0.5}), ({"set": {"svm.C": np.int8(2)}}, {"svm.C": 2}),
        ({"set": {"a.b": np.True_}}, {"a.b": True}), ({"set": {"a.b": (1, np.int8(2))}}, {"a.b": [1, 2]}),
        ({"set": {"svm": {"C": np.arange(2)}}}, {"svm.C": [0, 1]}),
        ({"criteria": {"accuracy": np.float32(0.5)}}, Criteria(accuracy=0.5)),
    ],
    ids=str,
)  # fmt: skip
def test_functions_take_what_numpy_and_pathlib_have(given: dict[str, Any], read: Any) -> None:
    asked = api_options.asked_for(Experiment, {"features": "mfcc", "model": "svm"} | given, "marsbench.run")
    found = getattr(asked, next(iter(given)))
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float64(3), "3", 1j, None.__class__])
def test_what_is_no_whole_number_is_none_from_numpy_either(value: Any) -> None:
    with pytest.raises(ConfigError, match="should be a valid integer"):
        api_options.asked_for(
            Experiment, {"features": "mfcc", "model": "svm", "workers": value}, "marsbench.run"
        )


@given(
    st.recursive(
        st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_values_of_json_are_left_as_they_are(value: Any) -> None:
    assert api_options.plain(value) == value


def test_help_shows_every_command_once_in_a_group(bench: Callable[..., Any]) -> None:
    text = bench("--help").stdout
    commands, _, examples = text.partition("\nRun:")[2].partition("Examples:")
    titles = [
        title.rstrip(":") for title in commands.splitlines() if title.endswith(":") and title[:1] != " "
    ]
    assert titles == ["Look", "Ship", "Manage"]
    names = [line.split()[0] for line in commands.splitlines() if line.startswith("  ") and line[2] != " "]
    assert sorted(names) == sorted(get_command(cli_app).commands)  # type: ignore[attr-defined]
    assert names.index("run") < names.index("leaderboard") < names.index("export") < names.index("plugins")
    assert "bench run --data demo" in examples


def test_the_schema_has_every_key_of_the_file_and_takes_texts_as_the_command_line_does(
    bench: Callable[..., Any],
) -> None:
    schema = json.loads(bench("schema").stdout)
    assert {option.key for option in options_of(Experiment).values()} <= schema["properties"].keys()
    assert schema["additionalProperties"] is False
    for key in ("time-budget", "unit-memory", "features", "criteria", "set"):
        assert {"type": "string"} in schema["properties"][key]["anyOf"]
    assert schema["properties"]["seed"]["type"] == "integer"
