"""Holds the versions of the framework's parts against the code behind them.

    python tests/unit/test_versions.py

writes the digests of today's code down.
"""

import json
from pathlib import Path

import pytest

from marsbench import versions
from marsbench.evaluation.fit import fit_version
from marsbench.features.store import FeatureStore
from marsbench.plugin.identity import _Reach, identity_at
from marsbench.plugin.references import FRAMEWORK, Module, Reference, References
from marsbench.plugin.registry import KINDS, Entry, discover
from marsbench.versions import PARTS, Part, parts_of

RECORDED = Path(__file__).with_name("computing_code.json")

CHANGED = """
The code of the framework behind "{part}" has changed (framework/marsbench/versions.py says which it is).
If its results change for any input, raise its version there: runs and features made before count no more.
If they do not, leave the version. In either case write the new digest down and commit it:

    python tests/unit/test_versions.py
"""


class AllReferences(References):
    """Also looks into code of the framework that has a version."""

    def held(self, module: Module, name: str | None = None) -> Reference | None:
        held = super().held(module, name)
        return None if held and held.parts else held


def entry_of(part: Part) -> str:
    """Version of a part, and digest of its code and of all that it reaches."""
    reach = _Reach(AllReferences({}))
    for entry in part.code:
        module, _, name = entry.partition(":")
        path = FRAMEWORK.joinpath(*module.split("."))
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
            dotted = ".".join(file.relative_to(FRAMEWORK.parent).with_suffix("").parts)
            reach.start(FRAMEWORK.parent, dotted.removesuffix(".__init__"), name)
    return f"{part.version} {reach.digest()}"


@pytest.mark.parametrize("part", PARTS)
def test_the_version_of_a_part_belongs_to_its_code(part: str) -> None:
    recorded = json.loads(RECORDED.read_text("utf-8"))
    assert recorded.get(part) == entry_of(PARTS[part]), CHANGED.format(part=part)


def test_no_other_part_is_recorded() -> None:
    assert json.loads(RECORDED.read_text("utf-8")).keys() == PARTS.keys()


@pytest.mark.parametrize("entry", [entry for part in PARTS.values() for entry in part.code])
def test_what_a_part_names_is_there(entry: str) -> None:
    module, _, name = entry.partition(":")
    path = FRAMEWORK.joinpath(*module.split("."))
    assert path.is_dir() or path.with_suffix(".py").is_file()
    source = References({}).located(FRAMEWORK.parent, f"{FRAMEWORK.name}.{module}")
    assert not name or (source and name in source.bindings)


@pytest.mark.parametrize(
    ("module", "name", "parts"),
    [
        ("plugin.sklearn", "SklearnModel", ["sklearn"]),
        ("plugin.sklearn", None, ["sklearn"]),
        ("plugin.keras.trainer", "Trainer", ["keras"]),
        ("features.pretrained", "find_encoder", ["encoders"]),
        ("features.pretrained", "add_encoder", []),
        ("features.pretrained", None, []),
        ("features.store", "FeatureStore", []),
        ("plugin.sklearn_like", "SklearnModel", []),
    ],
)
def test_a_part_has_modules_or_names_of_them(module: str, name: str | None, parts: list[str]) -> None:
    assert parts_of(module, name) == parts


REGISTRY = discover(())
PLUGINS = [entry for kind in KINDS for entry in REGISTRY.entries(kind)]


def identity(name: str) -> str:
    entry = REGISTRY.find(name)
    return identity_at(entry.top, entry.module, entry.plugin.__name__).digest


def raise_version(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    version, code = PARTS[part]
    monkeypatch.setitem(versions.PARTS, part, Part(version + 1, code))


@pytest.mark.parametrize(
    ("part", "used_by", "unused_by"),
    [
        ("sklearn", "svm", "cnn_lstm"),
        ("keras", "cnn_lstm", "svm"),
        ("features", "mfcc", "svm"),
        ("encoders", "speech_encoder", "mfcc"),
        ("datasets", "demo", "mfcc"),
        ("hashing", "demo", "svm"),
        pytest.param("fit", None, "svm", id="fit"),
        pytest.param("extraction", None, "mfcc", id="extraction"),
    ],
)
def test_a_raised_version_changes_the_plugins_that_use_the_part(
    part: str, used_by: str | None, unused_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [used_by] if used_by else []
    before = [identity(name) for name in (unused_by, *users)]
    raise_version(monkeypatch, part)
    after = [identity(name) for name in (unused_by, *users)]
    assert [now == then for now, then in zip(after, before, strict=True)] == [True, *[False for _ in users]]


@pytest.mark.parametrize("entry", PLUGINS, ids=lambda entry: entry.name)
def test_what_a_built_in_plugin_uses_of_the_framework_has_a_version(entry: Entry) -> None:
    reach = _Reach(References({"marsbench_plugins": entry.top}))
    reach.start(entry.top, entry.module, entry.plugin.__name__)
    reach.digest()
    assert [place.dotted for place in reach._texts if place.is_framework] == []


def test_a_raised_version_of_the_fit_makes_other_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fit_version()
    raise_version(monkeypatch, "fit")
    assert fit_version() != before


def test_a_raised_version_of_the_extraction_makes_other_features(
    monkeypatch: pytest.MonkeyPatch, kit: Path
) -> None:
    recipe = discover((kit,)).get("features", "crossings").recipe({})
    before = FeatureStore(recipe, (kit,)).folder
    raise_version(monkeypatch, "extraction")
    assert FeatureStore(recipe, (kit,)).folder != before


if __name__ == "__main__":
    RECORDED.write_text(json.dumps({part: entry_of(code) for part, code in PARTS.items()}, indent=1) + "\n")
