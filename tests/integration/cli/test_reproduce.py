"""The command that makes a run again, as `bench run` itself understands it."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from marsbench.cli.main import app
from marsbench.config import Criteria, Experiment, Fusion, Tuning
from marsbench.options import setting_text
from marsbench.plugin.registry import Recipe
from marsbench.results.reproduce import reproduce
from marsbench.results.schema import EnsembleRecord, MemberRecord, TuningRecord
from marsbench.results.store import RunFolder

Bench = Callable[..., Any]
COMMANDS = get_command(app)

INTEGERS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.text() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.dictionaries(st.text(), inner), max_size=2),
)
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
TUNING = st.builds(
    Tuning,
    trials=st.integers(1, 1_000_000),
    tuner=st.sampled_from(["optuna", "keras-tuner"]),
    objective=st.sampled_from(["macro_f1", "accuracy", "uar"]),
    inner_folds=st.integers(1, 20),
    time_budget=st.none() | st.floats(1e-6, 1e9),
)
SHARES = st.floats(0, 1)


def understood(command: str) -> Experiment:
    """What `bench run` makes of the words of a command, before it runs anything."""
    run, report = "marsbench.runner.runner.run", "marsbench.cli.run.print_report"
    with mock.patch(run) as asked, mock.patch(report):
        COMMANDS.main(shlex.split(command)[1:], standalone_mode=False)
    assert asked.call_args.kwargs == {"retry_failed": False}
    experiment: Experiment = asked.call_args.args[0]
    return experiment


def test_bench_run_understands_the_command_as_the_same_experiment(
    finished_run: Callable[..., RunFolder],
) -> None:
    run = finished_run("a-b-s0-1", 0.5).read_run()

    @given(
        seed=st.integers(0, 2**30 - 1),
        threads=st.integers(1, 64),
        criteria=st.builds(Criteria, accuracy=SHARES, macro_f1=SHARES, class_recall=SHARES),
        tuning=st.none() | TUNING,
        parameters=st.dictionaries(NAMES, VALUES, max_size=2),
        settings=st.dictionaries(NAMES.map("speech_encoder.{}".format), VALUES, max_size=2),
    )
    def holds(tuning: Tuning | None, parameters: dict[str, Any], **asked: Any) -> None:
        corpus = run.corpus.model_copy(update={"dataset": Recipe("mine", parameters, "", {})})
        record = TuningRecord(asked=tuning, folds=[]) if tuning else None
        names = {"features": Recipe("speech_encoder", {}, "", {}), "model": Recipe("svm", {}, "", {})}
        made = run.model_copy(update={"corpus": corpus, "tuning": record, **names, **asked})
        (command,) = reproduce(made).commands
        found = understood(command)
        assert (found.features, found.model, found.data) == (["speech_encoder"], ["svm"], ["mine"])
        assert (found.protocol, found.seed, found.repeats) == (["stratified5"], asked["seed"], 1)
        assert found.threads == asked["threads"]
        assert found.criteria == asked["criteria"]
        assert found.set == {f"mine.{name}": value for name, value in parameters.items()} | asked["settings"]
        assert found.tuning(has_epochs=True) == found.tuning(has_epochs=False) == tuning

    holds()


@given(VALUES)
def test_a_setting_keeps_its_kind(value: object) -> None:
    words = shlex.join(
        ["bench", "run", "--features", "f", "--model", "m", "--set", setting_text("a.b", value)]
    )
    assert repr(understood(words).set) == repr({"a.b": value})


@pytest.mark.parametrize(
    "value", ["it's", "$HOME `ls` $(ls)", 'a "b" \\ c', "two\nlines", "ä | *", "~/x", ""]
)
def test_a_shell_hands_the_words_over_as_they_are(value: str) -> None:
    words = ["--set", setting_text("a.b", value)]
    script = f"printf '%s\\0' {shlex.join(words)}"
    printed = subprocess.run(["/bin/sh", "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.split("\0")[:-1] == words


@pytest.mark.parametrize(
    ("inner_folds", "chosen"), [(0, "by hand"), (1, "by hand"), (4, "inside training parts")]
)
def test_bench_ensemble_understands_the_command_as_the_same_fusion(
    finished_run: Callable[..., RunFolder], inner_folds: int, chosen: Any
) -> None:
    ids = ["f-m-s0-1", "f-m-s0-2"]
    members = [
        MemberRecord(run_id=run_id, features="f", model="m", settings={}, seed=0, tuned=None)
        for run_id in ids
    ]
    ensemble = EnsembleRecord(members=members, inner_folds=inner_folds, chosen=chosen, weights=[])
    criteria = Criteria(accuracy=0.9)
    run = finished_run("ensemble-mean-s0-1", 0.5, ensemble=ensemble, criteria=criteria).read_run()
    (command,) = reproduce(run).commands
    fuse, report = "marsbench.automl.members.ensemble", "marsbench.cli.run.print_report"
    with mock.patch(fuse) as fused, mock.patch(report):
        COMMANDS.main(shlex.split(command)[1:], standalone_mode=False)
    asked = {"equal": inner_folds == 0, "inner_folds": inner_folds or 1, "choose": chosen != "by hand"}
    expected = Fusion(runs=ids, criteria=criteria, **asked)
    assert fused.call_args.args[0] == expected


def test_the_commands_that_show_prints_make_the_same_runs(bench: Bench, kit: Path) -> None:
    words = ["--features", "crossings", "--model", "knobs", "--set", "tones.n_speakers=5", "--seed", "3"]
    tuning = ["--trials", "2", "--inner-folds", "2", "--objective", "uar", "--set", "knobs.widest=0.9"]
    assert bench("run", "--data", "tones", "--plugins", kit, *words, *tuning).exit_code == 0
    untuned, tuned = sorted(path.name for path in Path("results").glob("*/*/*"))
    for run_id in (untuned, tuned):
        lines = bench("show", run_id).stdout.splitlines()
        command = lines[lines.index("Reproduce") + 1]
        assert bench(*shlex.split(command)[1:], "--plugins", kit, "--results", "elsewhere").exit_code == 0
    assert sorted(path.name for path in Path("elsewhere").glob("*/*/*")) == [untuned, tuned]


def test_show_prints_the_command_on_one_line_however_narrow_the_terminal_is(
    bench: Bench, finished_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_run("a-b-s0-1", None, settings={"tiny.text": "[bold] :smile: " + 90 * "x"})
    monkeypatch.setattr("marsbench.report.terminal.console.out.width", 40)
    lines = bench("show", "a-b").stdout.splitlines()
    command, note = lines[lines.index("Reproduce") + 1 :]
    assert command.endswith(f"""'tiny.text="[bold] :smile: {90 * "x"}"' --trials 0""")
    assert note.startswith("(not among the installed plugins: tiny")
