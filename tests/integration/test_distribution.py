"""The wheel and the source archive: the files that they hold, and `bench` installed from them."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from marsbench.errors import PluginError
from marsbench.plugin.keras import import_keras
from marsbench.tuning.keras_tuner_engine import import_keras_tuner

ROOT = Path(__file__).parents[2]
PACKAGES = ("framework/marsbench", "plugins/marsbench_plugins")
pytest.importorskip("hatchling", reason="hatchling, of the extra dev, is not installed")


def names_in(builder: Any) -> set[str]:
    """Files that an archive will hold; nothing is written."""
    return {Path(file.distribution_path).as_posix() for file in builder(str(ROOT)).recurse_included_files()}


def test_the_wheel_holds_every_file_of_both_packages_and_nothing_else() -> None:
    from hatchling.builders.wheel import WheelBuilder

    files = {
        path.relative_to((ROOT / package).parent).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names_in(WheelBuilder) == files
    assert files > {"marsbench/app/.streamlit/config.toml", "marsbench/report/templates/page.js"}


def test_the_source_archive_holds_what_its_tests_and_its_readme_need() -> None:
    from hatchling.builders.sdist import SdistBuilder

    needed = {
        *("constraints.txt", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "CITATION.cff"),
        *("Dockerfile", ".dockerignore", "mkdocs.yml", "app.py", ".ci/run", "docs/pictures/report.png"),
        *("tests/unit/computing_code.json", "results/reference/ravdess/README.md"),
        *("framework/marsbench/api/runs.py", "plugins/marsbench_plugins/datasets/demo.py"),
    }
    assert needed - names_in(SdistBuilder) == set()


@pytest.mark.parametrize(
    ("module", "imported", "advice"),
    [
        ("tensorflow", import_keras, "pip install tensorflow keras"),
        ("keras_tuner", import_keras_tuner.__wrapped__, "pip install keras-tuner"),
    ],
)
def test_a_missing_package_of_networks_is_told_in_one_line(
    module: str, imported: Callable[[], Any], advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras = MagicMock(**{"backend.backend.return_value": "tensorflow"})
    monkeypatch.setitem(sys.modules, "keras", keras)
    if module == "tensorflow":
        monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PluginError) as caught:
        imported()
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


PROGRAM = """
bench plugins list
bench run --features functionals --model svm --data demo --trials 0 --workers 1 --protocol holdout80
bench run --features mfcc --model cnn_lstm --set cnn_lstm.epochs=1 --data demo --trials 0 --protocol holdout80
bench leaderboard
bench report -o report.html
bench export --best -o bundle
"""


@pytest.mark.slow
def test_bench_runs_from_a_wheel_of_the_source_archive_in_a_clean_environment(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    build = [sys.executable, "-m", "hatchling", "build"]
    subprocess.run([*build, "-t", "sdist", "-d", str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    source = next(tmp_path.glob("marsbench-*/"))
    subprocess.run([*build, "-t", "wheel", "-d", str(tmp_path)], cwd=source, check=True, capture_output=True)
    run(sys.executable, "-m", "venv", "clean")
    scripts = tmp_path / "clean" / "bin"
    (wheel,) = tmp_path.glob("*.whl")
    run(str(scripts / "pip"), "install", "-q", "-c", str(source / "constraints.txt"), str(wheel))
    printed = [run(str(scripts / "bench"), *line.split()[1:]) for line in PROGRAM.strip().splitlines()]
    golden = next((tmp_path / "bundle" / "golden").glob("*.*"))
    assert golden.is_file()
    run(str(scripts / "bench"), "predict", "bundle", str(golden))
    assert "cnn_lstm" in printed[0]
    assert "functionals + svm" in printed[3]
    assert (tmp_path / "report.html").stat().st_size > 10_000
