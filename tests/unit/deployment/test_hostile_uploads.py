import json
import subprocess
import sys
from pathlib import Path

import pytest

from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle_files import golden_samples, write_bundle
from marsbench.deployment.export import fit_bundle
from marsbench.planning.pipelines import make_pipeline
from marsbench.plugin.registry import Registry

PROGRAM = Path(__file__).with_name("hostile.py")
HANGS = 5
"""Seconds of computing; a small upload takes a few thousandths."""
MEGABYTES = 1536
"""1 GiB for the longest waveform that is decoded, and half as much again."""


def told(folder: Path, kit: Path, *words: str | int) -> list[dict[str, str]]:
    """What was said to each upload; fails with the last one's seed unless all were withstood."""
    done = subprocess.run(
        [sys.executable, PROGRAM, folder, kit, *map(str, words)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=600,  # it waits for nothing: the seconds of computing end it long before
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{lines[-1:]} ended it with {done.returncode}: {done.stderr[-3000:]}"
    printed_by_libraries = [line for line in lines if not line.startswith('{"')]
    assert not printed_by_libraries
    assert "Traceback" not in done.stderr  # nor an exception inside a callback, which Python only prints
    return [json.loads(line) for line in lines[1::2]]


def in_thousands(first: int, end: int) -> list[object]:
    return [pytest.param(n, 1000, marks=pytest.mark.slow) for n in range(first, end, 1000)]


@pytest.mark.parametrize(("first", "count"), [(0, 250), *in_thousands(250, 20_250)])
def test_each_upload_is_predicted_or_refused_in_one_line(
    folder: Path, kit: Path, first: int, count: int
) -> None:
    answers = told(folder, kit, MEGABYTES, HANGS, first, count)
    assert len(answers) == count
    n_labels = sum("label" in answer for answer in answers)
    assert 0.1 * count < n_labels < 0.6 * count  # the damage is neither nothing nor all there is


@pytest.mark.slow
@pytest.mark.parametrize("features", ["functionals", "log_mel", "mfcc", "mfcc_chroma_contrast", "prosody"])
def test_so_it_is_with_the_extractors_that_are_built_in(
    features: str, corpus: CheckedCorpus, registry: Registry, kit: Path
) -> None:
    bundle = fit_bundle(corpus, make_pipeline(registry, features, "svm", {}), registry, seed=0)
    write_bundle(bundle, Path("bundle"), golden_samples(corpus))
    assert len(told(Path("bundle"), kit, MEGABYTES, HANGS, 0, 500)) == 500


def test_channels_take_no_memory(folder: Path, kit: Path) -> None:
    # 8.4 million samples: 34 MB once averaged, 268 MB over all eight channels.
    (answer,) = told(folder, kit, 150, HANGS, "8 channels")
    assert "label" in answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bomb", "seconds"),
    [
        ("10 minutes at 447 kHz", 60),
        ("10 minutes of 4 channels at 192 kHz", 60),
        ("50 MB in which pages seem to begin", HANGS),
        ("50 MB in which frames seem to begin", HANGS),
    ],
)
def test_a_file_that_is_made_to_cost_much_has_its_limits(
    bomb: str, seconds: int, folder: Path, kit: Path
) -> None:
    assert len(told(folder, kit, MEGABYTES, seconds, bomb)) == 1
