"""The benchmarks run, and what they show that is no timing holds."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def printed(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("n_clips", ["200", pytest.param("100000", marks=pytest.mark.slow)])
def test_extraction_takes_less_than_a_gigabyte_however_many_clips_there_are(n_clips: str) -> None:
    shown = printed("large_corpus.py", n_clips)
    (peak,) = re.findall(r"all processes together: (\d+) MB", shown)
    assert int(peak) < 1000, shown


@pytest.mark.slow
def test_tuning_finds_what_a_random_search_does_for_a_quarter_of_the_fits() -> None:
    shown = printed("search_efficiency.py", "--searches", "20")
    ratios = [float(ratio) for ratio in re.findall(r"ratio ([\d.]+)", shown)]
    assert len(ratios) == 3
    assert ratios[-1] <= 0.25, shown
    of_raced = [float(ratio) for ratio in re.findall(r"marsbench ([\d.]+) of it", shown)]
    assert len(of_raced) == 3
    assert max(of_raced) < 0.8, shown


@pytest.mark.slow
def test_the_ways_of_training_come_to_equal_quality() -> None:
    shown = printed("training_speed.py", "--epochs", "3", "--clips", "256", "--folds", "2")
    assert "plain Keras" in shown
    assert "marsbench, 2 workers" in shown


@pytest.mark.slow
def test_both_ways_to_a_quality_are_measured() -> None:
    shown = printed(
        "time_to_quality.py", "demo", "--folds", "1", "--seeds", "1", "--ways", "plain", "default"
    )
    assert "default / plain" in shown
    assert "longer" not in shown


@pytest.mark.slow
def test_a_file_served_alone_answers_what_its_pipeline_does() -> None:
    for name in ("onnx", "onnxruntime", "skl2onnx"):
        pytest.importorskip(name, reason=f"{name}, of the extra export, is not installed")
    pipelines = ("--pipelines", "mfcc+svm", "functionals+svm")
    shown = printed("onnx_serving.py", "--clips", "2", "--train", "48", "--turns", "1", *pipelines)
    away = [float(line.split()[-1]) for line in shown.splitlines() if "+" in line]
    assert len(away) == 2
    assert max(away) <= 1e-3, shown


@pytest.mark.slow
def test_a_whole_job_and_a_plain_script_score_alike(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label, pitch in (("low", 200.0), ("high", 1800.0)):
        (tmp_path / label).mkdir()
        for number in range(10):
            tone = np.sin(2 * np.pi * pitch * (1 + number / 20) * np.arange(16000) / 16000)
            noise = random.normal(0, 0.1, 16000)
            soundfile.write(tmp_path / label / f"{number}.wav", 0.4 * tone + noise * (1 + number % 3), 16000)
    table = printed("whole_job.py", str(tmp_path)).splitlines()[2:6]
    assert [line[:10] for line in table] == ["plain cold", "bench cold", "plain warm", "bench warm"]
    assert min(float(line.split()[-1]) for line in table) >= 80
