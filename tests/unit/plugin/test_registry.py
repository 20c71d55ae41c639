import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from marsbench.errors import PluginError
from marsbench.plugin import registry as registry_module
from marsbench.plugin.features import FeatureExtractor
from marsbench.plugin.registry import discover, drop_in_folders, make

LOUD = '''
"""Levels."""
from marsbench.plugin import FeatureExtractor
import numpy as np

class Loud(FeatureExtractor):
    """Level of a clip."""
    kind = "vector"
    def extract(self, waveform, sample_rate):
        return np.array([LEVEL], np.float32)
'''


def drop(folder: Path, kind: str, name: str, source: str = LOUD) -> Path:
    path = folder / kind / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source.replace("LEVEL", "1.0"))
    discover.cache_clear()
    return path


def test_built_in_plugins_come_in_by_the_public_door() -> None:
    entry = discover(()).get("features", "mfcc_chroma_contrast")
    assert entry.origin == "marsbench"
    assert entry.module == "marsbench_plugins.features.mfcc_chroma_contrast"


def test_a_file_dropped_into_the_working_directory_is_found(tmp_path: Path) -> None:
    drop(tmp_path / "plugins", "features", "loud_here")
    entry = discover(drop_in_folders()).get("features", "loud_here")
    assert entry.summary == "Level of a clip."
    assert issubclass(entry.plugin, FeatureExtractor)
    assert entry.plugin().name == "loud_here"


def test_a_named_folder_is_searched_too(tmp_path: Path) -> None:
    drop(tmp_path / "mine", "features", "loud_there")
    assert "loud_there" in discover(drop_in_folders([tmp_path / "mine"])).names("features")


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=f"no plugin folder {tmp_path}/nowhere"):
        drop_in_folders([tmp_path / "nowhere"])


def test_an_installed_package_comes_in_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(tmp_path / "strangers_plugins", "features", "loud_stranger")
    for folder in (tmp_path / "strangers_plugins", tmp_path / "strangers_plugins" / "features"):
        (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("stranger", "strangers_plugins", registry_module.GROUP)
    monkeypatch.setattr(registry_module, "entry_points", lambda **_: [point])
    entry = discover(()).get("features", "loud_stranger")
    assert entry.module == "strangers_plugins.features.loud_stranger"
    assert issubclass(entry.plugin, FeatureExtractor)


def test_an_entry_point_without_a_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("gone", "no_such_package.plugins", registry_module.GROUP)
    monkeypatch.setattr(registry_module, "entry_points", lambda **_: [point])
    assert discover(()).refused == ("no_such_package.plugins: entry point 'gone' names no package",)


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("features", "mfcc", "'mfcc' is already a feature extractor of marsbench; rename the file"),
        ("models", "mfcc", "'mfcc' is already a feature extractor of marsbench; rename the file"),
        ("features", "json", "'json' is the name of an installed module; rename the file"),
        ("features", "numpy", "'numpy' is the name of an installed module; rename the file"),
        ("features", "my-level", "'my-level' is no Python name; rename the file"),
    ],
)
def test_a_drop_in_that_would_hide_something_is_refused_with_the_reason(
    tmp_path: Path, kind: str, name: str, reason: str
) -> None:
    path = drop(tmp_path / "plugins", kind, name)
    found = discover(drop_in_folders())
    assert found.refused == (f"{path}: {reason}",)
    if name not in discover(()).names("features"):
        with pytest.raises(PluginError, match="rename the file"):
            found.find(name)


PLAIN = """from dataclasses import dataclass
from marsbench.plugin import Dataset
raise RuntimeError("imported")
@dataclass(frozen=True)
class Sines(Dataset):
    n_clips: int = 3
"""


@pytest.mark.parametrize(
    ("old", "new", "may"),
    [
        ("", "", False),
        ("marsbench.plugin import", "marsbench.plugin.base import", False),
        ("n_clips: int = 3", "def recognises(cls, path): return True", True),
        ("n_clips: int = 3", "fallback = True", True),
        ("Sines(Dataset)", "Sines(Dataset, Mixed)", True),
        ("Sines(Dataset)", "Sines(Dataset, metaclass=Mixed)", True),
        ("Sines(Dataset)", "Sines(Waves)", True),
        ("@dataclass", "@registered\n@dataclass", True),
        ("from marsbench.plugin ", "from helpers ", True),
        ("class Sines", "class _Sines", True),
        ("class Sines", "class (", True),
    ],
)
def test_a_dataset_that_can_recognise_no_path_is_told_by_its_file(
    tmp_path: Path, old: str, new: str, may: bool
) -> None:
    drop(tmp_path / "plugins", "datasets", "sines", PLAIN.replace(old, new, 1))
    assert discover(drop_in_folders()).get("datasets", "sines").may_recognise is may


def test_files_that_begin_with_an_underscore_are_no_plugins(tmp_path: Path) -> None:
    drop(tmp_path / "plugins", "features", "_shared")
    assert "_shared" not in discover(drop_in_folders()).names("features")


@pytest.mark.parametrize(
    ("name", "source", "problem"),
    [
        ("breaks_at_once", "raise RuntimeError('oh')", "cannot be imported: RuntimeError: oh"),
        ("no_python", "class (", "cannot be imported: SyntaxError"),
        ("lacks_a_package", "import nosuchpackage", "needs the package 'nosuchpackage': pip install nosuch"),
        ("is_empty", "", "must define one public FeatureExtractor class; found none"),
        ("has_two", LOUD + LOUD.replace("Loud", "Soft"), "found Loud, Soft"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_one_line_when_asked_for_and_listed_all_the_same(
    tmp_path: Path, name: str, source: str, problem: str
) -> None:
    drop(tmp_path / "plugins", "features", name, source)
    entry = discover(drop_in_folders()).get("features", name)
    with pytest.raises(PluginError) as error:
        _ = entry.plugin
    assert problem in str(error.value)


def test_a_missing_declared_requirement_says_what_to_install(tmp_path: Path) -> None:
    source = LOUD.replace('kind = "vector"', 'kind = "vector"\n    requires = ("nosuch-dist",)')
    drop(tmp_path / "plugins", "features", "needs_more", source)
    with pytest.raises(PluginError, match="needs_more needs the package 'nosuch-dist': pip install nosuch-"):
        discover(drop_in_folders()).get("features", "needs_more").recipe({})


def test_a_name_of_another_kind_says_so() -> None:
    with pytest.raises(PluginError, match=r"'svm' is a model, not a feature extractor\. Available: func"):
        discover(()).get("features", "svm")


def test_a_recipe_rebuilds_its_plugin(kit: Path) -> None:
    entry = discover((kit,)).get("features", "crossings")
    recipe = entry.recipe({"scale": 3.0})
    assert make("features", recipe, (kit,)).parameters == {"scale": 3.0}
    assert recipe.key != entry.recipe({}).key


def test_two_drop_ins_of_one_name_do_not_mix(tmp_path: Path) -> None:
    first = drop(tmp_path / "a", "features", "loud_twice")
    second = drop(tmp_path / "b", "features", "loud_twice")
    found = discover((tmp_path / "a", tmp_path / "b"))
    assert found.get("features", "loud_twice").file == first
    assert found.refused[0].startswith(f"{second}: 'loud_twice' is already a feature extractor of")


LISTING = """
import sys
from marsbench.plugin.registry import discover
print([entry.summary for entry in discover(()).entries("models")][0], file=sys.stderr)
heavy = {"tensorflow", "keras", "librosa", "sklearn", "scipy", "numba", "numpy", "pandas", "matplotlib"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
print([name for name in sys.modules if name.startswith("marsbench_plugins.")])
"""


def test_listing_imports_no_plugin_and_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", LISTING], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_one_process_can_use_plugins_of_one_name_from_one_folder_after_the_other(tmp_path: Path) -> None:
    for number in ("first", "second"):
        drop(tmp_path / number, "features", "loud_again", LOUD.replace("Level of", f"The {number}"))
        found = discover((tmp_path / number,))
        assert found.refused == ()
        assert (found.get("features", "loud_again").plugin.__doc__ or "").startswith(f"The {number}")
