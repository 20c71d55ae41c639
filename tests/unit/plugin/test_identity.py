import sys
from pathlib import Path

import pytest

import marsbench
from marsbench.errors import PluginError
from marsbench.plugin.identity import source_files, source_hash
from marsbench.plugin.registry import discover


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.py": "import b", "b.py": "import c", "c.py": "", "d.py": ""}, {"a.py", "b.py", "c.py"}),
        ({"a.py": "from b import x", "b.py": "import a"}, {"a.py", "b.py"}),
        ({"a.py": "def f():\n    import b", "b.py": ""}, {"a.py", "b.py"}),
        ({"a.py": "import numpy, os"}, {"a.py"}),
        ({"a.py": "from p import q", "p/__init__.py": "", "p/q.py": ""}, {"a.py", "p/__init__.py", "p/q.py"}),
    ],
    ids=["through", "circle", "late", "libraries", "package"],
)
def test_all_local_imports_are_followed_and_no_others(
    tmp_path: Path, files: dict[str, str], expected: set[str]
) -> None:
    write(tmp_path, files)
    found = source_files(tmp_path / "a.py", tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in found} == expected


@pytest.mark.parametrize(
    "statement", ["from .. import shared", "from ..shared import x", "import pack.shared"]
)
def test_imports_within_a_package_are_followed(tmp_path: Path, statement: str) -> None:
    files = {
        "pack/__init__.py": "",
        "pack/features/__init__.py": "",
        "pack/shared.py": "",
        "other/shared.py": "",
    }
    write(tmp_path, {**files, "pack/features/a.py": statement})
    found = source_files(tmp_path / "pack" / "features" / "a.py", tmp_path)
    assert tmp_path / "pack" / "shared.py" in found
    assert tmp_path / "other" / "shared.py" not in found


def test_what_changes_on_disk_is_seen_at_once(tmp_path: Path) -> None:
    def names() -> set[str]:
        return {path.name for path in source_files(tmp_path / "a.py", tmp_path)}

    write(tmp_path, {"a.py": ""})
    assert names() == {"a.py"}
    write(tmp_path, {"a.py": "import b"})
    assert names() == {"a.py"}
    write(tmp_path, {"b.py": "import c", "c.py": ""})
    assert names() == {"a.py", "b.py", "c.py"}


@pytest.mark.parametrize("name", ["mfcc", "functionals", "mfcc_chroma_contrast", "log_mel", "prosody"])
def test_the_shared_spectrum_is_part_of_every_built_in_extractor(name: str) -> None:
    entry = discover(()).get("features", name)
    names = {path.name for path in source_files(entry.file, entry.top)}
    assert {"spectrum.py", f"{name}.py"} <= names


def test_another_extractor_has_another_hash() -> None:
    features = discover(()).entries("features")
    assert len({entry.source for entry in features}) == len(features)


def test_what_only_type_checkers_see_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "if TYPE_CHECKING:\n    import b\nimport c", "b.py": "", "c.py": ""})
    assert {path.name for path in source_files(tmp_path / "a.py", tmp_path)} == {"a.py", "c.py"}


DERIVED = """
from marsbench_plugins.features.mfcc import Mfcc
class Derived(Mfcc):
    'As its base.'
"""


def test_what_a_base_class_is_made_of_is_part_of_the_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "plugins" / "features", {"derived_mfcc.py": DERIVED})
    read: set[str] = set()

    def listening(file: Path, top: Path) -> frozenset[Path]:
        found = source_files(file, top)
        read.update(path.name for path in found)
        return found

    monkeypatch.setattr("marsbench.plugin.identity.source_files", listening)
    source_hash(discover((tmp_path / "plugins",)).get("features", "derived_mfcc").plugin)
    assert {"derived_mfcc.py", "mfcc.py", "spectrum.py", "filter_banks.py", "features.py"} <= read


def test_the_scaling_is_part_of_every_network() -> None:
    entry = discover(()).get("models", "cnn_lstm")
    bases = [Path(str(sys.modules[base.__module__].__file__)) for base in entry.plugin.__mro__[:-1]]
    top = Path(str(marsbench.__file__)).parents[1]
    names = {p.name for base in bases[1:] for p in source_files(base, top)}
    assert {"preprocessing.py", "model.py", "search_space.py", "setup.py"} <= names


def test_what_the_framework_offers_to_python_is_no_part_of_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = discover(()).get("models", "svm").plugin
    before = source_hash(plugin)
    read = Path.read_bytes

    def edited(path: Path) -> bytes:
        return read(path) + (b"# more" if path.match("marsbench/__init__.py") else b"")

    monkeypatch.setattr(Path, "read_bytes", edited)
    assert source_hash(plugin) == before


def test_swapped_contents_make_another_hash(tmp_path: Path) -> None:
    hashes = []
    for number, (x, y) in enumerate((("x = 1", "x = 2"), ("x = 2", "x = 1"))):
        folder = tmp_path / str(number) / "features"
        plugin = "import _one, _two\n" + DERIVED
        write(folder, {"swapped_mfcc.py": plugin, "_one.py": x, "_two.py": y})
        discover.cache_clear()
        for name in ("_one", "_two"):
            sys.modules.pop(name, None)
        hashes.append(discover((tmp_path / str(number),)).get("features", "swapped_mfcc").source)
    assert hashes[0] != hashes[1]


def test_an_edit_after_the_import_does_not_change_the_hash(tmp_path: Path) -> None:
    write(tmp_path / "features", {"edited_mfcc.py": DERIVED})
    entry = discover((tmp_path,)).get("features", "edited_mfcc")
    assert entry.plugin is not None
    before = source_hash(entry.plugin)
    write(tmp_path / "features", {"edited_mfcc.py": DERIVED + "# edited"})
    assert entry.source == before


def test_a_helper_of_another_folder_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    first = write(tmp_path / "features", {"helped_first.py": "import _helper\n" + DERIVED, "_helper.py": ""})
    model = "import _helper\nfrom marsbench.plugin import Model\nclass M(Model):\n    'A model.'\n"
    write(tmp_path / "models", {"helped_second.py": model, "_helper.py": ""})
    registry = discover((tmp_path,))
    assert registry.get("features", "helped_first").plugin
    with pytest.raises(PluginError, match=f"another '_helper' is loaded from {first}/_helper.py; rename one"):
        _ = registry.get("models", "helped_second").plugin
