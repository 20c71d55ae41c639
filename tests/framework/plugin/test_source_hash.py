from pathlib import Path

import pytest

from marsbench.plugin.registry import discover
from marsbench.plugin.source_hash import source_files


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


@pytest.mark.parametrize("name", ["mfcc", "functionals", "mfcc_chroma_contrast", "log_mel"])
def test_the_shared_spectrum_is_part_of_every_built_in_extractor(name: str) -> None:
    entry = discover(()).get("features", name)
    names = {path.name for path in source_files(entry.file, entry.top)}
    assert {"spectrum.py", f"{name}.py"} <= names


def test_another_extractor_has_another_hash() -> None:
    features = discover(()).entries("features")
    assert len({entry.source for entry in features}) == len(features)
