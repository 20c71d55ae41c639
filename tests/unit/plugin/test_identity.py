"""A plugin's identity changes with what its code computes, and with nothing else."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.drop_ins import edited, of_level

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
    assert of_level(tmp_path / "a", FILES) == of_level(tmp_path / "b", edited(FILES, *edit))


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
    assert of_level(tmp_path / "a", FILES) != of_level(tmp_path / "b", edited(FILES, *edit))


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
    assert of_level(tmp_path, edited(FILES, "_deep", "return 7", "return 8")) != before
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
    changed = edited(FILES, name, old, f"{old.rstrip('0123456789.e-')}{number}")
    assert of_level(folder, FILES) != of_level(folder, changed)
