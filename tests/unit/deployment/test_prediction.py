"""What an answer says beside its class: whether windows disagree, how often such answers were right."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fixtures.made_runs import metrics
from marsbench.config import Criteria
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_record import Origin, sure_phrase
from marsbench.deployment.prediction import Prediction, Window, csv_rows
from marsbench.evaluation.by_group import ConfidenceScores
from marsbench.evaluation.scores import Score

LABELS = ("calm", "sad", "<b>")
SURE = ConfidenceScores(0.7, 0.8, 210, Score(value=0.74, low=0.68, high=0.8))


def prediction(best: Sequence[int]) -> Prediction:
    """Of windows, each with its most probable class."""
    rows = 0.1 + 0.7 * np.eye(3)[list(best)]
    windows = tuple(Window(at, at + 1, row) for at, row in enumerate(rows))
    return Prediction(LABELS, rows.mean(axis=0), windows, len(best), is_narrowband=False)


@pytest.mark.parametrize(
    ("best", "is_mixed"),
    [([0], False), ([0, 0, 0], False), ([0, 0, 1], False), ([0, 1], True), ([0, 0, 0, 1, 1], True)],
)
def test_a_recording_is_mixed_if_its_class_leads_in_fewer_than_two_thirds_of_the_windows(
    best: list[int], is_mixed: bool
) -> None:
    found = prediction(best)
    assert found.is_mixed is is_mixed
    assert found.as_dict()["is_mixed"] is is_mixed
    assert sum(found.votes.values()) == len(best)


def test_it_is_shown_in_a_notebook_with_names_as_text() -> None:
    shown = prediction([2])._repr_html_()
    assert "<b>&lt;b&gt;</b>, 1.0 s" in shown
    assert "<th>calm</th>" in shown
    assert "80.0 %" in shown
    assert "<b>mixed</b>" in prediction([0, 1])._repr_html_()


def origin(by_speaker: bool = True) -> Origin:
    return Origin(
        run_id="a-b-s0-1", protocol="speaker5", protocol_hash="", by_speaker=by_speaker,
        criteria=Criteria(), metrics=metrics(0.5), verdict="fail", pass_confidence=None,
        confidences=[replace(SURE, above=0.0, up_to=0.7), SURE, replace(SURE, above=0.8, up_to=1.0)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("confidence", "up_to"), [(0.1, 0.7), (0.7, 0.7), (0.71, 0.8), (1.0, 1.0), (1 + 1e-7, 1.0)]
)
def test_an_answer_is_compared_with_those_of_its_range_of_confidence(confidence: float, up_to: float) -> None:
    found = origin().as_sure(confidence)
    assert found is not None
    assert found.up_to == up_to


def test_how_often_such_answers_were_right_is_told_with_its_interval_and_for_whom() -> None:
    assert sure_phrase(origin(), SURE) == (
        "Answers this sure (70 to 80 %) were right in 74 % (68 to 80) of 210 test clips of new speakers."
    )
    assert sure_phrase(origin(by_speaker=False), SURE).endswith("trained on (expect less on new ones).")


def test_a_bundle_of_a_tested_run_tells_it_of_whole_recordings_and_not_of_windows(bundle: Bundle) -> None:
    tested = replace(bundle, record=bundle.record.model_copy(update={"origin": origin()}))
    tone = np.sin(np.arange(3200) / 3)
    assert bundle.predict(tone, 16_000).right_when_this_sure is None
    whole, long = tested.predict(tone, 16_000), tested.predict(np.tile(tone, 10), 16_000)
    assert (whole.right_when_this_sure, whole.as_dict()["right_when_this_sure"]) == (0.74, 0.74)
    assert len(long.windows) > 1
    assert long.right_when_this_sure is None
    older = origin().model_copy(update={"confidences": []})
    assert older.as_sure(whole.confidence) is None


def test_the_table_of_several_files_has_a_row_each(bundle: Bundle) -> None:
    buffer = io.StringIO()
    record = bundle.record.model_copy(update={"labels": list(LABELS), "origin": origin()})
    csv.writer(buffer).writerows(
        csv_rows([("a.wav", prediction([0, 1])), ("b.wav", prediction([2]))], record)
    )
    first, second = csv.DictReader(io.StringIO(buffer.getvalue()))
    assert (first["file"], first["is_mixed"], first["tested_new_speakers"]) == ("a.wav", "True", "True")
    assert second["label"] == "<b>"
    assert float(second["p_<b>"]) == pytest.approx(0.8)
