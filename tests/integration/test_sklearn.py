"""scikit-learn's habits, held by its own checks of estimators where rows of numbers can be heard."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import soundfile
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

import marsbench
from marsbench.data.audio import Waveform, decode
from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import BenchError, PluginError
from marsbench.evaluation import fit as fitting
from marsbench.sklearn import AudioClassifier, AudioFeatures, InputError

KIT = Path(__file__).parents[1] / "kit" / "plugins"
PLUGINS = (str(KIT),)


@pytest.fixture
def corpus() -> CheckedCorpus:
    return marsbench.load_corpus("tones", plugins=PLUGINS)


@pytest.fixture
def paths(corpus: CheckedCorpus) -> list[Path]:
    return [clip.path for clip in corpus.clips]


@pytest.fixture
def labels(corpus: CheckedCorpus) -> list[str]:
    return [clip.label for clip in corpus.clips]


def features(name: str, **options: Any) -> AudioFeatures:
    return AudioFeatures(name, plugins=PLUGINS, **options)


def classifier(model: str = "nearest_mean", **options: Any) -> AudioClassifier:
    return AudioClassifier("crossings", model, plugins=PLUGINS, **options)


# scikit-learn's own checks


ECHO = """
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marsbench.plugin import FeatureExtractor, FeatureKind, Floats


@dataclass
class Echo(FeatureExtractor):
    kind: ClassVar[FeatureKind] = "vector"
    sample_rate: int = 1000

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        return np.array(waveform[1 : 1 + round(float(waveform[0]))], np.float32)
"""


@pytest.fixture
def echo(home: Path) -> None:
    """An extractor that gives the numbers that a waveform was made of; its first sample says how many."""
    path = home.parent / "plugins" / "features" / "echo.py"
    path.parent.mkdir(parents=True)
    path.write_text(ECHO)


def audible(rows: NDArray[Any]) -> list[Waveform]:
    """Waveforms of which `echo` gives the numbers of a row."""
    return [Waveform(np.resize(np.array([len(row), *row], np.float32), 200), 1000) for row in rows]


class _TakesRows:
    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


class FeaturesOfRows(_TakesRows, AudioFeatures):
    def fit(self, X: Any, y: Any = None) -> Any:  # noqa: N803
        return super().fit(audible(validate_data(self, X)), y)

    def transform(self, X: Any) -> Any:  # noqa: N803
        check_is_fitted(self)
        return super().transform(audible(validate_data(self, X, reset=False)))


class ClassifierOfRows(_TakesRows, AudioClassifier):
    def fit(self, X: Any, y: Any, groups: Any = None) -> Any:  # noqa: N803
        return super().fit(audible(validate_data(self, X)), y, groups)

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        check_is_fitted(self)
        return super().predict_proba(audible(validate_data(self, X, reset=False)))


@pytest.mark.usefixtures("echo")
@pytest.mark.filterwarnings("ignore")  # a check's own, such as that of a column of labels
@pytest.mark.parametrize(
    "estimator",
    [
        FeaturesOfRows("echo", plugins=PLUGINS),
        pytest.param(ClassifierOfRows("echo", "nearest_mean", plugins=PLUGINS), marks=pytest.mark.slow),
    ],
    ids=["features", "classifier"],
)
def test_every_check_that_scikit_learn_has_for_estimators_is_passed(estimator: Any) -> None:
    found = check_estimator(estimator, on_skip=None)
    assert {one["check_name"] for one in found if one["status"] != "passed"} <= {"check_array_api_input"}
    assert len(found) > 40


@pytest.mark.parametrize("estimator", [AudioFeatures(), AudioClassifier()], ids=["features", "classifier"])
def test_scikit_learn_is_told_that_not_every_table_of_numbers_is_audible(estimator: Any) -> None:
    tags = estimator.__sklearn_tags__().input_tags
    assert (tags.one_d_array, tags.string, tags.two_d_array) == (True, True, False)


# The same as the framework gives


@pytest.mark.parametrize("name", ["crossings", "blocks"])
def test_features_are_those_of_the_framework_averaged_over_time(
    name: str, corpus: CheckedCorpus, paths: list[Path]
) -> None:
    fresh = features(name).fit_transform(paths)
    expected = marsbench.extract(corpus, name, plugins=PLUGINS).pooled().values  # noqa: PD011 - of Features
    assert np.array_equal(fresh, expected)
    assert np.array_equal(features(name).fit_transform(paths), expected)


@pytest.mark.parametrize("seed", [0, 7])
def test_a_classifier_is_what_the_framework_fits_on_the_same_clips(
    seed: int, corpus: CheckedCorpus, paths: list[Path], labels: list[str]
) -> None:
    ours = classifier("svm", random_state=seed, set={"svm.C": 2.0})
    ours.fit(paths, labels, groups=corpus.speakers)
    options: dict[str, Any] = {"seed": seed, "set": {"svm.C": 2.0}, "together": ["speaker"]}
    theirs = marsbench.fit(
        marsbench.load_corpus("tones", classes=sorted(corpus.labels), plugins=PLUGINS),
        features="crossings", model="svm", plugins=PLUGINS, **options,
    )  # fmt: skip
    assert ours.classes_.tolist() == list(theirs.labels)
    assert np.array_equal(ours.predict_proba(paths), theirs.class_probabilities(paths))


@pytest.mark.parametrize(("groups", "expected"), [(True, 5), (False, 30)])
def test_groups_are_the_speakers_that_a_fit_keeps_together(
    groups: bool,
    expected: int,
    corpus: CheckedCorpus,
    paths: list[Path],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    fit_model = fitting.fit_model

    def noted(unit: fitting.Unit) -> Any:
        seen.append(len(set(unit.train_groups)))
        return fit_model(unit)

    monkeypatch.setattr("marsbench.deployment.export.fit_model", noted)
    classifier().fit(paths, labels, groups=corpus.speakers if groups else None)
    assert seen == [expected]


def test_what_was_extracted_before_comes_from_the_store(
    corpus: CheckedCorpus, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIT_LEDGER", str(tmp_path / "ledger"))
    marsbench.extract(corpus, "slow_crossings", plugins=PLUGINS, seconds=0.0)
    written = (tmp_path / "ledger").read_text()
    known = features("slow_crossings", parameters={"seconds": 0.0})
    assert known.fit_transform(paths[::2]).shape == (15, 1)
    assert (tmp_path / "ledger").read_text() == written
    new = tmp_path / "new.wav"
    soundfile.write(new, np.sin(np.arange(4000)), 8000)
    known.transform([*paths, new])
    assert (tmp_path / "ledger").read_text().count("\n") == written.count("\n") + 1


# Forms of X


def samples_of(paths: list[Path]) -> list[NDArray[np.float32]]:
    return [decode(path.read_bytes()).samples for path in paths]


FORMS: dict[str, Any] = {
    "paths": lambda paths: paths,
    "strings": lambda paths: [str(path) for path in paths],
    "an array": lambda paths: np.array([str(path) for path in paths]),
    "a series": lambda paths: pd.Series([str(path) for path in paths], range(7, 7 + len(paths))),
    "a data frame of one column": lambda paths: pd.DataFrame({"path": [str(path) for path in paths]}),
    "a list of samples": samples_of,
    "rows of samples": lambda paths: np.stack(samples_of(paths)),
    "waveforms of their own rate": lambda paths: [Waveform(one, 8000) for one in samples_of(paths)],
    "paths and samples": lambda paths: [*paths[:3], *samples_of(paths[3:])],
}


@pytest.mark.parametrize("form", FORMS)
def test_recordings_give_the_same_in_every_form(form: str, paths: list[Path], labels: list[str]) -> None:
    X = FORMS[form](paths)  # noqa: N806
    rate = 8000 if "samples" in form else None
    transformer, expected = features("blocks", sample_rate=rate), features("blocks").transform(paths)
    assert np.array_equal(transformer.fit_transform(X), expected)
    ours, theirs = classifier(sample_rate=rate).fit(X, labels), classifier().fit(paths, labels)
    assert np.array_equal(ours.predict_proba(X), theirs.predict_proba(paths))


@pytest.mark.parametrize("values", [["b", "a", "c"], [3, 1, 2], [True, False, True]])
def test_classes_are_those_of_y_in_order(values: list[Any], paths: list[Path], labels: list[str]) -> None:
    y = [dict(zip(("low", "middle", "high"), values, strict=True))[label] for label in labels]
    fitted = classifier().fit(paths, y)
    assert fitted.classes_.tolist() == sorted(set(values))
    assert set(fitted.predict(paths)) == set(values)
    assert fitted.predict_proba(paths[:4]).shape == (4, len(set(values)))


# Pipelines


def test_features_work_in_pipelines_and_cross_validation(
    corpus: CheckedCorpus, paths: list[Path], labels: list[str]
) -> None:
    pipeline = make_pipeline(features("blocks"), LogisticRegression())
    assert pipeline[:-1].fit(paths).get_feature_names_out().tolist() == ["blocks_0", "blocks_1"]
    scores = cross_val_score(pipeline, paths, labels, groups=corpus.speakers, cv=GroupKFold(2))
    assert scores.tolist() == [1.0, 1.0]


def test_features_are_a_data_frame_where_that_is_set(paths: list[Path]) -> None:
    table = features("blocks").set_output(transform="pandas").fit_transform(paths)
    assert list(table.columns) == ["blocks_0", "blocks_1"]


def test_speakers_are_routed_to_the_fit_of_a_classifier(
    corpus: CheckedCorpus, paths: list[Path], labels: list[str]
) -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        asking = classifier().set_fit_request(groups=True)
        params = {"groups": corpus.speakers}
        scores = cross_val_score(asking, np.array(paths), labels, params=params, cv=GroupKFold(2))
    assert scores.tolist() == [1.0, 1.0]


def test_a_fitted_classifier_is_copied_by_pickle_and_saved_as_a_bundle(
    paths: list[Path], labels: list[str], tmp_path: Path
) -> None:
    fitted = AudioClassifier("crossings", "svm", plugins=PLUGINS).fit(paths, labels)
    expected = fitted.predict_proba(paths)
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(paths), expected)  # noqa: S301 - ours
    fitted.bundle_.save(tmp_path / "bundle")
    assert marsbench.load(tmp_path / "bundle", plugins=PLUGINS).predict(paths[0]).label == labels[0]
    assert not hasattr(clone(fitted), "bundle_")


# Wrong input


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("a.wav", "X is str: a list of paths or waveforms is needed"),
        (5, "X is int: a list of paths or waveforms is needed"),
        ([], "X has no recordings, 0 samples; at least one is needed"),
        (["nowhere.wav"], "X[0]: there is no file /"),
        ([3], "X[0] is int: a path, or an array of samples with sample_rate, is needed"),
        ([np.ones(900)], "X[0] is samples without their rate; say it in Hz: {}(..., sample_rate=16000)"),
        ([Waveform(np.ones(9, np.float32), 8000)], "X[0]: too short: 1 ms, the minimum is 100 ms"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "X has 2 columns; one of paths or of waveforms is needed"),
    ],
)
@pytest.mark.parametrize("estimator", [features("crossings"), classifier()], ids=["features", "classifier"])
def test_what_is_no_recording_is_told_in_one_line(estimator: Any, X: Any, message: str) -> None:  # noqa: N803
    with pytest.raises(InputError) as caught:
        estimator.fit(X, ["a"] * np.size(X))
    assert str(caught.value).startswith(message.format(type(estimator).__name__))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_file_that_is_no_audio_is_named(paths: list[Path], labels: list[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    fitted = classifier().fit(paths, labels)
    for attempt in (
        lambda: features("crossings").transform([*paths, bad]),
        lambda: fitted.predict([*paths, bad]),
        lambda: classifier().fit([*paths, bad], [*labels, "low"]),
    ):
        with pytest.raises(InputError, match=r"^X.*bad\.wav: cannot be decoded") as caught:
            attempt()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (features("crosings"), "no feature extractor|crossings"),
        (features("crossings", parameters={"scal": 2}), "scale"),
        (AudioClassifier("crossings", "nearest_men", plugins=PLUGINS), "nearest_mean"),
        (classifier(set={"svm.C": 1}), "svm"),
        (AudioClassifier("crossings", "no_frames", plugins=("nowhere",)), "nowhere"),
    ],
    ids=["extractor", "parameter", "model", "setting", "folder"],
)
def test_a_name_that_does_not_exist_is_told_before_audio_is_checked(
    estimator: Any, message: str, paths: list[Path], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marsbench.sklearn.check_audio", None)
    with pytest.raises(BenchError, match=message):
        estimator.fit(paths, labels)


def test_labels_of_one_class_are_refused(paths: list[Path]) -> None:
    with pytest.raises(InputError, match="y has only one class, a; at least two are needed"):
        classifier().fit(paths, ["a"] * len(paths))


@pytest.mark.usefixtures("echo")
def test_features_of_different_widths_are_refused() -> None:
    X = [Waveform(np.resize(np.array([width, *range(width)], np.float32), 200), 1000) for width in (2, 3)]  # noqa: N806
    with pytest.raises(PluginError, match="echo gives different numbers of features"):
        features("echo").transform(X)


def test_the_module_is_reached_from_the_package_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    module = marsbench.sklearn
    monkeypatch.delattr(marsbench, "sklearn")  # which its import has set
    assert marsbench.sklearn is module
