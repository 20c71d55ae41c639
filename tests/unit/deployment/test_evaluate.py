"""`bench evaluate`: a bundle on labelled clips, beside what its run promised."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import marsbench
from fixtures.results import made
from marsbench.config import Criteria
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_record import Origin
from marsbench.deployment.evaluate import Evaluation, bundle_words, evaluate, promised_scores
from marsbench.errors import CorpusError
from marsbench.evaluation.metrics import METRICS
from marsbench.evaluation.scores import Metrics, Score
from marsbench.evaluation.scoring import score_predictions
from marsbench.report.evaluation import notes

Bench = Callable[..., Any]


def relabelled(corpus: CheckedCorpus, names: dict[str, str]) -> CheckedCorpus:
    """The corpus with other names of classes."""
    clips = tuple(replace(clip, label=names.get(clip.label, clip.label)) for clip in corpus.clips)
    labels = tuple(dict.fromkeys(names.get(label, label) for label in corpus.labels))
    return replace(corpus, corpus=replace(corpus.corpus, labels=labels, clips=clips), clips=clips)


def without(corpus: CheckedCorpus, label: str) -> CheckedCorpus:
    """The corpus without the clips of a class."""
    return corpus.without([row for row, clip in enumerate(corpus.clips) if clip.label == label])


def promising(bundle: Bundle, uar: tuple[float, float, float]) -> Bundle:
    """The bundle as if its run had promised this UAR."""
    metrics = score_predictions(made([0, 1, 2], np.eye(3), labels=bundle.labels))
    value, low, high = uar
    metrics = Metrics(**{**metrics.model_dump(), "uar": Score(value=value, low=low, high=high)})
    origin = Origin(
        run_id="a-b-s0-1", protocol="speaker5", protocol_hash="", by_speaker=True, criteria=Criteria(),
        metrics=metrics, verdict="fail", pass_confidence=None,
    )  # fmt: skip
    return replace(bundle, record=bundle.record.model_copy(update={"origin": origin}))


def test_every_clip_is_predicted_as_by_the_bundle_and_scored(bundle: Bundle, corpus: CheckedCorpus) -> None:
    found = evaluate(bundle, corpus)
    alone = [bundle.predict(clip.path) for clip in corpus.clips]
    assert found.predictions.clips == tuple(clip.id for clip in corpus.clips)
    assert np.array_equal(
        found.predictions.probabilities, np.array([one.probabilities for one in alone], np.float32)
    )
    right = [one.label == clip.label for one, clip in zip(alone, corpus.clips, strict=True)]
    assert found.metrics["accuracy"].value == pytest.approx(np.mean(right))


def test_clips_of_classes_that_the_bundle_lacks_are_left_out_and_counted(
    bundle: Bundle, corpus: CheckedCorpus
) -> None:
    found = evaluate(bundle, relabelled(corpus, {"low": "deep"}))
    assert found.left_out == {"deep": 10}
    assert found.absent == ["low"]
    assert found.n_clips == 20


@pytest.mark.parametrize(
    ("labels", "known", "words"),
    [
        (["happiness", "sad"], ["happy", "sad"], {"happiness": "happy"}),
        (["W", "Sadness "], ["angry", "sad"], {"Sadness ": "sad"}),
        (["happy", "joy"], ["happy", "sad"], {}),
        (["joy", "happiness"], ["happy", "sad"], {}),
        (["Low", "odd"], ["low", "high"], {"Low": "low"}),
        (["1", "2"], ["happy", "sad"], {}),
    ],
)
def test_other_words_of_the_field_for_one_class_are_brought_to_the_bundles(
    labels: list[str], known: list[str], words: dict[str, str]
) -> None:
    assert bundle_words(labels, known) == words


def test_a_class_by_another_word_counts_and_that_is_said(bundle: Bundle, corpus: CheckedCorpus) -> None:
    found = evaluate(bundle, relabelled(corpus, {"low": "LOW"}))
    assert (found.n_clips, found.renamed, found.left_out) == (30, {"LOW": "low"}, {})
    assert any("LOW is low (--map" in note for note in notes(found))


def test_a_prediction_of_a_class_that_the_corpus_lacks_is_wrong_and_counted(
    bundle: Bundle, corpus: CheckedCorpus
) -> None:
    found = evaluate(bundle, relabelled(without(corpus, "low"), {"middle": "low", "high": "middle"}))
    n_wrong = sum(bundle.predict(clip.path).label == "high" for clip in without(corpus, "low").clips)
    assert n_wrong > 0
    assert (found.absent, found.n_of_absent) == (["high"], n_wrong)
    assert found.metrics["accuracy"].value <= 1 - n_wrong / found.n_clips
    assert found.among_common["accuracy"] >= found.metrics["accuracy"].value


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"low": "a", "middle": "b"}, "have only high in common"),
        ({"low": "a", "middle": "b", "high": "c"}, "have no class in common"),
    ],
)
def test_fewer_than_two_classes_in_common_are_refused(
    bundle: Bundle, corpus: CheckedCorpus, names: dict[str, str], said: str
) -> None:
    with pytest.raises(CorpusError, match=said):
        evaluate(bundle, relabelled(corpus, names))


@pytest.mark.parametrize(
    ("uar", "place", "said"),
    [
        ((0.9, 0.5, 1.0), "inside", "Inside the promise"),
        ((0.3, 0.2, 0.4), "above", "Above the promise"),
        (None, None, "There is no promise"),
    ],
)
def test_the_verdict_says_where_the_score_lies_to_the_promise(
    bundle: Bundle, corpus: CheckedCorpus, uar: tuple[float, float, float] | None, place: str, said: str
) -> None:
    found = replace(evaluate(promising(bundle, uar) if uar else bundle, corpus), seen=None)
    assert found.metrics["uar"].value == 1.0
    assert (found.place, found.inside) == (place, None if uar is None else place == "inside")
    assert found.sentence.startswith(said)


@pytest.mark.parametrize("uar", [(0.9, 0.5, 1.0), (0.3, 0.2, 0.4)])
def test_scores_of_training_clips_are_not_compared_with_the_promise(
    bundle: Bundle, corpus: CheckedCorpus, uar: tuple[float, float, float]
) -> None:
    found = evaluate(promising(bundle, uar), corpus)
    assert (found.place, found.inside) == (None, None)
    assert found.sentence.startswith("Not comparable with the promise")


def test_a_score_below_the_promise_is_called_that(bundle: Bundle, corpus: CheckedCorpus) -> None:
    swapped = relabelled(corpus, {"low": "high", "high": "low"})
    found = replace(evaluate(promising(bundle, (0.95, 0.9, 1.0)), swapped), seen=None)
    assert (found.place, found.inside) == ("below", False)
    assert found.sentence.endswith("the intervals do not overlap.")


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=6, max_size=30).map(
        lambda pairs: [(0, 0), (1, 2), (2, 1), *pairs]
    )
)
def test_the_promise_without_a_class_is_the_score_without_its_clips(pairs: Sequence[tuple[int, int]]) -> None:
    targets, predicted = np.array(pairs).T
    every = made(targets, np.eye(3)[predicted], labels="abc")
    others = every.of_rows(np.flatnonzero(targets != 1))
    metrics = score_predictions(every)
    promised = promised_scores(metrics, ["b"])
    for name, score in promised.items():
        assert score.value == pytest.approx(METRICS[name].value(others.targets, others.probabilities))
        assert 0 <= score.low <= score.value <= score.high <= 1
    assert promised_scores(metrics, []) == {name: metrics[name] for name in promised}


@pytest.mark.parametrize(
    ("novelty", "n_unlike", "said"), [(None, None, False), ([0.5], 0, False), ([0.5, 0.999], 10, True)]
)
def test_clips_that_are_unlike_the_training_clips_are_counted(
    bundle: Bundle,
    corpus: CheckedCorpus,
    monkeypatch: pytest.MonkeyPatch,
    novelty: list[float] | None,
    n_unlike: int | None,
    said: bool,
) -> None:
    values = None if novelty is None else np.resize(novelty, 20)
    monkeypatch.setattr(Bundle, "novelty", lambda _self, _windows: values)
    found = evaluate(bundle, without(corpus, "low"))
    assert found.n_unlike == n_unlike
    assert any("unlike the training clips" in note for note in notes(found)) == said


@pytest.mark.parametrize(
    ("names", "said"),
    [({}, "is the one that the model was trained on"), ({"low": "deep"}, "3 of the 3 training clips")],
)
def test_clips_that_the_model_was_trained_on_are_pointed_out(
    folder: Path, corpus: CheckedCorpus, kit: Path, names: dict[str, str], said: str
) -> None:
    found = marsbench.evaluate(folder, relabelled(corpus, names), plugins=[kit])
    assert isinstance(found, Evaluation)
    assert said in str(found.seen)


def test_the_command_tells_scores_attributes_and_the_verdict(bench: Bench, folder: Path, kit: Path) -> None:
    words = ("evaluate", folder, "--data", "tones", "--plugins", kit)
    table = bench(*words, "--by", "take").stdout
    assert all(part in table for part in ("by speaker, %", "by take, %", "WARNING", "There is no promise"))
    answer = json.loads(bench(*words, "--json").stdout)
    assert answer["n_clips"] == 30
    assert answer["recall"].keys() == {"low", "middle", "high"}
    assert [answer[name]["value"] for name in ("accuracy", "macro_f1", "uar")] == [1, 1, 1]
    assert (answer["promised"], answer["inside"]) == (None, None)
    assert len(answer["by"]["speaker"]) == 5


def test_an_attribute_that_no_clip_has_is_told_before_anything_is_predicted(
    bench: Bench, folder: Path, kit: Path
) -> None:
    result = bench("evaluate", folder, "--data", "tones", "--plugins", kit, "--by", "colour")
    assert result.exit_code == 1
    assert "Unknown attribute 'colour'. Available: label, speaker, take" in result.stderr
    assert "Predicting" not in result.stderr
