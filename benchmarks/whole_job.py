"""A whole job, from a folder of audio to scores: by a plain script, by nkululeko, by `bench run`.

    python benchmarks/whole_job.py PATH [--protocol NAME] [--features NAME] [--turns N] [--nkululeko PYTHON]

All fit an SVM with an RBF kernel on each fold of the protocol. The plain script calls librosa for means and
deviations of MFCC, chroma and spectral contrast, clip after clip (cold); or it loads the features that
marsbench has, from one file (warm). It then fits scikit-learn's pipeline on fold after fold and prints its
UAR. It neither checks the audio nor calibrates, and gives no intervals. `bench run` has an empty cache (cold)
or one with the features and what is known of the audio (warm); its results are new each time.

nkululeko takes part where it is installed, here or in the environment of the interpreter PYTHON (it needs
`pip install torch==2.13.0`, then `pip install nkululeko`). It extracts eGeMAPS by openSMILE and has the same
folds; cold it has no stored features. Its UAR is the mean over folds.

Each turn is a process of its own, imports included. The ways take turns; the least of the turns' wall and CPU
seconds count, and ratios are to the plain script. CPU seconds include those of worker processes; they
tell more than wall where other processes keep the machine busy, whose load is printed.
"""

import argparse
import configparser
import csv
import json
import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

_BENCH = "from marsbench.cli.main import main; main()"
_MODEL = "svm"
_LOOK = 0.05
"""Seconds between two looks at the processes."""


class Turn(NamedTuple):
    """A process that has ended."""

    wall: float
    cpu: float
    uar: float
    phases: str


def plain(job: Path, is_cold: bool) -> None:
    """The plain script; prints its UAR in % and the seconds of its phases, its start not among them."""
    begin = time.perf_counter()
    from sklearn.metrics import recall_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    work = json.loads(job.read_text("utf-8"))
    imported = time.perf_counter()
    values = _by_librosa(work["paths"]) if is_cold else np.load(job.with_suffix(".npy"))
    extracted = time.perf_counter()
    targets = np.array(work["targets"])
    predicted = np.zeros_like(targets)
    for train, test in work["folds"]:
        model = make_pipeline(StandardScaler(), SVC(C=10.0, class_weight="balanced"))
        predicted[test] = model.fit(values[train], targets[train]).predict(values[test])
    uar = 100 * recall_score(targets, predicted, average="macro")
    fitted = time.perf_counter()
    marks = {"imports": imported - begin, "features": extracted - imported, "folds": fitted - extracted}
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in marks.items())
    print(f"UAR {uar:.1f} Seconds: {phases}")


def _by_librosa(paths: list[str]) -> Any:
    import librosa

    rows = []
    for path in paths:
        wave, rate = librosa.load(path)
        parts = (
            librosa.feature.mfcc(y=wave, sr=rate, n_mfcc=40),
            librosa.feature.chroma_stft(y=wave, sr=rate),
            librosa.feature.spectral_contrast(y=wave, sr=rate),
        )
        frames = np.concatenate(parts)
        rows.append(np.concatenate([frames.mean(axis=1), frames.std(axis=1)]))
    return np.array(rows)


def write_job(job: Path, path: str, protocol: str, features: str) -> None:
    """Clips, classes, folds and features of the corpus, for the plain script."""
    import marsbench
    from marsbench.protocols.apply import apply_protocol, find_protocol

    corpus = marsbench.load_corpus(path)
    folds = apply_protocol(find_protocol(protocol), corpus).folds
    work = {
        "paths": [str(clip.path.absolute()) for clip in corpus.clips],
        "labels": corpus.labels,
        "speakers": corpus.speakers,
        "targets": corpus.targets.tolist(),
        "folds": [[fold.train.tolist(), fold.test.tolist()] for fold in folds],
    }
    job.write_text(json.dumps(work), "utf-8")
    np.save(job.with_suffix(".npy"), marsbench.extract(corpus, features).pooled().values)


def plain_turn(job: Path, is_cold: bool) -> Turn:
    """One turn of the plain script."""
    wall, cpu, text = _timed(
        [sys.executable, __file__, str(job), "--plain", "cold" if is_cold else "warm"], {}
    )
    uar, phases = re.findall(r"UAR ([\d.]+) Seconds: (.*)", text)[0]
    return Turn(wall, cpu, float(uar), phases)


def bench_turn(folder: Path, options: list[str], home: Path) -> Turn:
    """One turn of `bench run`, with the cache in `home`."""
    results = Path(tempfile.mkdtemp(dir=folder))
    words = ["run", *options, "--trials", "0", "--results", str(results), "--verbose"]
    wall, cpu, text = _timed([sys.executable, "-c", _BENCH, *words], {"MARSBENCH_HOME": str(home)})
    scores = json.loads(next(results.rglob("run.json")).read_text("utf-8"))["metrics"]
    return Turn(wall, cpu, 100 * scores["uar"]["value"], re.findall(r"Seconds: (.*);", text)[-1])


def nkululeko_turn(folder: Path, python: str, is_cold: bool) -> Turn:
    """One turn of nkululeko in `folder`, whose stored features go first if it is to be cold."""
    if is_cold:
        shutil.rmtree(folder / "results", ignore_errors=True)
    wall, cpu, text = _timed([python, "-m", "nkululeko.nkululeko", "--config", str(folder / "job.ini")], {})
    return Turn(wall, cpu, 100 * float(re.findall(r"LOGO: .* mean ([\d.]+)", text)[0]), "")


def write_nkululeko_job(folder: Path, job: Path) -> None:
    """The same clips and folds as nkululeko reads them."""
    work = json.loads(job.read_text("utf-8"))
    fold_of = {row: fold for fold, (_, test) in enumerate(work["folds"]) for row in test}
    with (folder / "clips.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "speaker", "emotion", "fold"])
        for row, target in enumerate(work["targets"]):
            place = work["paths"][row], work["speakers"][row] or row
            table.writerow([*place, work["labels"][target], fold_of[row]])
    settings = configparser.ConfigParser()
    settings["EXP"] = {"root": str(folder / "results"), "name": "job"}
    settings["DATA"] = {
        "databases": "['clips']",
        "clips": str(folder / "clips.csv"),
        "clips.type": "csv",
        "clips.absolute_path": "True",
        "clips.split_strategy": "train",
        "target": "emotion",
        "labels": str(list(work["labels"])),
    }
    settings["FEATS"] = {"type": "['os']", "set": "eGeMAPSv02", "scale": "standard"}
    settings["MODEL"] = {"type": _MODEL, "logo": str(len(work["folds"]))}
    with (folder / "job.ini").open("w", encoding="utf-8") as file:
        settings.write(file)


def _timed(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Wall and CPU seconds of a process and all below it, and what it printed.

    The CPU seconds of each are those when it was last seen alive: what is killed at the end, as worker
    processes are, counts in nobody's `getrusage`.
    """
    begin, own = time.perf_counter(), os.environ | environment
    seconds: dict[tuple[int, float], float] = {}
    with tempfile.TemporaryFile("w+") as said:
        process = psutil.Popen(command, env=own, stdout=said, stderr=said)
        while process.poll() is None:
            for one in _tree(process):
                with suppress(psutil.Error):
                    seconds[one.pid, one.create_time()] = sum(one.cpu_times()[:2])
            time.sleep(_LOOK)
        wall = time.perf_counter() - begin
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise SystemExit(text[-2000:])
    return wall, sum(seconds.values()), text


def _tree(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def _show(turns: dict[str, list[Turn]]) -> None:
    print(f"{'':16}{'wall s':>8}{'CPU s':>8}{'ratio':>7}{'of CPU':>8}{'UAR %':>7}")
    for name, made in turns.items():
        base = turns[f"plain {name.split()[1]}"]
        wall, cpu = (min(getattr(turn, field) for turn in made) for field in ("wall", "cpu"))
        by_wall, by_cpu = (min(getattr(turn, field) for turn in base) for field in ("wall", "cpu"))
        ratios = f"{wall / by_wall:7.2f}{cpu / by_cpu:8.2f}"
        print(f"{name:16}{wall:8.1f}{cpu:8.1f}{ratios}{made[0].uar:7.1f}")
    for name, made in turns.items():
        if phases := min(made).phases:
            print(f"{name}: seconds of {phases}")


def main() -> None:
    """Time both ways in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path")
    parser.add_argument("--protocol", default="stratified5")
    parser.add_argument("--features", default="functionals")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument(
        "--nkululeko", metavar="PYTHON", default=sys.executable if find_spec("nkululeko") else None
    )
    parser.add_argument("--plain", choices=["cold", "warm"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.plain:
        plain(Path(asked.path), asked.plain == "cold")
        return
    turns: dict[str, list[Turn]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        os.environ["MARSBENCH_HOME"] = str(folder / "warm")
        write_job(folder / "job.json", asked.path, asked.protocol, asked.features)
        if asked.nkululeko:
            write_nkululeko_job(folder, folder / "job.json")
        options = [
            "--data",
            asked.path,
            "--protocol",
            asked.protocol,
            "--features",
            asked.features,
            "--model",
            _MODEL,
        ]
        for turn in range(asked.turns):
            for name, home in (("cold", folder / f"cold{turn}"), ("warm", folder / "warm")):
                turns.setdefault(f"plain {name}", []).append(plain_turn(folder / "job.json", name == "cold"))
                turns.setdefault(f"bench {name}", []).append(bench_turn(folder, options, home))
                if asked.nkululeko:
                    theirs = nkululeko_turn(folder, asked.nkululeko, name == "cold")
                    turns.setdefault(f"nkululeko {name}", []).append(theirs)
    print(f"{asked.features} + {_MODEL}, {asked.protocol}; load of the machine now {os.getloadavg()[0]:.1f}")
    _show(turns)


if __name__ == "__main__":
    main()
