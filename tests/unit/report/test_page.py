import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.results import rewrite
from marsbench.config import Criteria
from marsbench.data.corpus import AudioFacts, Clip
from marsbench.errors import ResultsError
from marsbench.plugin.registry import Recipe
from marsbench.report.page import build_page
from marsbench.report.phrases import scores_phrase
from marsbench.report.run_view import CorpusAudio
from marsbench.report.selection import select_all, select_experiment, select_run
from marsbench.results.schema import LeakageRecord, ProtocolRecord, TuningRecord
from marsbench.results.store import RunFolder

Write = Callable[..., RunFolder]
PageOf = Callable[..., str]
BY_SPEAKER = ProtocolRecord(name="speaker5", hash="6" * 64, by_speaker=True, n_folds=2, notes=[])
FOLD = {
    "fold": 0, "best": 1, "configuration": {"tiny.C": 2.0}, "inner_score": 0.95, "outer_score": 0.9,
    "complete": 2, "pruned": 1, "failed": 0, "ended": "all trials", "untuned_score": 0.89,
}  # fmt: skip
TUNING = {
    "asked": {"trials": 3, "tuner": "optuna", "objective": "macro_f1", "inner_folds": 3, "time_budget": None},
    "folds": [FOLD],
}
UNCHECKED = "Durations, levels and a map of features are shown where the audio was checked"
HOSTILE = "<script>alert(1)</script>\"'"


def clip_of(row: int, attributes: Mapping[str, str]) -> Clip:
    return Clip(f"clip {row}", Path("nowhere.wav"), ("low", "high")[row % 2], attributes=attributes)


def without_tags(page: str) -> str:
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_the_page_needs_nothing_but_itself(told_run: Write, page_of: PageOf, tags: Any) -> None:
    page = page_of(told_run())
    pointers = {value for _, facts in tags(page) for name, value in facts.items() if name in {"src", "href"}}
    assert all(pointer.startswith(("#", "data:")) for pointer in pointers)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in tags(page)}
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttp", page)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


@pytest.mark.parametrize(
    "words",
    [
        "Classification of 20 clips of 4 speakers into 2 classes",
        "Train and test share speakers",
        "The run is tiny + tiny",
        "? undecided Every score is above its threshold, but the 95 % interval of",
        "Leaderboard of",
        "Every criterion: 95 % interval and threshold",
        "Rows: true class, columns: predicted class",
        "Recall by class and speaker",
        "The final fit of each fold, one line per fold",
        "Expected calibration error",
        "The 2 clips with the highest probability of a wrong class",
        "Not tuned",
        "No pipeline was run under both",
        "Origin: settings, versions, hashes",
        "Synthetic audio (tones)",
        "How to read this",
    ],
)
def test_the_page_tells(told_run: Write, page_of: PageOf, words: str) -> None:
    page = page_of(told_run())
    assert words in page.replace("&nbsp;", " ") or words in without_tags(
        page.replace("\N{NO-BREAK SPACE}", " ")
    )


def test_the_page_can_be_read_without_looking_at_it(told_run: Write, page_of: PageOf, tags: Any) -> None:
    found = tags(page_of(told_run()))
    names = [tag for tag, _ in found]
    assert ("html", {"lang": "en"}) in found
    assert names.count("h1") == 1
    assert names.count("caption") == names.count("table")
    assert all(facts.get("aria-label") for tag, facts in found if tag == "svg" or facts.get("role") == "img")
    assert all(facts.get("scope") for tag, facts in found if tag == "th")


def test_whatever_a_corpus_or_a_user_names_stays_text(told_run: Write, page_of: PageOf, tags: Any) -> None:
    folder = told_run(
        labels=(HOSTILE, "high"), clip=HOSTILE, settings={f"tiny.{HOSTILE}": HOSTILE}, warnings=[HOSTILE],
        features=Recipe(HOSTILE, {HOSTILE: HOSTILE}, "", {}), environment={HOSTILE: HOSTILE},
    )  # fmt: skip
    page = page_of(folder)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10
    assert [facts for tag, facts in tags(page) if tag == "script"] == [{}]


def test_a_failed_run_is_told_of_with_its_reason(finished_run: Write, page_of: PageOf) -> None:
    told = without_tags(page_of(finished_run("a", None)))
    assert "This run failed: it has no scores. RuntimeError fold 1 no luck today" in told
    assert "Failed runs A run with a missing fold" in told
    assert "No run is complete, so there are no scores" in told


def test_missing_predictions_are_a_line(told_run: Write, page_of: PageOf) -> None:
    folder = told_run()
    folder.predictions.unlink()
    told = without_tags(page_of(folder))
    assert "Not shown: " in told
    assert "Calibration Not available without the predictions" in told
    assert "Rows: true class" in told


@pytest.mark.parametrize("content", [b"", b"PAR1 no table PAR1"])
def test_damaged_predictions_are_a_line(told_run: Write, page_of: PageOf, content: bytes) -> None:
    folder = told_run()
    folder.predictions.write_bytes(content)
    told = without_tags(page_of(folder))
    assert "predictions.parquet is damaged: its checksum is not that in run.json" in told
    assert "Rows: true class" in told


def test_a_damaged_unit_is_a_line_and_stays_as_it_is(told_run: Write, page_of: PageOf) -> None:
    folder = told_run()
    path = folder.path / "units" / "fold-1.json"
    path.write_text("{")
    page = page_of(folder)
    assert "fold-1.json is damaged" in page
    assert "fold 1, training" in page
    assert path.read_text() == "{"


def test_a_run_without_its_fits_says_so_once(told_run: Write, page_of: PageOf) -> None:
    folder = told_run()
    shutil.rmtree(folder.path / "units")
    told = without_tags(page_of(folder))
    assert told.count("the fits of each fold are not among the run&#39;s files") == 1
    assert "is not trained in epochs" not in told


def test_the_verdict_stands_before_all_else_of_a_board(told_run: Write, page_of: PageOf) -> None:
    told = without_tags(page_of(told_run()))
    told = told[told.index("Skip to the summary") :]
    places = [told.index(words) for words in ("? undecided", "The run is tiny + tiny", "Classification of")]
    assert places == sorted(places)


def test_the_verdict_of_the_requested_run_stands_before_that_of_the_best(
    told_run: Write, page_of: PageOf
) -> None:
    told_run("a-aaaaaa", settings={})
    folder = told_run("b-bbbbbb", settings={"tiny.C": 1})
    told = without_tags(page_of(folder))
    assert told.index("tiny + tiny : Every score is above") < told.index("The best run: ? undecided")
    assert "The best run:" not in without_tags(page_of(told_run("a-aaaaaa", settings={})))


@pytest.mark.parametrize(
    ("criteria", "told"),
    [
        (Criteria(macro_f1=0.8004), "macro F1 80.0 %"),
        (Criteria(macro_f1=0.8), "macro F1 80.04 %"),
        (None, "macro F1 80.0 %"),
    ],
)
def test_a_score_in_a_sentence_does_not_read_as_the_threshold_that_it_is_not(
    criteria: Criteria | None, told: str
) -> None:
    scores = {"accuracy": 0.9, "macro_f1": 0.8004, "worst_recall": 0.75}
    assert told in scores_phrase(scores, "sad", criteria)


def test_the_column_of_new_speakers_is_there_if_a_row_tells_them(told_run: Write, page_of: PageOf) -> None:
    folder = told_run("a", settings={})
    assert "New speakers" not in page_of(folder)
    run = folder.read_run()
    other = RunFolder(Path("results") / run.corpus.name / "speaker5" / "b")
    other.write_run(run.model_copy(update={"run_id": "b", "protocol": BY_SPEAKER}))
    assert '<abbr title="macro F1 of the same pipeline on new speakers' in page_of(folder)
    assert '<abbr title="macro F1 of the same pipeline on new speakers' not in page_of(other)


def test_a_model_without_epochs_has_no_curve(told_run: Write, page_of: PageOf) -> None:
    assert "tiny is not trained in epochs" in page_of(told_run(history=[]))


def test_a_metric_that_was_nan_now_and_then_leaves_a_gap(told_run: Write, page_of: PageOf) -> None:
    history = [{"loss": float("nan")}, {"loss": 1.0}, {"loss": float("inf")}]
    assert "loss by epoch, 2 folds; last epoch: 1 to 1" in page_of(told_run(history=history))
    assert "no finite value" in page_of(told_run(history=history[:1]))


def test_without_the_corpus_the_clips_are_a_table_and_a_reason(told_run: Write, page_of: PageOf) -> None:
    told = without_tags(page_of(told_run(), audio=True))
    assert "the audio cannot be found: Unknown dataset &#39;tiny&#39;" in told
    assert "clip 0 speaker 0 low high 90.0 10.0" in told


def test_a_corpus_that_names_no_speakers_says_so(told_run: Write, page_of: PageOf) -> None:
    told = without_tags(page_of(told_run(speakers=False)))
    assert "names no speakers, so the scores say nothing about new speakers" in told
    assert "Table by speaker" not in told


def test_a_run_without_one_error_has_no_confused_clip(told_run: Write, page_of: PageOf) -> None:
    folder = told_run()
    rewrite(folder, lambda predictions: predictions.with_probabilities(np.eye(2)[predictions.targets]))
    assert "No clip is misclassified" in page_of(folder)


def test_criteria_that_are_asked_for_count(told_run: Write, page_of: PageOf) -> None:
    easy = Criteria(accuracy=0.1, macro_f1=0.1, class_recall=0.1)
    assert "Meets every criterion" in page_of(told_run(), easy)


def test_a_real_corpus_has_no_synthetic_banner(told_run: Write, page_of: PageOf) -> None:
    corpus = told_run().read_run().corpus.model_copy(update={"synthetic": False})
    assert "Synthetic audio" not in page_of(told_run(corpus=corpus))


def test_a_tuned_run_tells_gain_and_optimism(told_run: Write, page_of: PageOf) -> None:
    told_run("untuned", settings={})
    folder = told_run("tuned", settings={}, tuning=TuningRecord.model_validate(TUNING))
    told = without_tags(page_of(folder))
    assert "3 trials by optuna, for macro F1. Gain over the untuned run: +0.0 points" in told
    assert "Optimism: -4.0 points" in told  # (95 - 90) - (89 - 80)
    assert "tiny.C=2.0" in told


@pytest.mark.parametrize(("trials", "shown"), [(3, {"tuned", "untuned"}), (4, {"untuned"}), (0, {"untuned"})])
def test_an_experiment_shows_the_runs_that_were_tuned_as_it_says(
    told_run: Write, trials: int, shown: set[str]
) -> None:
    told_run("untuned", settings={})
    told_run("tuned", settings={}, tuning=TuningRecord.model_validate(TUNING))
    path = Path("grid.toml")
    path.write_text(f"features = 'tiny'\nmodel = 'tiny'\ndata = 'tones'\ntrials = {trials}\n")
    selection = select_experiment(path, None, None)
    assert {row.run_id for board in selection.boards for row in board.rows} == shown


def test_a_pipeline_under_both_kinds_of_split_shows_the_gap(told_run: Write, page_of: PageOf) -> None:
    corpus = told_run("a", settings={}).read_run().corpus
    folder = told_run("a", settings={})
    other = RunFolder(Path("results") / corpus.name / "speaker5" / "b")
    run = folder.read_run()
    assert run.metrics is not None
    lower = run.metrics.model_copy(
        update={"macro_f1": run.metrics["macro_f1"].model_copy(update={"value": 0.5, "low": 0.4})}
    )
    other.write_run(run.model_copy(update={"run_id": "b", "protocol": BY_SPEAKER, "metrics": lower}))
    told = without_tags(page_of(folder))
    assert "new speakers, shared speakers" in told
    assert "-40.0" in told
    assert "Train and test share no speakers" in without_tags(page_of(other))


def test_a_split_that_tests_some_clips_alone_says_how_many(told_run: Write, page_of: PageOf) -> None:
    corpus = told_run().read_run().corpus.model_copy(update={"n_clips": 1000})
    assert "20 of 1,000 clips" in without_tags(page_of(told_run(corpus=corpus)))


def test_all_boards_show_the_best_run_of_each_in_depth(told_run: Write) -> None:
    told_run("a", settings={}).path.parent.rename("results/tones/speaker5")
    by_speaker = RunFolder(Path("results/tones/speaker5/a"))
    by_speaker.write_run(by_speaker.read_run().model_copy(update={"protocol": BY_SPEAKER}))
    told_run("b", settings={})
    selection = select_all(Path("results"), None)
    assert [folder.path.name for folder in selection.in_detail] == ["a", "b"]
    assert build_page(selection).count('class="run"') == 2


def test_the_boards_of_the_corpus_of_most_clips_come_first_and_of_it_the_strictest(told_run: Write) -> None:
    run = told_run("b", settings={}).read_run()
    by_speaker = RunFolder(Path("results/tones/xspeaker/b"))
    protocol = BY_SPEAKER.model_copy(update={"name": "xspeaker"})
    by_speaker.write_run(run.model_copy(update={"protocol": protocol}))
    assert run.metrics is not None
    few = run.metrics.model_copy(update={"n_clips": 19})
    small = run.corpus.model_copy(update={"name": "a"})
    RunFolder(Path("results/a/stratified5/b")).write_run(
        run.model_copy(update={"corpus": small, "metrics": few})
    )
    boards = select_all(Path("results"), None).boards
    assert [(one.corpus, one.protocol) for one in boards] == [
        ("tones", "xspeaker"), ("tones", "stratified5"), ("a", "stratified5"),
    ]  # fmt: skip


def test_at_most_five_runs_are_shown_in_depth_and_the_page_says_so(told_run: Write) -> None:
    for number in range(7):
        folder = told_run(f"r{number}", settings={})
        protocol = folder.read_run().protocol.model_copy(update={"hash": f"{number}" * 64})
        told_run(f"r{number}", settings={}, protocol=protocol)
    page = build_page(select_all(Path("results"), None))
    assert page.count('class="run"') == 5
    assert "the 5 best of 7 runs are shown in detail" in page


def test_a_run_that_newer_code_replaced_can_still_be_shown(told_run: Write, page_of: PageOf) -> None:
    older = told_run("older", settings={}, finished="2026-01-01")
    told_run("newer", settings={}, finished="2026-01-02")
    assert '<tr class="focus">' in page_of(older)


def test_a_run_outside_a_results_folder_is_refused_in_one_line(told_run: Write) -> None:
    folder = told_run()
    elsewhere = folder.path.rename(Path("elsewhere"))
    with pytest.raises(ResultsError, match="was moved; move it back to RESULTS/tones/stratified5/a"):
        select_run(Path("results"), str(elsewhere), None)


def test_no_runs_are_one_clear_line() -> None:
    with pytest.raises(ResultsError, match="make one with: bench run"):
        select_all(Path("results"), None)


def test_runs_that_cannot_be_read_are_one_clear_line(told_run: Write) -> None:
    (told_run().path / "run.json").write_text("{")
    with pytest.raises(ResultsError, match=r"no readable run in .* is damaged"):
        select_all(Path("results"), None)


def test_a_row_and_a_run_say_how_they_are_made_again(told_run: Write, page_of: PageOf) -> None:
    page = page_of(told_run(settings={"tiny.word": HOSTILE}, seed=4))
    assert page.count('<pre class="command">bench run --features tiny --model tiny --data tiny') == 2
    assert page.count("not among the installed plugins: tiny; add --plugins with the folder") == 2
    assert "--seed 4 " in page
    assert " --trials 0<" in page
    assert HOSTILE not in page


def test_every_attribute_with_a_few_values_has_a_table(
    told_run: Write, page_of: PageOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [clip_of(row, {"sex": "mf"[row % 2], "name": f"n{row}", "year": "2020"}) for row in range(20)]
    audio = CorpusAudio({clip.id: clip for clip in clips})
    monkeypatch.setattr("marsbench.report.page.find_audio", lambda *_: audio)
    told = without_tags(page_of(told_run()))
    assert "Tables by sex" in told
    assert "By sex, %, with 95 % intervals" in told
    assert "By name" not in told
    assert "By year" not in told


@pytest.mark.parametrize(
    ("facts", "there", "absent"),
    [
        (
            [AudioFacts(seconds=60.0, peak=peak) for peak in (0.0, 0.1, 1.0)],
            "3.0 minutes of audio in 3",
            UNCHECKED,
        ),
        ([AudioFacts(seconds=3600.0, rms=0.1)], "low -20.0", UNCHECKED),
        ([AudioFacts(seconds=3600.0, peak=0.5)], "1.0 hours of audio in 1", UNCHECKED),
        ([], UNCHECKED, "Peak level"),
    ],
    ids=["minutes", "levels", "hours", "unchecked"],
)
def test_a_corpus_has_its_classes_speakers_durations_and_levels(
    facts: list[AudioFacts], there: str, absent: str, told_run: Write, page_of: PageOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    clips = {f"clip {row}": clip_of(row, {}) for row in range(20)}
    audio = CorpusAudio(clips, facts=dict(zip(clips, facts, strict=False)))
    monkeypatch.setattr("marsbench.report.page.find_audio", lambda *_: audio)
    page = page_of(told_run())
    section = re.search('<section id="corpora">.*?</section>', page, re.DOTALL)
    assert section
    told = without_tags(section[0])
    assert "20 clips, synthetic, licence:" in told
    assert "4 speakers, 4 to 6 tested clips each." in told
    assert "low 10 high 10" in told
    assert there in told
    assert absent not in told
    assert ("No map of features" in told) is bool(facts)


def test_the_page_says_the_share_of_takes_and_leads_with_the_stricter_view(
    told_run: Write, page_of: PageOf
) -> None:
    leakage = LeakageRecord(takes_shared=0.98)
    folder = told_run("a", settings={})
    run = folder.read_run()
    folder.write_run(
        run.model_copy(update={"protocol": run.protocol.model_copy(update={"leakage": leakage})})
    )
    other = RunFolder(Path("results") / run.corpus.name / "speaker5" / "b")
    other.write_run(run.model_copy(update={"run_id": "b", "protocol": BY_SPEAKER}))
    told = without_tags(page_of(folder))
    assert "98 % of test clips have another take of the same utterance in training" in told
    assert told.index("On new speakers (speaker5)") < told.index("Criteria:")
