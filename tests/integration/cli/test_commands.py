import csv
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from marsbench.cli import start
from marsbench.plugin.registry import discover

Bench = Callable[..., Any]
GRID = ("--features", "crossings,blocks", "--model", "nearest_mean", "--data", "tones")


def test_a_run_ends_with_verdict_recall_files_and_leaderboard(ran: Any) -> None:
    for expected in (
        "Corpus tones: 30 clips, 3 classes; licence: none.",
        "The audio is synthetic",
        "crossings + nearest_mean, stratified5, seed 0",
        "Recall by class (%): low 100  middle 100  high 100",
        "Verdict: UNDECIDED",
        "Files: results/tones/stratified5/crossings-nearest_mean-s0-",
        "Leaderboard: tones, synthetic, stratified5",
        "Train and test share 5 speakers; expect lower scores on new ones.",
    ):
        assert expected in ran.stdout


def test_progress_goes_to_standard_error(ran: Any) -> None:
    assert "Extracting crossings" in ran.stderr
    assert "pipeline 1 of 2: crossings + nearest_mean, folds: " in ran.stderr
    assert "pipeline 2 of 2: blocks + nearest_mean, folds: " in ran.stderr
    assert "Extracting" not in ran.stdout


@pytest.mark.usefixtures("ran")
def test_json_rows_carry_what_the_table_shows(bench: Bench) -> None:
    rows = json.loads(bench("leaderboard", "--json").stdout)
    assert [row["rank"] for row in rows] == [1, 1]
    keys = (
        "run_id corpus protocol features model status accuracy macro_f1 uar worst_recall worst_class verdict"
    )
    assert set(keys.split()) <= rows[0].keys()
    assert rows[0]["accuracy"] == rows[0]["worst_recall"] == 1.0


@pytest.mark.usefixtures("ran")
def test_csv_has_one_line_a_run(bench: Bench) -> None:
    rows = list(csv.DictReader(io.StringIO(bench("leaderboard", "--csv").stdout)))
    assert {row["features"] for row in rows} == {"crossings", "blocks"}


def test_runs_of_another_protocol_stand_on_another_board(bench: Bench, kit: Path, ran: Any) -> None:
    assert ran.exit_code == 0
    bench("run", *GRID, "--plugins", kit, "--protocol", "holdout80")
    table = bench("leaderboard").stdout
    assert table.count("Leaderboard: tones") == 2
    assert bench("leaderboard", "--protocol", "holdout80").stdout.count("Leaderboard:") == 1


def test_repeats_are_runs_of_the_same_folds_with_a_seed_each(bench: Bench, kit: Path) -> None:
    words = ("--features", "crossings", "--model", "nearest_mean", "--data", "tones", "--plugins", kit)
    assert bench("run", *words, "--repeats", "3", "--seed", "4").exit_code == 0
    (row,) = json.loads(bench("leaderboard", "--json").stdout)
    assert row["seeds"] == [4, 5, 6]
    assert row["seed_spread"] == 0.0
    assert "seeds 4 to 6, ± 0.0" in bench("leaderboard", "--explain").stdout
    assert len(json.loads(bench("leaderboard", "--json", "--all").stdout)) == 3


def test_several_protocols_in_one_command_show_both_views(bench: Bench, kit: Path) -> None:
    words = ("--features", "crossings", "--model", "nearest_mean", "--data", "tones", "--plugins", kit)
    shown = bench("run", *words, "--protocol", "stratified5,speaker5").stdout
    assert shown.count("Leaderboard: tones") == 2
    head, row, *_ = shown[shown.rindex("stratified5, ") :].partition("# ")[2].splitlines()
    assert "new speakers" in head
    assert "100.0" in row[head.index("new speakers") :].split("UNDECIDED")[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("leaderboard",), "no runs in "),
        (("show", "x"), "no runs in "),
        (("run", "--features", "crossings"), "--model is missing"),
        (("run", "--features", "nothing", "--model", "svm"), "Unknown feature extractor 'nothing'"),
        (("run", "--features", "mfcc", "--model", "svm", "--data", "./gone"), "There is no file or folder"),
        (("run", "gone.toml"), "gone.toml cannot be read: No such file or directory"),
        (("run", "--criteria", "accuracy"), "--criteria accuracy: write NAME=NUMBER"),
        (("run", "--features", "mfcc", "--model", "svm", "--criteria", "recall=1"), "Unknown key 'recall'"),
        (("plugins", "check", "svn"), "Unknown plugin 'svn'. Did you mean 'svm'?"),
        (("plugins", "new", "features", "1st"), "'1st' is not a valid plugin name"),
        (("plugins", "new", "features", "json"), "'json' is the name of an installed module; choose another"),
        (("plugins", "new", "models", "mfcc"), "'mfcc' is already a feature extractor of marsbench; choose"),
        (("data", "check", "nowhere"), "Unknown dataset 'nowhere'"),
        (("data", "fetch", "demo"), "demo has nothing to fetch; use it as it is"),
        (("cache", "clear", "mfcc"), "No features of 'mfcc' are stored"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_1(
    bench: Bench, words: tuple[str, ...], message: str
) -> None:
    result = bench(*words)
    assert result.exit_code == 1
    assert result.stderr.startswith("bench: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("run", "--featurs", "x"), ("rum",), ("plugins", "new", "datasets", "x")])
def test_wrong_usage_is_exit_code_2(bench: Bench, words: tuple[str, ...]) -> None:
    assert bench(*words).exit_code == 2


def test_an_experiment_file_is_a_grid_and_options_win_over_it(
    bench: Bench, kit: Path, tmp_path: Path
) -> None:
    (tmp_path / "grid.toml").write_text(
        f"features = ['crossings', 'blocks']\nmodel = 'nearest_mean'\ndata = 'tones'\nplugins = ['{kit}']\n"
        "protocol = 'holdout80'\nseed = 3\n[set.crossings]\nscale = 2.0\n"
    )
    result = bench("run", "grid.toml", "--seed", "4", "--set", "tones.n_takes=3", "--verbose")
    rows = json.loads(bench("leaderboard", "--json").stdout)
    assert result.exit_code == 0
    assert [(row["protocol"], row["seeds"]) for row in rows] == [("holdout80", [4])] * 2
    assert rows[1]["settings"] | rows[0]["settings"] == {"crossings.scale": 2.0}
    assert "Corpus tones: 45 clips" in result.stdout
    told = result.stderr.splitlines()[-1]
    for phase in ("start", "listing", "audio check", "features", "folds", "scoring", "writing", "report"):
        assert f" {phase} " in told


def test_a_misspelt_key_of_a_file_is_answered_with_the_right_one(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text('features = "mfcc"\nmodels = "svm"\n')
    assert "grid.toml: Unknown key 'models'. Did you mean 'model'?" in bench("run", "grid.toml").stderr


def test_a_failed_run_is_shown_with_its_reason_and_exit_code_1(bench: Bench, kit: Path) -> None:
    result = bench("run", *GRID, "--model", "troubled", "--plugins", kit)
    assert result.exit_code == 1
    assert "FAILED: RuntimeError: no luck today (fold 1, 2, 3, 4, 5)" in result.stdout
    rows = json.loads(bench("leaderboard", "--json").stdout)
    assert [row["status"] for row in rows] == ["complete", "complete", "failed", "failed"]
    assert rows[3]["rank"] is None
    assert rows[3]["reason"] == "RuntimeError: no luck today"
    shown = bench("show", rows[3]["run_id"])
    assert shown.exit_code == 0
    assert "raise RuntimeError" in shown.stdout


@pytest.mark.usefixtures("ran")
def test_show_prints_classes_and_confusion_and_writes_the_picture(bench: Bench) -> None:
    shown = bench("show", "crossings")
    assert "recall (accuracy)" in shown.stdout
    assert ["middle", "·", "10", "·"] in [line.split() for line in shown.stdout.splitlines()]
    pictures = list(Path("results").rglob("confusion_matrix.png"))
    assert len(pictures) == 1
    assert pictures[0].read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("ran")
def test_show_as_json_is_the_run_file_without_its_checksum(bench: Bench) -> None:
    shown = json.loads(bench("show", "crossings", "--json").stdout)
    (path,) = Path("results").glob("*/*/crossings*/run.json")
    stored = json.loads(path.read_text())
    assert stored.pop("sha256")
    assert shown == stored


@pytest.mark.usefixtures("ran")
def test_a_rerun_fits_nothing_and_says_so(bench: Bench, kit: Path) -> None:
    again = bench("run", *GRID, "--plugins", kit)
    assert "crossings + nearest_mean: 5 of 5 folds are finished already" in again.stderr
    assert "Extracting" not in again.stderr


@pytest.mark.parametrize("kind", ["features", "models"])
def test_a_new_plugin_passes_its_check_at_once(bench: Bench, kind: str) -> None:
    made = bench("plugins", "new", kind, f"my_{kind}")
    assert f"plugins/{kind}/my_{kind}.py written" in made.stdout
    checked = bench("plugins", "check", f"my_{kind}")
    assert checked.exit_code == 0
    assert checked.stdout.count(" ok") > 8
    assert f"my_{kind}" in bench("plugins", "list").stdout


def test_a_new_plugin_overwrites_nothing(bench: Bench) -> None:
    bench("plugins", "new", "features", "my_own")
    again = bench("plugins", "new", "features", "my_own")
    assert again.exit_code == 1
    assert "exists already" in again.stderr


def test_a_plugin_that_breaks_its_contract_fails_its_check(bench: Bench, kit: Path) -> None:
    result = bench("plugins", "check", "troubled", "--plugins", kit)
    assert result.exit_code == 1
    assert "no luck today" in result.stdout


PICKY = """
from dataclasses import dataclass
from marsbench.errors import ConfigError, PluginError
from marsbench_plugins.models.pca_lda import PcaLda

@dataclass
class Picky(PcaLda):
    '''Needs its parameter `place`, and features of 34 dimensions.'''

    place: str = ""

    def skip(self, other):
        return None if other.name == "crossings" else "picky takes crossings"

    def fit(self, train, hp, context):
        if not self.place:
            raise ConfigError("picky needs --set picky.place=PLACE")
        if train.features.input_shape != (1,):
            raise PluginError(f"picky takes one dimension, not {train.features.input_shape}")
        return super().fit(train, hp, context)
"""


@pytest.mark.parametrize(
    ("words", "exit_code", "told"),
    [
        ([], 1, "picky needs --set picky.place=PLACE"),
        (["--set", "picky.place=here"], 1, "picky takes one dimension, not (5,)"),
        (["--set", "picky.place=here", "--features", "crossings"], 0, "a fit as in a new process"),
        (["--features", "mfcc"], 1, "picky takes crossings"),
        (["--set", "picky.plaice=x", "--set", "mfcc.n_mfcc=1"], 1, "plugin 'mfcc' is not in use here"),
    ],
)
def test_a_plugin_that_needs_parameters_or_certain_features_is_checked_with_them(
    bench: Bench, kit: Path, tmp_path: Path, words: list[str], exit_code: int, told: str
) -> None:
    (tmp_path / "more" / "models").mkdir(parents=True)
    (tmp_path / "more" / "models" / "picky.py").write_text(PICKY)
    result = bench("plugins", "check", "picky", *words, "--plugins", tmp_path / "more", "--plugins", kit)
    assert result.exit_code == exit_code, result.stdout + result.stderr
    assert told in " ".join((result.stdout + result.stderr).split())


@pytest.mark.parametrize(("setting", "exit_code"), [("C=10", 0), ("Cc=10", 1)])
def test_hyperparameters_are_set_for_a_check_as_for_a_run(bench: Bench, setting: str, exit_code: int) -> None:
    result = bench("plugins", "check", "svm", "--set", f"svm.{setting}")
    assert result.exit_code == exit_code
    assert ("svm: Unknown parameter 'Cc'. Did you mean 'C'?" in result.stdout) is bool(exit_code)


def test_plugins_are_listed_with_their_first_line_and_origin(bench: Bench, kit: Path) -> None:
    listed = json.loads(bench("plugins", "list", "--json", "--plugins", kit).stdout)
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["crossings"]["summary"] == "Zero crossings a second, in thousands."
    assert by_name["crossings"]["origin"] == str(kit)
    assert by_name["svm"] | {"summary": ""} == {
        "kind": "models", "name": "svm", "summary": "", "origin": "marsbench",
    }  # fmt: skip


def test_a_refused_plugin_is_named_by_the_list(bench: Bench) -> None:
    Path("plugins/features").mkdir(parents=True)
    Path("plugins/features/json.py").write_text("")
    assert "'json' is the name of an installed module" in bench("plugins", "list").stderr


def test_show_plugin_names_parameters_and_hyperparameters(bench: Bench) -> None:
    shown = bench("plugins", "show", "svm").stdout
    assert "svm.balanced" in shown
    assert "svm.C" in shown
    assert "0.1 to 1000, log" in shown


def test_data_check_reports_classes_speakers_rates_and_durations(bench: Bench, kit: Path) -> None:
    report = bench("data", "check", "tones", "--plugins", kit).stdout
    facts = "speaker 4", "8,000 Hz: 30", "0.20 to 0.20 s", "dB of full scale", "No bad audio"
    for expected in ("tones: 30 usable clips; licence: none", *facts):
        assert expected in report


def test_the_cache_can_be_looked_at_and_cleared(bench: Bench, ran: Any) -> None:
    assert ran.exit_code == 0
    assert "crossings" in bench("cache", "info").stdout
    assert bench("cache", "clear", "crossings").exit_code == 0
    assert "crossings" not in bench("cache", "info").stdout


def test_version(bench: Bench) -> None:
    assert bench("--version").stdout.startswith("marsbench 0.")


def test_every_command_has_help(bench: Bench) -> None:
    for words in (
        (),
        ("run",),
        ("leaderboard",),
        ("show",),
        ("compare",),
        ("ensemble",),
        ("report",),
        ("app",),
        ("plugins",),
        ("data",),
        ("protocols",),
        ("cache",),
    ):
        assert bench(*words, "--help").exit_code == 0


HEAVY = """
import sys
from marsbench.cli.main import app
from typer.testing import CliRunner
heavy = {"tensorflow", "keras", "librosa", "numba", "sklearn", "scipy", "pandas", "pyarrow", "matplotlib"}
for words in sys.argv[1:]:
    result = CliRunner().invoke(app, words.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    print(words, sorted(heavy & set(sys.modules)))
"""


@pytest.mark.usefixtures("ran")
def test_listing_commands_import_nothing_heavy() -> None:
    listing = ["--help", "plugins list", "protocols list", "protocols list --json"]
    listing += ["leaderboard", "leaderboard --json"]
    done = subprocess.run([sys.executable, "-c", HEAVY, *listing], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{words} []" for words in listing]


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(
    bench: Bench, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marsbench.evaluation.fit import Unit, fit_unit

    def interrupted_in_fold_3(unit: Unit, on_epoch: Any) -> Any:
        if unit.fold == 2:
            raise KeyboardInterrupt
        return fit_unit(unit, on_epoch)

    with monkeypatch.context() as patch:
        patch.setattr("marsbench.runner.pipeline_job.fit_unit", interrupted_in_fold_3)
        result = bench("run", *GRID, "--plugins", kit)
    assert result.exit_code == 130
    assert "Interrupted. Progress saved; rerun the same command to resume." in result.stderr
    assert "2 of 5 folds are finished already" in bench("run", *GRID, "--plugins", kit).stderr


@pytest.mark.parametrize("command", ["leaderboard", "report"])
def test_a_command_that_saves_nothing_on_its_way_does_not_say_so(
    bench: Bench, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("marsbench.results.leaderboard.leaderboards", interrupted)
    monkeypatch.setattr("marsbench.report.selection.leaderboards", interrupted)
    result = bench(command)
    assert result.exit_code == 130
    assert result.stderr.endswith("bench: Interrupted.\n")


@pytest.fixture
def _handler_of_ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, and afterwards does what it did before."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is not
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_handler_of_ctrl_c")
@pytest.mark.parametrize(("code", "is_ignored"), [(0, False), (1, False), (130, True)])
def test_once_it_is_interrupted_a_further_press_does_not_cut_its_end_short(
    code: int, is_ignored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marsbench.cli.main.app", lambda: sys.exit(code))
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == code
    assert (signal.getsignal(signal.SIGINT) is signal.SIG_IGN) == is_ignored


@pytest.mark.usefixtures("_handler_of_ctrl_c")
def test_ctrl_c_while_the_commands_are_imported_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    finder = type("Finder", (), {"find_spec": staticmethod(interrupted)})
    monkeypatch.delitem(sys.modules, "marsbench.cli.main", raising=False)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "bench: Interrupted.\n"


def test_one_unreadable_run_is_named_and_the_others_are_shown(bench: Bench, kit: Path, ran: Any) -> None:
    assert ran.exit_code == 0
    path = Path("results/tones/stratified5/damaged/run.json")
    path.parent.mkdir()
    path.write_text("{}")
    shown = bench("leaderboard")
    assert shown.exit_code == 0
    assert "left out: results/tones/stratified5/damaged/run.json is damaged" in shown.stderr
    assert "+ nearest_mean" in shown.stdout
    assert bench("run", *GRID, "--plugins", kit).exit_code == 0


@pytest.mark.usefixtures("ran")
def test_all_rows_are_held_against_the_same_criteria(bench: Bench, kit: Path) -> None:
    bench("run", *GRID, "--plugins", kit, "--seed", "1", "--criteria", "accuracy=0.1")
    rows = json.loads(bench("leaderboard", "--json", "--criteria", "class_recall=1").stdout)
    assert [row["seeds"] for row in rows] == [[0, 1]] * 2
    assert [row["class_recall_reached"] for row in rows] == [False] * 2
    shown = bench("leaderboard", "--criteria", "class_recall=1").stdout
    assert "recall of each class 100" in " ".join(shown.split())
    assert "Unknown key 'recall'" in bench("leaderboard", "--criteria", "recall=1").stderr


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Unknown run ''"),
        ("b", None),
        ("crossings-nearest_mean-s1", "Did you mean 'crossings-nearest_mean-s0-"),
    ],
)
def test_a_run_is_found_by_the_beginning_of_its_id(bench: Bench, name: str, message: str | None) -> None:
    result = bench("show", name)
    assert result.exit_code == (1 if message else 0)
    assert (message or "") in result.stderr


def test_an_ambiguous_beginning_is_answered_with_what_it_begins(bench: Bench, kit: Path, ran: Any) -> None:
    assert ran.exit_code == 0
    bench("run", *GRID, "--plugins", kit, "--seed", "1")
    assert "'crossings' begins 2 run ids: crossings-nearest_mean-s0-" in bench("show", "crossings").stderr


def test_labels_that_look_like_markup_are_shown_as_they_are(bench: Bench, kit: Path, tmp_path: Path) -> None:
    import shutil

    bench("data", "check", "tones", "--plugins", kit)
    for label, source in (("[red]sad", "low"), ("$a_$", "high"), ("[/x]", "middle")):
        for path in (tmp_path / "home" / "tones").glob(f"{source}-*"):
            (tmp_path / "odd").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "odd" / path.name)
            with (tmp_path / "odd" / "clips.csv").open("a") as table:
                table.write(f"{path.name},{label}\n")
    table_path = tmp_path / "odd" / "clips.csv"
    table_path.write_text("path,label\n" + table_path.read_text())
    words = ("run", "--features", "crossings", "--model", "nearest_mean", "--plugins", kit)
    result = bench(*words, "--data", tmp_path / "odd")
    assert result.exit_code == 0
    shown = bench("show", "crossings").stdout + bench("data", "check", tmp_path / "odd").stdout
    assert all(label in shown for label in ("[red]sad", "$a_$", "[/x]"))


def test_of_runs_that_differ_in_code_alone_the_latest_is_shown(
    bench: Bench, kit: Path, tmp_path: Path
) -> None:
    path = tmp_path / "plugins" / "features" / "edited_crossings.py"
    path.parent.mkdir(parents=True)
    source = (kit / "features" / "crossings.py").read_text()
    grid = ("--features", "edited_crossings", "--model", "nearest_mean", "--data", "tones", "--plugins", kit)
    for factor in ("1000", "1001"):
        path.write_text(source.replace("/ 1000]", f"/ {factor}]"))
        discover.cache_clear()
        sys.modules.pop("edited_crossings", None)
        assert bench("run", *grid).exit_code == 0
    assert len(json.loads(bench("leaderboard", "--json").stdout)) == 1
    assert len(json.loads(bench("leaderboard", "--json", "--all").stdout)) == 2
    assert "1 run(s) of older code are not shown; --all shows them" in bench("leaderboard").stdout


def test_a_run_is_found_by_the_mark_that_the_leaderboard_shows(bench: Bench, ran: Any) -> None:
    assert ran.exit_code == 0
    (row, *_) = json.loads(bench("leaderboard", "--json").stdout)
    mark = row["run_id"].rpartition("-")[2][:6]
    assert re.search(rf"\+ nearest_mean .* {mark}\b", bench("leaderboard").stdout)
    assert json.loads(bench("show", mark, "--json").stdout)["run_id"] == row["run_id"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("leaderboard", "--json", "--csv"), 2, "exclude each other"),
        (("leaderboard", "--markdown", "--csv"), 2, "exclude each other"),
        (("run", "--features", "mfcc", "--model", "svm", "--results", ""), 2, "a folder is needed"),
        (
            ("run", "--features", "mfcc", "--model", "svm", "--set", "mfcc.=1"),
            1,
            "write NAME.PARAMETER, such",
        ),
        (
            ("run", "--features", "mfcc", "--model", "svm", "--set", "svm.C=-1"),
            1,
            "a value above 0 is needed",
        ),
        (("run", "--features", "mfcc", "--model", "svm", "--set", "svm.c=1"), 1, "Did you mean 'C'?"),
        (("run", "--features", "MFCC", "--model", "svm"), 1, "Did you mean 'mfcc'?"),
        (("plugins", "list", "--plugins", "."), 1, "name one that has some of datasets, features, models"),
        (("data", "check", "."), 1, "has neither"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(
    bench: Bench, words: tuple[str, ...], code: int, message: str
) -> None:
    result = bench(*words)
    assert result.exit_code == code
    assert message in result.stderr
    assert not Path("results").exists() or not list(Path("results").iterdir())


def test_help_shows_the_defaults(bench: Bench) -> None:
    assert "[default: demo]" in bench("run", "-h").stdout


def test_a_path_is_printed_whole_however_narrow_the_screen_is(
    bench: Bench, kit: Path, ran: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ran.exit_code == 0
    monkeypatch.setattr("marsbench.report.terminal.console.out.width", 30)
    (folder,) = Path("results").glob("*/*/crossings-*")
    assert f"Files: {folder}\n" in bench("run", *GRID, "--plugins", kit).stdout
    assert f"Files: {folder}\n" in bench("show", "crossings").stdout
