from pathlib import Path
from typing import Any

import pytest

from marsbench.config import Experiment, read_experiment_file
from marsbench.errors import ConfigError
from marsbench.options import read_setting

LEAST = {"features": "mfcc", "model": "svm"}


@pytest.mark.parametrize("words", ["a,b", ["a", "b"], ["a,b"], ["a", "b,a"], " a , b "])
def test_names_may_be_repeated_or_separated_by_commas(words: object) -> None:
    assert Experiment.parse({**LEAST, "features": words}, "here").features == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"featurs": "mfcc"}, "Unknown key 'featurs'. Did you mean 'features'?"),
        ({"bad_audi": "skip"}, "Unknown key 'bad_audi'. Did you mean 'bad-audio'?"),
        ({"criteria": {"acuracy": 0.5}}, "Unknown key 'acuracy'. Did you mean 'accuracy'?"),
        ({"criteria": {"accuracy": 80}}, "criteria.accuracy = 80: a share from 0 to 1 is needed; write 0.8?"),
        ({"criteria": {"accuracy": 101}}, "criteria.accuracy = 101: should be less than or equal to 1"),
        ({"time-budget": "5"}, "time-budget = '5': 5 what? Write 5s, 5m or 5h"),
        ({"unit-memory": "4"}, "unit-memory = '4': 4 what? Write 4MB or 4GB"),
        ({"seed": "x"}, "seed = 'x': should be a valid integer"),
        ({"seed": True}, "seed = True: should be a valid integer"),
        ({"results": ""}, "results = '': a folder is needed"),
        ({"seed": -1}, "seed = -1: should be greater than or equal to 0"),
        ({"bad-audio": "ignore"}, "bad-audio = 'ignore': should be 'skip' or 'fail'"),
        ({"protocol": "~nobody-at-all/x.toml"}, "no such user's home folder"),
        ({"features": []}, "features = []: value should have at least 1 item"),
        ({"features": 3}, "features = 3: should be a valid list"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_with_what_there_is(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Experiment.parse({**LEAST, **values}, "grid.toml")
    assert str(error.value).startswith("grid.toml: ")
    assert message in str(error.value)


@pytest.mark.parametrize("key", ["normalise", "time-budget", "unit-timeout", "unit_timeout"])
def test_the_word_that_help_has_for_no_value_is_taken_and_wins_over_a_file(key: str) -> None:
    at_default = Experiment.parse(LEAST)
    assert Experiment.parse({**LEAST, key: "none"}) == at_default
    assert Experiment.parse({**LEAST, "normalise": "corpus"}, typed={"normalise": "none"}) == at_default
    with pytest.raises(ConfigError):
        Experiment.parse({**LEAST, key: "nothing"})


def test_features_and_model_must_be_named() -> None:
    with pytest.raises(ConfigError, match="'model' is missing"):
        Experiment.parse({"features": "mfcc"}, "here")


def test_settings_may_be_nested_or_dotted(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('features="mfcc"\nmodel="svm"\n[set]\n"mfcc.n_frames" = 100\n')
    (tmp_path / "b.toml").write_text('features="mfcc"\nmodel="svm"\n[set.mfcc]\nn_frames = 100\n')
    read = [Experiment.parse(read_experiment_file(tmp_path / name), name) for name in ("a.toml", "b.toml")]
    assert read[0] == read[1]
    assert read[0].set == {"mfcc.n_frames": 100}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("0.5", 0.5),
        ("true", True),
        ("none", "none"),
        ('"5"', "5"),
        ("[1, 2]", [1, 2]),
        ("a=b", "a=b"),
    ],
)
def test_a_setting_is_read_as_toml_or_else_as_text(text: str, value: object) -> None:
    assert read_setting(f"mfcc.x={text}") == ("mfcc.x", value)


@pytest.mark.parametrize("text", ["mfcc", "mfcc.x", "n_frames=3", ""])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write NAME\.PARAMETER=VALUE, such as mfcc\.n_frames=100$"):
        read_setting(text)


@pytest.mark.parametrize(
    ("text", "problem"), [("= 3", "is not valid TOML"), (None, "cannot be read: No such file")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str | None, problem: str) -> None:
    path = tmp_path / "grid.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"grid.toml {problem}"):
        read_experiment_file(path)


FIELDS = b'features = "mfcc"\nmodel = "svm"\n'


def nines(n: int) -> bytes:
    return b"9" * n


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (b"set = " + b"[" * 5000 + b"]" * 5000, "values are nested too deeply"),
        (b"set = " + b"{a=" * 3000 + b"1" + b"}" * 3000, "values are nested too deeply"),
        (b"set." + b"a." * 2000 + b"b = 1", "values are nested too deeply"),
        (b"[set.svm]\nC = " + b"[" * 40 + b"]" * 40, "values are nested too deeply"),
        (b"seed = " + nines(5000), "an integer has more than 64 bits"),
        (b"workers = -" + nines(4000), "an integer has more than 64 bits"),
        (b"seed = 0x" + b"f" * 5000, "an integer has more than 64 bits"),
        (b"[set.svm]\nC = [[" + nines(20) + b"]]", "an integer has more than 64 bits"),
        (b"[criteria]\naccuracy = " + nines(5000), "an integer has more than 64 bits"),
        (b"trials = 1e999", "should be a valid integer"),
        (b"set = {'svm.C' = nan}", "a finite number"),
        (b"set = {'svm.C' = -inf}", "a finite number"),
        (b"seed = 1\nseed = 2", "is not valid TOML: Cannot overwrite a value"),
        (b"seed = 1\0", "is not valid TOML"),
        (b"# caf\xe9", "is not UTF-8 text"),
        (b"#" + b" " * (1 << 20), "is larger than 1 MB"),
        (b"time-budget = '" + nines(100_000) + b"h'", "a time such as"),
        (b"unit-memory = '" + nines(100_000) + b"'", "a size such as"),
    ],
)
def test_an_extreme_file_is_one_short_line(tmp_path: Path, more: bytes, problem: str) -> None:
    path = tmp_path / "grid.toml"
    path.write_bytes(FIELDS + more)
    with pytest.raises(ConfigError, match=problem) as caught:
        Experiment.parse(read_experiment_file(path), str(path))
    assert len(str(caught.value)) < 400 + len(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + FIELDS, FIELDS.replace(b"\n", b"\r\n")])
def test_a_byte_order_mark_and_line_ends_of_windows_are_accepted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "grid.toml").write_bytes(content)
    assert read_experiment_file(tmp_path / "grid.toml") == {"features": "mfcc", "model": "svm"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("[" * 5000 + "]" * 5000, "values are nested too deeply"),
        ("{a=" * 2000 + "1" + "}" * 2000, "values are nested too deeply"),
        ("9" * 5000, "an integer has more than 64 bits"),
        ("9" * 20, "an integer has more than 64 bits"),
        ("-" + "9" * 5000, "an integer has more than 64 bits"),
        ("1e999", "a finite number"),
        ("nan", "a finite number"),
        ("2020-01-01", "a finite number"),
    ],
)
def test_an_extreme_setting_is_one_short_line(value: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        Experiment.parse(LEAST, typed={"set": [f"svm.C={value}"]})
    assert len(str(caught.value)) < 400


def test_several_lines_are_a_text_of_which_nothing_is_lost() -> None:
    assert read_setting("svm.C=1\nx = 2") == ("svm.C", "1\nx = 2")


@pytest.mark.parametrize("option", [{"seed": 10**400}, {"criteria": {"accuracy": 10**400}}])
def test_a_number_too_large_for_any_option_is_one_line(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Experiment.parse({**LEAST, **option}, "marsbench.run")


def test_names_in_place_of_a_file_are_answered_with_the_options_for_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mfcc cannot be read: .*; pipelines are named with --features"):
        read_experiment_file(tmp_path / "mfcc")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("speaker5", "speaker5"), ("own.toml", "{here}/own.toml"), ("~/own.JSON", "{home}/own.JSON")],
)
def test_a_protocols_path_is_made_absolute_and_a_name_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, kept: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    parsed = Experiment.parse({**LEAST, "protocol": given}, "here")
    assert parsed.protocol == [kept.format(here=tmp_path, home=tmp_path / "me")]


EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_published_experiment_can_be_read(path: Path) -> None:
    Experiment.parse(read_experiment_file(path), path.name)
