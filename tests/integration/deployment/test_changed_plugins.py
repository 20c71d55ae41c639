"""Bundles and runs whose plugins have been edited since: what decides is what they answer."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import marsbench
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import golden_samples, read_bundle, write_bundle
from marsbench.deployment.export import fit_bundle
from marsbench.errors import ResultsError
from marsbench.planning.pipelines import make_pipeline
from marsbench.plugin.registry import Registry, discover
from marsbench.results.store import RunFolder, find_runs

Bench = Callable[..., Any]
SAME = ("crossings = np", "crossings = 1 * np")
OTHER_SCALE = ("1000", "500")
RAISES = ("crossings = np", "crossings = np.nonsense")
TWO_DIMS = ("/ 1000]", "/ 1000, 0.0]")
SAME_MODEL = ("scores = np.exp", "scores = 1 * np.exp")


class Plugins(NamedTuple):
    """A folder with copies of the kit's `crossings` and `nearest_mean` under other names."""

    folder: Path

    def edit(self, plugin: str, change: tuple[str, str]) -> Registry:
        """Change the code of a plugin, and forget what was imported."""
        (path,) = self.folder.glob(f"*/{plugin}.py")
        code = path.read_text()
        assert change[0] in code
        path.write_text(code.replace(*change))
        return self.discovered()

    def discovered(self) -> Registry:
        """As a new process finds them."""
        for path in self.folder.glob("*/*.py"):
            sys.modules.pop(path.stem, None)
            if str(path.parent) in sys.path:
                sys.path.remove(str(path.parent))
        discover.cache_clear()
        return discover((self.folder,))


@pytest.fixture
def plugins(kit: Path, tmp_path: Path) -> Iterator[Plugins]:
    pairs = (
        ("features/crossings", "features/own_crossings", "Crossings", "OwnCrossings"),
        ("models/nearest_mean", "models/own_means", "NearestMean", "OwnMeans"),
        ("datasets/tones", "datasets/own_tones", "Tones", "OwnTones"),
    )
    for source, copy, old, new in pairs:
        path = tmp_path / "own" / f"{copy}.py"
        path.parent.mkdir(parents=True)
        path.write_text((kit / f"{source}.py").read_text().replace(old, new))
    yield Plugins(tmp_path / "own")
    Plugins(tmp_path / "own").discovered()


@pytest.fixture
def edited(plugins: Plugins, corpus: CheckedCorpus) -> Callable[..., Registry]:
    """Writes a bundle, then edits one of its plugins."""

    def write_then_edit(plugin: str, change: tuple[str, str], *, is_golden: bool = True) -> Registry:
        registry = plugins.discovered()
        bundle = fit_bundle(
            corpus, make_pipeline(registry, "own_crossings", "own_means", {}), registry, seed=0
        )
        write_bundle(bundle, Path("bundle"), golden_samples(corpus) if is_golden else ())
        return plugins.edit(plugin, change)

    return write_then_edit


@pytest.mark.parametrize(("plugin", "change"), [("own_crossings", SAME), ("own_means", SAME_MODEL)])
def test_a_changed_plugin_that_answers_the_same_is_a_warning(
    edited: Callable[..., Registry], plugin: str, change: tuple[str, str]
) -> None:
    bundle = read_bundle(Path("bundle"), edited(plugin, change))
    assert bundle.changed == (plugin,)
    assert bundle.warning == (
        f"Warning: the code of {plugin} has changed since the model was fitted. "
        "Its 3 golden clips are predicted as at export (to 1e-05), so it is used."
    )


def test_a_plugin_that_has_not_changed_is_no_warning(plugins: Plugins, corpus: CheckedCorpus) -> None:
    registry = plugins.discovered()
    bundle = fit_bundle(corpus, make_pipeline(registry, "own_crossings", "own_means", {}), registry, seed=0)
    write_bundle(bundle, Path("bundle"), golden_samples(corpus))
    again = read_bundle(Path("bundle"), plugins.discovered())
    assert (again.changed, again.warning) == ((), None)


@pytest.mark.parametrize(
    ("plugin", "change", "reason"),
    [
        ("own_crossings", OTHER_SCALE, "is not predicted as at export"),
        ("own_crossings", RAISES, "has no attribute 'nonsense'"),
        ("own_crossings", TWO_DIMS, ""),
        ("own_crossings", ("scale: float", "factor: float"), ""),
    ],
)
def test_a_changed_plugin_that_answers_otherwise_is_named_as_the_cause(
    edited: Callable[..., Registry], plugin: str, change: tuple[str, str], reason: str
) -> None:
    cause = f"{reason}.* Likely cause: the code of {plugin} has changed since the model was fitted"
    with pytest.raises(ResultsError, match=cause) as caught:
        read_bundle(Path("bundle"), edited(plugin, change))
    assert "\n" not in str(caught.value)


def test_a_changed_plugin_that_cannot_load_its_model_is_named_as_the_cause(
    edited: Callable[..., Registry], plugins: Plugins
) -> None:
    edited("own_means", SAME_MODEL)
    registry = plugins.edit("own_means", ('"means.npz", allow', '"centres.npz", allow'))
    with pytest.raises(ResultsError, match=r"centres\.npz.* Likely cause: the code of own_means has changed"):
        read_bundle(Path("bundle"), registry)


def test_a_changed_plugin_cannot_be_verified_without_golden_clips(edited: Callable[..., Registry]) -> None:
    message = "cannot be verified: the code of own_crossings has changed .*, and there are no golden clips"
    with pytest.raises(ResultsError, match=message):
        read_bundle(Path("bundle"), edited("own_crossings", SAME, is_golden=False))


def test_predict_and_export_warn_of_it_in_one_line(
    edited: Callable[..., Registry], plugins: Plugins, corpus: CheckedCorpus, bench: Bench
) -> None:
    edited("own_means", SAME_MODEL)
    words = ("--plugins", plugins.folder)
    for result in (
        bench("predict", "bundle", corpus.clips[0].path, *words),
        bench("export", "bundle", "-o", "again", *words),
        bench("predict", "again", corpus.clips[0].path, *words),
    ):
        assert result.exit_code == 0, result.stderr
        assert result.stderr.count("Warning: the code of own_means has changed") == 1


def test_load_warns_of_it(edited: Callable[..., Registry], plugins: Plugins) -> None:
    edited("own_crossings", SAME)
    with pytest.warns(UserWarning, match="the code of own_crossings has changed"):
        marsbench.load("bundle", plugins=[plugins.folder])


def test_a_model_in_a_file_does_not_care_for_its_plugin(
    plugins: Plugins, corpus: CheckedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marsbench.deployment.formats.plugin import PluginFormat

    monkeypatch.setattr(PluginFormat, "needs_plugin", False)
    registry = plugins.discovered()
    bundle = fit_bundle(corpus, make_pipeline(registry, "own_crossings", "own_means", {}), registry, seed=0)
    write_bundle(bundle, Path("bundle"), golden_samples(corpus))
    assert read_bundle(Path("bundle"), plugins.edit("own_means", SAME_MODEL)).warning is None


GRID = (
    "--features",
    "own_crossings",
    "--model",
    "own_means",
    "--data",
    "own_tones",
    "--protocol",
    "speaker5",
)


@pytest.fixture
def run(plugins: Plugins, bench: Bench) -> RunFolder:
    """A finished run of `own_crossings` and `own_means` by speaker."""
    plugins.discovered()
    result = bench("run", *GRID, "--plugins", plugins.folder)
    assert result.exit_code == 0, result.stderr
    return next(find_runs(Path("results")))


def exported(bench: Bench, plugins: Plugins, *words: object) -> str:
    """What `bench export` tells beside its result."""
    result = bench("export", *words, "--plugins", plugins.folder)
    assert result.exit_code == 0, result.stderr
    return str(result.stderr)


@pytest.mark.parametrize("words", [("--best",), ("own_crossings", "--fold", "1")])
def test_a_run_of_a_changed_plugin_is_fitted_and_compared(
    bench: Bench, plugins: Plugins, run: RunFolder, words: tuple[str, ...]
) -> None:
    plugins.edit("own_crossings", SAME)
    told = exported(bench, plugins, *words)
    assert told.count(f"Warning: the code of own_crossings has changed since {run.path.name}") == 1
    assert told.count(f"Fold 1 of {run.path.name}, fitted again, reproduces the recorded predictions") == 1
    bundle = read_bundle(Path("bundle"), discover((plugins.folder,)))
    assert bundle.warning is None
    assert told.count("No accuracy by confidence in the bundle: the code has changed since the run.") == 1
    assert bundle.record.origin
    assert bundle.record.origin.confidences == []


@pytest.mark.parametrize("words", [("--best",), ("own_crossings", "--fold", "1")])
def test_a_changed_plugin_that_predicts_otherwise_is_told(
    bench: Bench, plugins: Plugins, run: RunFolder, words: tuple[str, ...]
) -> None:
    plugins.edit("own_crossings", OTHER_SCALE)
    told = exported(bench, plugins, *words)
    assert f"Fold 1 of {run.path.name}, fitted again, does not reproduce the recorded predictions" in told


def test_recorded_predictions_that_are_gone_cannot_be_compared_with(
    bench: Bench, plugins: Plugins, run: RunFolder
) -> None:
    plugins.edit("own_crossings", SAME)
    run.predictions.unlink()
    told = exported(bench, plugins, run.path)
    assert f"Fold 1 of {run.path.name}, fitted again, cannot be compared with the recorded predict" in told
    assert Path("bundle", "bundle.json").is_file()


def test_a_fold_that_cannot_be_fitted_again_is_not_compared_with(
    bench: Bench, plugins: Plugins, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise ResultsError("the protocol's file is gone")

    monkeypatch.setattr("marsbench.runner.reload.folds_of", gone)
    plugins.edit("own_crossings", SAME)
    told = exported(bench, plugins, run.path)
    assert f"Fold 1 of {run.path.name} cannot be fitted again to compare it: the protocol's file" in told
    assert Path("bundle", "bundle.json").is_file()


def test_an_ensemble_with_a_changed_member_is_fitted_and_compared(
    bench: Bench, plugins: Plugins, run: RunFolder
) -> None:
    assert bench("run", *GRID, "--seed", "1", "--plugins", plugins.folder).exit_code == 0
    members = sorted(run.path.parent.glob("own_crossings-*"))
    assert bench("ensemble", *members, "--equal").exit_code == 0
    plugins.edit("own_crossings", SAME)
    told = exported(bench, plugins, next(Path("results").glob("*/*/ensemble-*")))
    for member in members:
        assert f"Fold 1 of {member.name}, fitted again, reproduces the recorded predictions" in told
    plugins.edit("own_crossings", ("1 * np", "np"))
    bundle = read_bundle(Path("bundle"), discover((plugins.folder,)))
    assert not isinstance(bundle, Bundle)
    assert bundle.changed == ("own_crossings",)
