"""Identities of the built-in plugins, and of drop-ins as they are imported."""

import shutil
import sys
from pathlib import Path

import pytest

import marsbench_plugins
from fixtures.drop_ins import write
from marsbench.errors import PluginError
from marsbench.plugin.identity import identity_at, identity_of
from marsbench.plugin.registry import discover

PLUGINS = Path(str(marsbench_plugins.__file__)).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Folder with a copy of the package of built-in plugins."""
    shutil.copytree(PLUGINS, tmp_path / PLUGINS.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def of_built_in(top: Path, name: str) -> str:
    entry = discover(()).find(name)
    return identity_at(top, entry.module, entry.plugin.__name__).digest


def edit(top: Path, path: str, old: str, new: str) -> None:
    file = top / PLUGINS.name / path
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def test_a_copy_elsewhere_has_the_same_identity(copy: Path) -> None:
    assert of_built_in(copy, "mfcc") == discover(()).get("features", "mfcc").source


SVM, SPECTRUM = "models/svm.py", "spectrum.py"
BUILT_IN = [
    ("svm", SVM, "default=10.0", "default=20.0"),
    ("svm", SVM, "1000.0", "100.0"),
    ("svm", SVM, "balanced: bool = True", "balanced: bool = False"),
    *(
        (name, SPECTRUM, "TOP_DB = 80.0", "TOP_DB = 70.0")
        for name in ("mfcc", "functionals", "mfcc_chroma_contrast", "log_mel", "prosody")
    ),
    ("mfcc", "framing.py", "np.rint", "np.floor"),
    ("mfcc", "framing.py", "FLAT = ", "FLAT = 2 * "),
    ("prosody", "voice.py", "def median_of_five", "def median_of_five_"),
    ("cnn_lstm", "networks.py", 'activation="tanh"', 'activation="relu"'),
    ("speech_encoder", "onnx_encoder.py", "_WHISPER_BANDS = 80", "_WHISPER_BANDS = 128"),
]


@pytest.mark.parametrize(("name", "path", "old", "new"), BUILT_IN)
def test_a_changed_constant_changes_a_built_in_plugin(
    copy: Path, name: str, path: str, old: str, new: str
) -> None:
    before = of_built_in(copy, name)
    edit(copy, path, old, new)
    assert of_built_in(copy, name) != before


def test_graphs_are_no_part_of_any_extractor(copy: Path) -> None:
    names = discover(()).names("features")
    before = [of_built_in(copy, name) for name in names]
    for file in (copy / PLUGINS.name / "onnx_graphs").glob("*.py"):
        file.write_text("X = 1\n")
    assert [of_built_in(copy, name) for name in names] == before


def test_every_built_in_plugin_has_another_identity() -> None:
    registry = discover(())
    entries = [*registry.entries("features"), *registry.entries("datasets")]
    assert len({entry.source for entry in entries}) == len(entries)


DERIVED = """
from marsbench_plugins.features.mfcc import Mfcc
class Derived(Mfcc):
    'As its base.'
"""


def test_what_a_drop_in_uses_of_the_built_in_plugins_is_part_of_it(copy: Path, tmp_path: Path) -> None:
    write(tmp_path / "drop", {"derived": DERIVED})

    def identity() -> str:
        return identity_at(tmp_path / "drop", "derived", "Derived", {PLUGINS.name: copy}).digest

    before = identity()
    edit(copy, SPECTRUM, "MFCC_BANDS = 128", "MFCC_BANDS = 64")
    assert identity() != before


# As plugins are imported.


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import each test's helpers from its own folders."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("_helper", "near_mfcc", "derived_far"):
        sys.modules.pop(name, None)


def drop(folder: Path, files: dict[str, str]) -> None:
    write(folder, files)
    discover.cache_clear()


def test_the_registry_knows_where_a_drop_in_finds_the_built_in_plugins(tmp_path: Path) -> None:
    drop(tmp_path / "features", {"derived_mfcc": DERIVED})
    entry = discover((tmp_path,)).get("features", "derived_mfcc")
    files = {path.name for path in entry._loaded[1].files}
    assert {"derived_mfcc.py", "mfcc.py", "spectrum.py", "filter_banks.py"} <= files


@pytest.mark.parametrize("edit", [{"near_mfcc": f"{DERIVED}    n_mfcc = 30\n"}, {"_helper": "X = 2\n"}])
def test_a_base_class_in_another_folder_is_part_of_it(tmp_path: Path, edit: dict[str, str]) -> None:
    near = tmp_path / "a" / "features"
    far = tmp_path / "b" / "features"
    drop(near, {"near_mfcc": f"from _helper import X\n{DERIVED}    x = X\n", "_helper": "X = 1\n"})
    drop(far, {"derived_far": "import near_mfcc\nclass F(near_mfcc.Derived):\n    'Far.'\n"})
    registry = discover((tmp_path / "a", tmp_path / "b"))
    assert registry.get("features", "near_mfcc").plugin
    entry = registry.get("features", "derived_far")
    packages = {"near_mfcc": near, PLUGINS.name: PLUGINS.parent}
    assert entry.source == identity_of(entry.plugin, packages).digest
    write(near, edit)
    assert entry.source != identity_of(entry.plugin, packages).digest


def test_an_edit_after_the_import_does_not_change_it(tmp_path: Path) -> None:
    drop(tmp_path / "features", {"edited_mfcc": DERIVED})
    entry = discover((tmp_path,)).get("features", "edited_mfcc")
    packages = {PLUGINS.name: PLUGINS.parent}
    before = identity_of(entry.plugin, packages).digest
    write(tmp_path / "features", {"edited_mfcc": DERIVED + "    n_mfcc = 20\n"})
    assert entry.source == before != identity_of(entry.plugin, packages).digest


def test_a_helper_of_another_folder_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    first = write(tmp_path / "features", {"helped_first": "import _helper\n" + DERIVED, "_helper": ""})
    model = "import _helper\nfrom marsbench.plugin import Model\nclass M(Model):\n    'A model.'\n"
    write(tmp_path / "models", {"helped_second": model, "_helper": ""})
    registry = discover((tmp_path,))
    assert registry.get("features", "helped_first").plugin
    with pytest.raises(PluginError, match=f"another '_helper' is loaded from {first}/_helper.py; rename one"):
        _ = registry.get("models", "helped_second").plugin
