"""Tuned runs that are killed or interrupted: what was fitted is kept, and the outcome is the same."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from time import sleep
from typing import Any

import pytest

from marsbench.results.store import RunFolder
from marsbench.results.studies import StudyFolder

Places = Callable[..., Any]

TUNED = "run --features crossings --model knobs --data tones --set tones.n_takes=2 --set knobs.log=fits.log"
TUNED += " --set knobs.epochs=8 --set knobs.seconds=0.01 --trials 5 --inner-folds 2 --workers 2"


def fits(there: Any) -> Counter[str]:
    path: Path = there.folder / "fits.log"
    return Counter(path.read_text().splitlines() if path.exists() else [])


def outcome(there: Any) -> list[Any]:
    """Predictions of both runs, and every trial without its times."""
    found: list[Any] = []
    for path in sorted(there.results.rglob("predictions.parquet")):
        studies = list(RunFolder(path.parent).study.studies())
        trials = [
            trial.model_dump(exclude={"seconds", "finished"}) for study in studies for trial in study.trials
        ]
        found.append((path.parent.name, path.read_bytes(), trials))
    return found


def kept(there: Any) -> dict[Path, bytes]:
    """Finished inner fits."""
    return {path: path.read_bytes() for path in there.results.rglob("study/fold-*/*.json")}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_tuned_run_killed_at_any_moment_comes_to_the_same(
    place: Places, undisturbed: Places, seed: int
) -> None:
    there, chance = place(), random.Random(seed)  # noqa: S311 - a test is no secret
    whole = undisturbed(TUNED)
    n_fits = fits(whole).total()
    for least in sorted(chance.sample(range(6, n_fits - 10), 3)):
        bench = there.start(TUNED)
        while fits(there).total() < least and bench.poll() is None:
            sleep(0.005)
        sleep(chance.random() * 0.05)
        bench.kill()
        there.await_quiet()
        before = kept(there)
    last = there.run(TUNED)
    assert last.code == 0, last.text
    assert outcome(there) == outcome(whole)
    assert before.items() <= kept(there).items()
    # A kill costs what the two workers had under way.
    assert n_fits <= fits(there).total() <= n_fits + 3 * 2
    there.assert_tidy()


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_keeps_what_is_under_way_and_the_study_goes_on(
    place: Places, undisturbed: Places, workers: int
) -> None:
    there, command = place(), TUNED.replace("--workers 2", f"--workers {workers}")
    bench = there.start(command)
    while fits(there).total() < 20 and bench.poll() is None:
        sleep(0.005)
    bench.press_ctrl_c()
    assert bench.code == 130
    assert "Traceback" not in bench.text
    assert there.run(command).code == 0
    assert fits(there) == fits(undisturbed(TUNED))
    assert outcome(there) == outcome(undisturbed(TUNED))


def test_an_inner_fit_whose_file_is_damaged_is_made_again(place: Places, undisturbed: Places) -> None:
    there = place()
    copytree(undisturbed(TUNED).folder, there.folder, dirs_exist_ok=True)
    (run_json,) = (path for path in there.results.rglob("run.json") if (path.parent / "study").exists())
    studies = StudyFolder(run_json.parent / "study")
    (studies.path / "fold-0.json").unlink()
    run_json.unlink()
    victim = next((studies.path / "fold-0").glob("*.json"))
    victim.write_bytes(victim.read_bytes()[:-9])
    again = there.run(TUNED)
    assert again.code == 0
    assert "set aside as" in again.text
    assert outcome(there) == outcome(undisturbed(TUNED))


def test_another_search_space_begins_a_new_study_and_says_so(place: Places) -> None:
    there = place()
    command = TUNED.replace("--workers 2", "--workers 0")
    assert there.run(command).code == 0
    changed = there.run(f"{command} --set knobs.kind=deep")
    assert "another search space" in changed.text
    other = there.run(f"{command} --objective accuracy")
    assert "another objective" in other.text
    records = [json.loads(path.read_bytes()) for path in there.results.rglob("study/fold-0.json")]
    assert len({(record["space"], record["objective"]) for record in records}) == 3
