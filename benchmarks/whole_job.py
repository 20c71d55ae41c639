"""A whole job, from a folder of audio to scores: as a plain script does it, and as `bench run` does.

    python benchmarks/whole_job.py PATH [--protocol NAME] [--features NAME] [--turns N]

Both fit an SVM with an RBF kernel on each fold of the protocol. The plain script calls librosa for means and
deviations of MFCC, chroma and spectral contrast, clip after clip (cold); or it loads the features that
marsbench has, from one file (warm). It then fits scikit-learn's pipeline on fold after fold and prints its
UAR. It neither checks the audio nor calibrates, and gives no intervals. `bench run` has an empty cache (cold)
or one with the features and what is known of the audio (warm); its results are new each time.

Each turn is a process of its own, imports included. The ways take turns; the least of the turns' wall and CPU
seconds count, and ratios are to the plain script. CPU seconds include those of worker processes; they
tell more than wall where other processes keep the machine busy, whose load is printed.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_BENCH = "from marsbench.cli.main import main; main()"
_MODEL = "svm"


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
        "paths": [str(clip.path) for clip in corpus.clips],
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


def _timed(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Wall and CPU seconds of a process and those that it waited for, and what it printed."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    own = os.environ | environment
    ended = subprocess.run(command, check=False, env=own, capture_output=True, text=True)  # noqa: S603 - its own
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(ended.stderr[-2000:])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, ended.stdout + ended.stderr


def _show(turns: dict[str, list[Turn]]) -> None:
    print(f"{'':12}{'wall s':>8}{'CPU s':>8}{'ratio':>7}{'of CPU':>8}{'UAR %':>7}")
    for name, made in turns.items():
        base = turns[name.replace("bench", "plain")]
        wall, cpu = (min(getattr(turn, field) for turn in made) for field in ("wall", "cpu"))
        by_wall, by_cpu = (min(getattr(turn, field) for turn in base) for field in ("wall", "cpu"))
        ratios = f"{wall / by_wall:7.2f}{cpu / by_cpu:8.2f}"
        print(f"{name:12}{wall:8.1f}{cpu:8.1f}{ratios}{made[0].uar:7.1f}")
    for name, made in turns.items():
        print(f"{name}: seconds of {min(made).phases}")


def main() -> None:
    """Time both ways in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path")
    parser.add_argument("--protocol", default="stratified5")
    parser.add_argument("--features", default="functionals")
    parser.add_argument("--turns", type=int, default=1)
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
    print(f"{asked.features} + {_MODEL}, {asked.protocol}; load of the machine now {os.getloadavg()[0]:.1f}")
    _show(turns)


if __name__ == "__main__":
    main()
