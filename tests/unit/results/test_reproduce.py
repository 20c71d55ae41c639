from collections.abc import Callable
from typing import Any

import pytest

from marsbench.config import Criteria, Tuning
from marsbench.data.corpus_options import Reading
from marsbench.options import setting_text
from marsbench.plugin.registry import Recipe
from marsbench.results.reproduce import reproduce
from marsbench.results.schema import (
    CorpusRecord,
    EnsembleRecord,
    MemberRecord,
    ProtocolRecord,
    Run,
    TuningRecord,
)
from marsbench.results.store import RunFolder

RAVDESS = CorpusRecord(
    name="ravdess", dataset=Recipe("ravdess", {"root": "", "channels": "both"}, "", {}), fingerprint="",
    labels=["low", "high"], n_clips=20, synthetic=False, licence="", bad_audio={}, notes=[],
)  # fmt: skip
SPEECH = Recipe("ravdess", {"root": "", "channels": "speech"}, "", {})
HEAD = "bench run --features functionals --model svm --data ravdess --protocol stratified5"


@pytest.fixture
def run_with(finished_run: Callable[..., RunFolder]) -> Callable[..., Run]:
    """A run of built-in plugins on RAVDESS with some of its record changed."""

    def build(**changes: Any) -> Run:
        usual = {
            "corpus": RAVDESS,
            "features": Recipe("functionals", {}, "", {}),
            "model": Recipe("svm", {}, "", {}),
            "settings": {},
        }
        return finished_run("a-b-s0-1", 0.5, **usual | changes).read_run()

    return build


def tuned(**changes: Any) -> TuningRecord:
    usual = {"trials": 5, "tuner": "optuna", "objective": "macro_f1", "inner_folds": 3, "time_budget": None}
    return TuningRecord(asked=Tuning.model_validate(usual | changes), folds=[])


@pytest.mark.parametrize(
    ("changes", "tail"),
    [
        ({}, " --trials 0"),
        ({"seed": 7, "threads": 2}, " --seed 7 --trials 0 --threads 2"),
        ({"settings": {"svm.C": 2.5}}, " --set svm.C=2.5 --trials 0"),
        ({"settings": {"functionals.layers": [1, 2]}}, " --set 'functionals.layers=[1, 2]' --trials 0"),
        (
            {"corpus": RAVDESS.model_copy(update={"dataset": SPEECH})},
            " --set ravdess.channels=speech --trials 0",
        ),
        (
            {
                "corpus": RAVDESS.model_copy(
                    update={"reading": Reading(label="(low|high)_", map={"a": "low"}, min_clips=3, name="my")}
                )
            },
            " --label '(low|high)_' --map a=low --min-clips 3 --name my --trials 0",
        ),
        ({"criteria": Criteria(macro_f1=0.7)}, " --criteria macro_f1=0.7 --trials 0"),
        ({"tuning": tuned()}, " --trials 5 --inner-folds 3"),
        (
            {"tuning": tuned(tuner="keras-tuner", objective="uar", inner_folds=1)},
            " --objective uar --trials 5 --tuner keras-tuner --inner-folds 1",
        ),
        ({"tuning": tuned(trials=1_000_000, time_budget=1800)}, " --inner-folds 3 --time-budget 30m"),
        ({"tuning": tuned(time_budget=0.5)}, " --trials 5 --inner-folds 3 --time-budget 0.5s"),
    ],
)
def test_what_was_asked_for_stands_in_the_command_and_defaults_do_not(
    run_with: Callable[..., Run], changes: dict[str, Any], tail: str
) -> None:
    assert reproduce(run_with(**changes)).commands == (HEAD + tail,)


def test_derived_parameters_are_left_to_the_plugins(run_with: Callable[..., Run]) -> None:
    encoder = Recipe("speech_encoder", {"encoder": "smart_turn", "sha256": "2bb0"}, "", {})
    (command,) = reproduce(
        run_with(features=encoder, settings={"speech_encoder.encoder": "smart_turn"})
    ).commands
    assert command == (
        "bench run --features speech_encoder --model svm --data ravdess --protocol stratified5 "
        "--set speech_encoder.encoder=smart_turn --trials 0"
    )


@pytest.mark.parametrize(
    ("seeds", "options"),
    [
        ((0, 1, 2), [" --repeats 3"]),
        ((6, 4, 5), [" --seed 4 --repeats 3"]),
        ((0, 1, 5), [" --repeats 2", " --seed 5"]),
    ],
)
def test_seeds_that_follow_each_other_are_one_command(
    run_with: Callable[..., Run], seeds: tuple[int, ...], options: list[str]
) -> None:
    assert reproduce(run_with(), seeds).commands == tuple(f"{HEAD}{option} --trials 0" for option in options)


@pytest.mark.parametrize(
    ("inner_folds", "tail"),
    [(0, " --equal"), (1, ""), (3, " --inner-folds 3")],
    ids=["mean", "pool", "three"],
)
def test_an_ensemble_names_its_members_and_what_must_be_there(
    run_with: Callable[..., Run], inner_folds: int, tail: str
) -> None:
    members = [
        MemberRecord(run_id=run_id, features="f", model="m", settings={}, seed=0, tuned=None)
        for run_id in ("f-m-s0-1", "f-m-s0-2")
    ]
    how = reproduce(run_with(ensemble=EnsembleRecord(members=members, inner_folds=inner_folds, weights=[])))
    assert how.commands == (f"bench ensemble f-m-s0-1 f-m-s0-2{tail}",)
    assert how.notes == ("its members must be among the results: bench show MEMBER tells how each is made",)


def protocol(name: str, description: str) -> ProtocolRecord:
    return ProtocolRecord(
        name=name, hash="5" * 64, by_speaker=False, n_folds=2, notes=[], description=description
    )


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"model": Recipe("mine", {}, "", {})}, "not among the installed plugins: mine; add --plugins"),
        ({"protocol": protocol("mine", "")}, "mine was a protocol's file: write the file's path behind"),
        ({"protocol": protocol("stratified5", "another one")}, "stratified5 was a protocol's file"),
        (
            {"corpus": RAVDESS.model_copy(update={"dataset": Recipe("ravdess", {"root": "r"}, "", {})})},
            "ravdess.root is a path of the machine that the run was made on: write yours",
        ),
        ({"settings": {"svm.file": "/home/me/file"}}, "svm.file is a path of the machine"),
        ({"tuning": tuned(time_budget=60)}, "how many trials its time budget has room for depends on"),
        ({"settings": {"svm.C": None}}, "svm.C was None, which --set cannot say: it must be the plugin's"),
    ],
)
def test_what_the_record_does_not_hold_is_told_rather_than_guessed(
    run_with: Callable[..., Run], changes: dict[str, Any], note: str
) -> None:
    (told,) = reproduce(run_with(**changes)).notes
    assert told.startswith(note)


@pytest.mark.parametrize("description", ["", "5 folds of clips at random, classes balanced"])
def test_a_run_of_built_in_parts_needs_no_further_word(
    run_with: Callable[..., Run], description: str
) -> None:
    assert reproduce(run_with(protocol=protocol("stratified5", description))).notes == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("plain", "a.b=plain"),
        ("true", 'a.b="true"'),
        ("1", 'a.b="1"'),
        ("two\nlines", r'a.b="two\nlines"'),
        (True, "a.b=true"),
        (1e-05, "a.b=1e-05"),
        ([{"k": "v"}], 'a.b=[{"k" = "v"}]'),
    ],
)
def test_text_that_toml_would_take_for_something_else_is_quoted(value: object, words: str) -> None:
    assert setting_text("a.b", value) == words
