"""A plugin's identity changes with what its code computes, and with nothing else."""

import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import marsbench_plugins
from marsbench.errors import PluginError
from marsbench.plugin.identity import identity_at, identity_of
from marsbench.plugin.registry import discover

PLUGINS = Path(str(marsbench_plugins.__file__)).parent

LEVEL = '''"""A plugin."""
import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

import _tables as tables
from _shared import Scaled, loudest
from marsbench.plugin.features import FeatureExtractor, Floats

_FLOOR = 1e-10


@dataclass
class Level(Scaled, FeatureExtractor):
    """Level of a clip."""

    kind: ClassVar[str] = "vector"
    scale: float = 2.0
    bands: list[int] = field(default_factory=lambda: [1, 2])

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Level in dB."""
        name = 'dB'

        def inner(values):
            return values + 1

        return inner(np.array([self.scaled(loudest(waveform, floor=_FLOOR)), tables.offset(name)]))

    def onnx_graph(self):
        """A graph."""
        import _graphs

        return _graphs.graph(self)
'''
SHARED = '''"""What plugins share."""
from functools import lru_cache

import numpy as np

from _deep import constant

_GAIN = 3.0
_UNUSED = 5


class Scaled:
    """Has a scale."""

    scale: float = 1.0

    def scaled(self, value):
        return self.scale * value


@lru_cache(maxsize=16)
def loudest(waveform, floor=1e-5):
    return _GAIN * np.abs(waveform).max() + floor - constant()


def unrelated(x):
    return x + 1
'''
FILES = {
    "level": LEVEL,
    "_shared": SHARED,
    "_deep": "def constant():\n    return 7\n",
    "_tables": 'OFFSETS = {"dB": 1}\n\n\ndef offset(name):\n    return OFFSETS[name]\n',
    "_graphs": "def graph(extractor):\n    return 1\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def of_level(folder: Path, files: dict[str, str]) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    return identity_at(write(folder, files), "level", "Level").digest


def edited(file: str, old: str, new: str, files: dict[str, str] = FILES) -> dict[str, str]:
    assert old in files[file], "the edit changes nothing"
    return {**files, file: files[file].replace(old, new)}


NEUTRAL = {
    "comment": ("level", "_FLOOR = 1e-10", "_FLOOR = 1e-10  # the least"),
    "docstring of a module": ("level", '"""A plugin."""', '"""Another text."""'),
    "docstring of a class": ("level", '    """Level of a clip."""\n', ""),
    "docstring of a function": ("level", '"""Level in dB."""', '"""Decibels."""'),
    "docstring of a helper": ("_shared", '"""What plugins share."""', ""),
    "docstring of a constant": ("_shared", "_GAIN = 3.0", '_GAIN = 3.0\n"""Factor."""'),
    "annotation of an argument": ("level", "waveform: Floats", "waveform: np.ndarray"),
    "annotation of a result": ("level", ") -> Floats:", "):"),
    "annotation of a field": ("level", "scale: float = 2.0", "scale: int = 2.0"),
    "annotation of a variable": ("level", "name = 'dB'", "name: str = 'dB'"),
    "annotation of a constant": ("_tables", "OFFSETS = {", "OFFSETS: dict[str, int] = {"),
    "line breaks": ("_shared", "np.abs(waveform).max()", "np.abs(\n        waveform,\n    ).max()"),
    "quotes": ("level", "'dB'", '"dB"'),
    "spelling of a number": ("_shared", "_GAIN = 3.0", "_GAIN = 30e-1"),
    "brackets": ("_shared", "self.scale * value", "((self.scale) * value)"),
    "order of imports": (
        "level",
        "import math\nfrom dataclasses",
        "import sys\nimport math\nfrom dataclasses",
    ),
    "order of local imports": (
        "level",
        "import _tables as tables\nfrom _shared import Scaled, loudest",
        "from _shared import loudest, Scaled\nimport _tables as tables",
    ),
    "import of a library": ("_shared", "import numpy as np", "import numpy\nimport numpy as np"),
    "unrelated function": ("_shared", "return x + 1", "return x + 2"),
    "function more": ("_shared", "def unrelated(x):", "def more():\n    return 3\n\n\ndef unrelated(x):"),
    "unused constant": ("_shared", "_UNUSED = 5", "_UNUSED = 6"),
    "method that exports": ("level", "return _graphs.graph(self)", "return None"),
    "what only that reaches": ("_graphs", "return 1", "return 2"),
    "what only type checkers see": (
        "_shared",
        "_GAIN = 3.0",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import _graphs\n    _GAIN = 4\n_GAIN = 3.0",
    ),
}


@pytest.mark.parametrize("edit", NEUTRAL.values(), ids=NEUTRAL.keys())
def test_how_code_is_written_is_no_part_of_it(tmp_path: Path, edit: tuple[str, str, str]) -> None:
    assert of_level(tmp_path / "a", FILES) == of_level(tmp_path / "b", edited(*edit))


COMPUTED = {
    "constant": ("level", "_FLOOR = 1e-10", "_FLOOR = 1e-9"),
    "kind of a number": ("_shared", "_GAIN = 3.0", "_GAIN = 3"),
    "text that is a value": ("level", "name = 'dB'", "name = 'Bel'"),
    "default": ("_shared", "floor=1e-5", "floor=1e-6"),
    "argument": ("level", "floor=_FLOOR", "floor=0"),
    "operator": ("_shared", "+ floor - constant()", "- floor - constant()"),
    "body of a helper": ("_shared", "np.abs(waveform).max()", "np.abs(waveform).min()"),
    "constant of a helper": ("_shared", "_GAIN = 3.0", "_GAIN = 4.0"),
    "helper of a helper": ("_deep", "return 7", "return 8"),
    "table of a helper": ("_tables", '"dB": 1', '"dB": 2'),
    "method of a base class": ("_shared", "self.scale * value", "self.scale + value"),
    "attribute of a base class": ("_shared", "scale: float = 1.0", "scale: float = 1.5"),
    "class attribute": ("level", '= "vector"', '= "frames"'),
    "default of a field": ("level", "scale: float = 2.0", "scale: float = 2.5"),
    "field without annotation": ("level", "scale: float = 2.0", "scale = 2.0"),
    "field that is none any more": ("level", "scale: float = 2.0", "scale: ClassVar[float] = 2.0"),
    "name of a field": ("level", "bands: list", "lines: list"),
    "order of fields": (
        "level",
        "    scale: float = 2.0\n    bands: list[int] = field(default_factory=lambda: [1, 2])\n",
        "    bands: list[int] = field(default_factory=lambda: [1, 2])\n    scale: float = 2.0\n",
    ),
    "lambda": ("level", "lambda: [1, 2]", "lambda: [1, 3]"),
    "nested function": ("level", "return values + 1", "return values + 2"),
    "argument of a decorator": ("_shared", "lru_cache(maxsize=16)", "lru_cache(maxsize=32)"),
    "decorator less": ("_shared", "@lru_cache(maxsize=16)\n", ""),
    "another library": ("level", "import numpy as np", "import cupy as np"),
    "order of bases": ("level", "Level(Scaled, FeatureExtractor)", "Level(FeatureExtractor, Scaled)"),
    "base of the framework": ("level", "import FeatureExtractor, ", "import Features as FeatureExtractor, "),
    "another helper": ("level", "import _tables as tables", "import _graphs as tables"),
    "another name of a helper": ("level", "import Scaled, loudest", "import Scaled, unrelated as loudest"),
    "assigned anew": ("_shared", "_UNUSED = 5", "_UNUSED = 5\n_GAIN = 4.0"),
    "statement with an effect": ("_shared", "_UNUSED = 5", "_UNUSED = 5\nnp.seterr(all='raise')"),
    "change of a table": ("_tables", "\n\n\ndef", '\nOFFSETS["dB"] = 2\n\n\ndef'),
    "unknown decorator": ("_shared", "def unrelated", "@np.vectorize\ndef unrelated"),
    "star and mapping": ("_tables", '{"dB": 1}', '{**{"dB": 1}}'),
}


@pytest.mark.parametrize("edit", COMPUTED.values(), ids=COMPUTED.keys())
def test_what_code_computes_is_part_of_it(tmp_path: Path, edit: tuple[str, str, str]) -> None:
    assert of_level(tmp_path / "a", FILES) != of_level(tmp_path / "b", edited(*edit))


def renamed(files: dict[str, str], old: str, new: str) -> dict[str, str]:
    """The same files, one of which has another name, by which all import it."""
    return {(new if name == old else name): text.replace(old, new) for name, text in files.items()}


@pytest.mark.parametrize("name", ["_shared", "_deep", "_tables"])
def test_the_name_of_a_helper_is_no_part_of_it(tmp_path: Path, name: str) -> None:
    assert of_level(tmp_path / "a", FILES) == of_level(tmp_path / "b", renamed(FILES, name, "_moved"))


def test_a_helper_may_move_into_a_package(tmp_path: Path) -> None:
    moved = renamed(FILES, "_deep", "_parts.inner.deep")
    moved["_parts/inner/deep"] = moved.pop("_parts.inner.deep")
    assert of_level(tmp_path / "a", FILES) == of_level(tmp_path / "b", moved)
    with_init = moved | {"_parts/__init__": '"""Parts."""\n'}
    assert of_level(tmp_path / "a", FILES) == of_level(tmp_path / "b", with_init)


@pytest.mark.parametrize(
    "other",
    [
        "import _helper\nV = _helper.f()",
        "import _helper as h\nV = h.f()",
        "from _helper import f as g\nV = g()",
        "from _helper import *\nV = f()",
    ],
)
def test_how_a_helper_is_imported_is_no_part_of_it(tmp_path: Path, other: str) -> None:
    def identity(use: str) -> str:
        text = f"{use}\nclass Level:\n    v = V\n"
        return of_level(tmp_path, {"_helper": "def f():\n    return 1\n", "level": text})

    assert identity(other) == identity("from _helper import f\nV = f()")


# Each uses `f` of `_helper`, or may do so.
USES = {
    "name": """
from _helper import f
class Level:
    x = f()
""",
    "other name": """
from _helper import f as g
class Level:
    x = g()
""",
    "module": """
import _helper as h
class Level:
    def m(self): return h.f()
""",
    "star": """
from _helper import *
class Level:
    def m(self): return f()
""",
    "late": """
class Level:
    def m(self):
        from _helper import f
        return f()
""",
    "late module": """
class Level:
    def m(self):
        def n():
            import _helper
            return _helper.f()
""",
    "module as a value": """
import _helper
class Level:
    def m(self, n): return getattr(_helper, n)()
""",
    "variables of a module": """
import _helper
class Level:
    def m(self, n): return vars(_helper)[n]()
""",
    "import_module": """
import importlib
class Level:
    def m(self): return importlib.import_module("_helper").f()
""",
    "import_module by another name": """
from importlib import import_module as load
class Level:
    x = load("_helper").f()
""",
    "import_module of a computed name": """
import importlib
class Level:
    def m(self, n): return importlib.import_module(n).f()
""",
    "__import__": """
class Level:
    def m(self): return __import__("_helper").f()
""",
    "sys.modules": """
import sys, _helper
class Level:
    def m(self): return sys.modules["_helper"].f()
""",
    "eval": """
import _helper
class Level:
    def m(self, text): return eval(text)
""",
    "globals": """
from _helper import f
class Level:
    def m(self, n): return globals()[n]()
""",
    "else of TYPE_CHECKING": """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    f = 1
else:
    from _helper import f
class Level:
    x = f()
""",
    "not TYPE_CHECKING": """
import typing
if not typing.TYPE_CHECKING:
    from _helper import f
class Level:
    x = f()
""",
    "not TYPE_CHECKING, late": """
import typing as t
class Level:
    def m(self):
        if not t.TYPE_CHECKING:
            from _helper import f
        return f()
""",
    "a flag of that name": """
TYPE_CHECKING = True
if TYPE_CHECKING:
    from _helper import f
class Level:
    x = f()
""",
    "try": """
try:
    from numpy import f
except ImportError:
    from _helper import f
class Level:
    x = f()
""",
    "condition": """
import sys
if sys.platform:
    import _helper as h
else:
    h = None
class Level:
    x = h.f()
""",
    "with": """
from contextlib import suppress
with suppress(ImportError):
    import _helper
class Level:
    def m(self): return _helper.f()
""",
    "global": """
def load():
    global h
    import _helper as h
load()
class Level:
    def m(self): return h.f()
""",
    "base class": """
from _helper import f as F
class Level(F): pass
""",
    "made base class": """
import _helper
class Level(type("Base", (), {"m": _helper.f})): pass
""",
    "decorator": """
from _helper import f
class Level:
    @f
    def m(self): pass
""",
    "decorator of the class": """
from _helper import f
@f
class Level: pass
""",
    "default": """
from _helper import f
class Level:
    def m(self, x=f()): pass
""",
    "constant": """
from _helper import f
X = {"f": f}
class Level:
    def m(self, n): return X[n]()
""",
    "comprehension": """
from _helper import f
class Level:
    def m(self): return [f for f in f()]
""",
    "lambda": """
from _helper import f
class Level:
    m = lambda self: f()
""",
    "match": """
from _helper import f
class Level:
    def m(self, v):
        match v:
            case int(): return f()
""",
    "registered": """
import _helper
KNOWN = {}
def known(g):
    KNOWN[g.__name__] = g
    return g
@known
def use(): return _helper.f()
class Level:
    def m(self, n): return KNOWN[n]()
""",
    "replaced": """
import math, _helper
math.floor = _helper.f
class Level:
    def m(self): return math.floor(2.5)
""",
    "assigned in a call": """
import _helper
X = [].append(_helper.f())
class Level: pass
""",
    "effect": """
import _helper
_helper.f()
class Level: pass
""",
    "shift as an effect": """
import _helper, pipes
X = pipes.all << _helper.f()
class Level: pass
""",
    "derived from a class with a hook": """
from _helper import f
class Base:
    def __init_subclass__(cls): Base.made = cls
class Other(Base):
    x = f
class Level:
    def m(self): return Base.made
""",
    "derived from a class of a library": """
from _helper import f
from registry import Base, made
class Other(Base):
    x = f
class Level:
    def m(self): return made
""",
    "subclasses": """
from _helper import f
class Base: pass
class Other(Base):
    x = f
class Level:
    def m(self): return Base.__subclasses__()
""",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_helper_that_is_used_in_any_way_is_part_of_it(tmp_path: Path, use: str) -> None:
    first, second = (
        of_level(tmp_path / "a", {"level": use, "_helper": f"def f():\n    return {number}\n"})
        for number in (1, 2)
    )
    assert first != second


PACKAGE_USES = {
    "relative": """
from .. import shared
class Level:
    x = shared.f()
""",
    "relative name": """
from ..shared import f
class Level:
    x = f()
""",
    "absolute": """
import pack.shared
class Level:
    x = pack.shared.f()
""",
    "absolute with a name": """
import pack.shared as s
class Level:
    x = s.f()
""",
    "from the package": """
from pack import shared
class Level:
    x = shared.f()
""",
    "by way of the package": """
from pack import again
class Level:
    x = again()
""",
    "package as a value": """
import pack
class Level:
    def m(self, n): return getattr(pack, n)()
""",
    "relative import_module": """
from importlib import import_module
class Level:
    x = import_module("..shared", __package__).f()
""",
    "import_module of a made name": """
import importlib
class Level:
    def m(self, n): return importlib.import_module(f"pack.{n}")
""",
}


@pytest.mark.parametrize("use", PACKAGE_USES.values(), ids=PACKAGE_USES.keys())
def test_a_helper_in_a_package_is_part_of_it(tmp_path: Path, use: str) -> None:
    def identity(number: int, stranger: int = 0) -> str:
        files = {
            "pack/__init__": "from pack.shared import f as again\n",
            "pack/features/__init__": "",
            "pack/features/level": use,
            "pack/shared": f"def f():\n    return {number}\n",
            "other/shared": f"def f():\n    return {stranger}\n",
        }
        write(tmp_path, files)
        return identity_at(tmp_path, "pack.features.level", "Level").digest

    assert identity(1) != identity(2)
    assert identity(1) == identity(1, stranger=3)


def test_docstrings_and_imports_of_a_whole_module_are_no_part_of_it(tmp_path: Path) -> None:
    level = "import _helper\nclass Level:\n    def m(self, name): return getattr(_helper, name)\n"
    one, other = (
        of_level(tmp_path, {"level": level, "_helper": text})
        for text in ("import math\nX = 1\n", "import sys\nimport math\nX = 1\n'Text.'\n")
    )
    assert one == other


def test_what_a_package_does_when_it_is_imported_is_part_of_it(tmp_path: Path) -> None:
    def identity(init: str) -> str:
        write(tmp_path, {"pack/__init__": init, "pack/level": "class Level: pass\n"})
        return identity_at(tmp_path, "pack.level", "Level").digest

    plain = identity("")
    assert identity('"""Text."""\nX = 1\n') == plain
    assert identity("import numpy\nnumpy.seterr(all='raise')\n") != plain


def test_modules_that_import_each_other_come_to_an_end(tmp_path: Path) -> None:
    files = {
        "level": "from _one import f\nclass Level:\n    x = f()\n",
        "_one": "from _two import g\nfrom _two import h\ndef f(): return g()\n",
        "_two": "from _one import f\nfrom _one import h\ndef g(): return 1\n",
    }
    before = of_level(tmp_path / "a", files)
    assert before != of_level(tmp_path / "b", edited("_two", "return 1", "return 2", files))


def test_swapped_contents_make_another_identity(tmp_path: Path) -> None:
    files = {"level": "import _one, _two\nclass Level:\n    x = _one.x - _two.x\n"}
    one = of_level(tmp_path / "a", files | {"_one": "x = 1\n", "_two": "x = 2\n"})
    other = of_level(tmp_path / "b", files | {"_one": "x = 2\n", "_two": "x = 1\n"})
    assert one != other


def test_the_order_of_effects_is_part_of_it(tmp_path: Path) -> None:
    files = {"_one": "import math\nmath.x = 1\n", "_two": "import math\nmath.x = 2\n"}
    one, other = (
        of_level(tmp_path, files | {"level": f"{imports}\nclass Level: pass\n"})
        for imports in ("import _one\nimport _two", "import _two\nimport _one")
    )
    assert one != other


READING = '''
class Level:
    """Text."""
    x: int = 1  # text
    def onnx_graph(self): return 1
    def m(self):
        READ
'''
READS = {
    "docstring": ('"""Text."""', "return self.__doc__"),
    "docstring by its name": ('"""Text."""', "return getattr(self, '__doc__')"),
    "source": ("# text", "import inspect; return inspect.getsource(type(self))"),
    "annotations": ("x: int", "return self.__annotations__"),
    "type hints": ("x: int", "import typing; return typing.get_type_hints(self)"),
    "fields": ("x: int", "from dataclasses import fields; return fields(self)"),
    "its graph": ("return 1", "return self.onnx_graph()"),
}


@pytest.mark.parametrize(("part", "read"), READS.values(), ids=READS.keys())
def test_what_code_reads_of_itself_is_part_of_it(tmp_path: Path, part: str, read: str) -> None:
    text = READING.replace("READ", read)
    changed = text.replace(part, {"x: int": "x: float", "return 1": "return 2"}.get(part, f"# {part}"))
    assert changed != text
    assert of_level(tmp_path / "a", {"level": text}) != of_level(tmp_path / "b", {"level": changed})


def test_what_code_does_not_read_of_itself_is_not(tmp_path: Path) -> None:
    text = READING.replace("READ", "return 1")
    changed = text.replace("# text", "# other").replace("Text", "Other").replace("int", "float")
    assert of_level(tmp_path / "a", {"level": text}) == of_level(tmp_path / "b", {"level": changed})


# Each looks at the annotation of `x`, or may do so.
CONVERTS = {
    "base class": """
from pydantic import BaseModel
class Level(BaseModel):
    x: int = 1
""",
    "base class of a base class": """
import pydantic as p
class Base(p.BaseModel): pass
class Level(Base):
    x: int = 1
""",
    "decorator of a class": """
import attrs
@attrs.define
class Level:
    x: int = 1
""",
    "metaclass": """
from abc import ABCMeta
class Level(metaclass=ABCMeta):
    x: int = 1
""",
    "decorator of a function": """
from numba import njit
@njit
def f(x: int): pass
class Level:
    m = f
""",
    "method of a derived class": """
from torch import nn
class Level(nn.Module):
    def f(self, x: int): pass
""",
    "dispatch": """
from functools import singledispatch
@singledispatch
def f(x): pass
@f.register
def g(x: int): pass
class Level:
    m = f
""",
    "marker of dataclasses by another name": """
from dataclasses import dataclass, InitVar
int = InitVar
float = 1
@dataclass
class Level:
    x: int = 1
""",
}


@pytest.mark.parametrize("text", CONVERTS.values(), ids=CONVERTS.keys())
def test_annotations_that_may_be_looked_at_are_part_of_it(tmp_path: Path, text: str) -> None:
    changed = text.replace("x: int", "x: float")
    assert of_level(tmp_path / "a", {"level": text}) != of_level(tmp_path / "b", {"level": changed})


def test_a_helper_that_is_not_valid_python_counts_by_its_bytes(tmp_path: Path) -> None:
    level = "try:\n    import _helper\nexcept SyntaxError:\n    pass\nclass Level: pass\n"
    one, other = (of_level(tmp_path, {"level": level, "_helper": text}) for text in ("x = (", "y = ("))
    assert one != other


def test_an_expression_of_a_thousand_terms_counts_by_its_bytes(tmp_path: Path) -> None:
    level = {"level": "from _helper import X\nclass Level:\n    x = X\n"}
    one, other = (
        of_level(tmp_path, level | {"_helper": f"X = {' + '.join('1' * 2000)} + {number}\n"})
        for number in (1, 2)
    )
    assert one != other


def test_what_changes_on_disk_is_seen_at_once(tmp_path: Path) -> None:
    before = of_level(tmp_path, FILES)
    assert of_level(tmp_path, edited("_deep", "return 7", "return 8")) != before
    assert of_level(tmp_path, FILES) == before


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drop-ins")


def spaced(text: str, line: int, filling: str) -> str:
    """The text with one line more."""
    lines = text.split("\n")
    place = line % len(lines)
    return "\n".join([*lines[:place], filling, *lines[place:]])


@settings(max_examples=30)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 100), st.sampled_from(["", "# text", "        # text"]))
def test_no_comment_and_no_empty_line_changes_it(folder: Path, name: str, line: int, filling: str) -> None:
    changed = FILES | {name: spaced(FILES[name], line, filling)}
    assert of_level(folder, FILES) == of_level(folder, changed)


NUMBERS = [
    *(("level", old) for old in ("_FLOOR = 1e-10", "scale: float = 2.0", "lambda: [1", "values + 1")),
    *(("_shared", old) for old in ("_GAIN = 3.0", "scale: float = 1.0", "maxsize=16", "floor=1e-5")),
    *(("_deep", "return 7"), ("_tables", '"dB": 1')),
]


@settings(max_examples=30)
@given(st.sampled_from(NUMBERS), st.integers(10, 10**9))
def test_any_other_number_in_reached_code_changes_it(
    folder: Path, place: tuple[str, str], number: int
) -> None:
    name, old = place
    changed = edited(name, old, f"{old.rstrip('0123456789.e-')}{number}")
    assert of_level(folder, FILES) != of_level(folder, changed)


# Of the built-in plugins.


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
