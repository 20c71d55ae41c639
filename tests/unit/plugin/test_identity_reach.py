"""What code may use in any way is part of a plugin's identity."""

from pathlib import Path

import pytest

from fixtures.drop_ins import edited, of_level, write
from marsbench.plugin.identity import identity_at

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
    assert before != of_level(tmp_path / "b", edited(files, "_two", "return 1", "return 2"))


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
