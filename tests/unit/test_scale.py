"""What large corpora need: equal results by means that grow no faster than the clips."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from fixtures.results import made
from marsbench.data.corpus import AudioFacts, CheckedCorpus, Clip, Corpus
from marsbench.data.voices import voices_of
from marsbench.evaluation import scoring
from marsbench.evaluation.predictions import Decisions, Predictions
from marsbench.evaluation.scoring import drawn, score_predictions, sums_by_cluster, ways_to_draw
from marsbench.evaluation.selection_bias import bias_of_best
from marsbench.evaluation.significance import differences
from marsbench.hashing import canonical_json, digest, digest_with_rows
from marsbench.protocols import splitting
from marsbench.protocols.apply import _as_json, apply_protocol
from marsbench.protocols.protocol import Fold
from marsbench.protocols.splitting import all_rows, first_duplicates, groups_of
from marsbench.report.terminal.runs import confusion
from marsbench.results.plots import _draw

LABELS = ("a", "b", "c")


def corpus_of(speakers: Sequence[str], contents: Sequence[str]) -> CheckedCorpus:
    clips = tuple(
        Clip(f"{row:06}", Path(f"/made-up/{row}.wav"), LABELS[row % 3], speaker, {"statement": str(row % 7)})
        for row, speaker in enumerate(speakers)
    )
    facts = tuple(AudioFacts(content, content, 8000, 1, 1.0) for content in contents)
    return CheckedCorpus(Corpus("made-up", LABELS, clips), clips, facts)


@given(pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12)), min_size=3, max_size=40))
@settings(max_examples=40, deadline=None)
def test_clips_are_in_one_group_if_a_chain_of_speakers_and_recordings_connects_them(
    pairs: list[tuple[int, int]],
) -> None:
    corpus = corpus_of([f"s{speaker}" for speaker, _ in pairs], [f"c{content}" for _, content in pairs])
    connected = [{row} for row in range(len(pairs))]
    for _ in pairs:
        for row, pair in enumerate(pairs):
            for other, another in enumerate(pairs):
                if pair[0] == another[0] or pair[1] == another[1]:
                    connected[row] = connected[row] | connected[other]
    groups = groups_of(corpus, all_rows(corpus), ("speaker",))
    assert [set(np.flatnonzero(groups == number).tolist()) for number in groups] == connected
    firsts = {content: row for row, (_, content) in reversed(list(enumerate(pairs)))}
    assert first_duplicates(corpus, all_rows(corpus)).tolist() == sorted(firsts.values())


@given(parts=st.lists(st.sampled_from(["train", "test", "dev", "out"]), max_size=30))
@settings(max_examples=40, deadline=None)
def test_folds_are_hashed_as_their_lists_of_rows(parts: list[str]) -> None:
    train, test, dev = (np.flatnonzero(np.array(parts) == part) for part in ("train", "test", "dev"))
    rows = [one.tolist() for one in (train, test, dev)]
    assert [one.tolist() for one in (Fold(train, test).train, Fold(train, test).dev)] == [rows[0], []]
    folds = [Fold(train, test, dev), Fold(test, train)]
    assert [fold.n_train for fold in folds] == [len(rows[0]), len(rows[1])]
    written = [rows if rows[2] else rows[:2], [rows[1], rows[0]]]
    assert list(_as_json(folds, len(parts))) == list(map(canonical_json, written))


@pytest.mark.parametrize("behind", [[], ["by_speaker"], [["label", "statement"]]], ids=str)
@pytest.mark.parametrize("before", [[], ["é", 1]], ids=str)
@pytest.mark.parametrize("rows", [[], [[0, 1]], [{"b": 1, "a": None}, [], "é"]], ids=str)
def test_rows_that_come_one_by_one_are_hashed_as_the_whole_list_is(
    before: list[object], rows: list[object], behind: list[object]
) -> None:
    assert digest_with_rows(before, iter(rows), behind) == digest([*before, rows, *behind])


@given(
    pairs=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=2, max_size=60),
    n_folds=st.integers(2, 5),
    seed=st.integers(0, 9),
    cells=st.sampled_from([1, 1 << 17]),
)
@settings(max_examples=60, deadline=None)
def test_whole_groups_are_divided_into_the_folds_of_scikit_learn(
    pairs: list[tuple[int, int]], n_folds: int, seed: int, cells: int
) -> None:
    of_each = [(group, target) for target in {target for _, target in pairs} for group in (0, 1)]
    groups, targets = np.array(pairs + of_each).T
    n_folds = min(n_folds, len(np.unique(groups)), *np.unique(targets, return_counts=True)[1])
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    expected = [test.tolist() for _, test in splitter.split(targets, targets, groups)]
    if not all(expected):  # a fold is empty
        expected = [test.tolist() for _, test in GroupKFold(n_folds).split(targets, targets, groups)]
    rows = np.arange(len(groups)) * 3 + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "_CELLS", cells)
        folds = list(splitting.balanced_folds(rows, targets, groups, n_folds, seed))
    assert [fold.test.tolist() for fold in folds] == [rows[test].tolist() for test in expected]
    for fold in folds:
        assert fold.train.tolist() == np.setdiff1d(rows, fold.test).tolist()


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([None, "s0", "s1", "s2", "s3"])), min_size=1, max_size=40
    )
)
@settings(max_examples=60, deadline=None)
def test_voices_tell_what_each_class_held_against_all_others_tells(
    pairs: list[tuple[int, str | None]],
) -> None:
    counts = np.zeros((4, 3))
    for target, speaker in pairs:
        if speaker is not None:
            counts[int(speaker[1]), target] += 1
    totals, shares = np.maximum(counts.sum(axis=0), 1), np.zeros(3)
    for target in range(3):
        lifts = (counts - np.eye(3)[target]) / totals
        rivals = np.delete(lifts, target, axis=1).max(axis=1, initial=0)
        shares[target] = counts[lifts[:, target] > rivals, target].sum() / totals[target]
    expected = shares[counts.sum(axis=0) > 0].mean() if counts.any() else 0
    targets, speakers = zip(*pairs, strict=True)
    assert voices_of(targets, speakers, LABELS).told == pytest.approx(expected)


def contenders(speakers: Sequence[str]) -> list[list[Predictions]]:
    targets = np.arange(120) % 3
    folds, random = np.arange(120) // 3 % 5, np.random.default_rng(0)
    each = [random.random((120, 3)) + np.eye(3)[targets] * skill for skill in (0.3, 0.5, 0.6, 0.9)]
    one, *pair, other = (made(targets, p / p.sum(axis=1, keepdims=True), folds, speakers) for p in each)
    return [[one], pair, [other]]


@pytest.mark.parametrize("n_speakers", [5, 12])
def test_rows_are_compared_by_their_decisions_as_by_their_probabilities(n_speakers: int) -> None:
    full = contenders([f"s{row % n_speakers}" for row in range(120)])
    first = Decisions.of(full[0][0])
    small = [[Decisions.of(seed, [first]) for seed in seeds] for seeds in full]
    assert all(seed.clips is first.clips for seeds in small for seed in seeds)
    assert differences(small) == differences(full)
    assert bias_of_best(small) == bias_of_best(full)


def test_draws_in_smaller_blocks_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    ((one,), *_) = full = contenders([f"s{row % 12}" for row in range(120)])
    scores, pairs = score_predictions(one), differences(full)
    monkeypatch.setattr(scoring, "_CELLS", 12 * 7)
    assert score_predictions(one) == scores
    assert differences(full) == pairs


@pytest.mark.parametrize("n_speakers", [3, 12, 120, 400])
def test_kept_and_dense_draws_are_the_sparse_ones(n_speakers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    speakers = [f"s{row % n_speakers}" for row in range(120)]
    (one,), *_ = contenders(speakers)
    by_speaker = ways_to_draw(speakers)[0]
    dense = sums_by_cluster(one, by_speaker)
    found = drawn(dense).sums
    monkeypatch.setattr(scoring, "_KEPT", 0)
    columns = np.concatenate([one.targets[one.correct], 3 + one.targets, 6 + one.predicted])
    rows = np.concatenate([by_speaker[one.correct], by_speaker, by_speaker])
    sparse = csr_array((np.ones(len(rows), np.int64), (rows, columns)), dense.shape)
    assert (dense.toarray() == sparse.toarray()).all()
    expected = np.concatenate([block @ sparse for block in scoring.draw_blocks(dense.shape[0])])
    assert found.dtype == expected.dtype
    assert (found.reshape(expected.shape) == expected).all()


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


@pytest.mark.parametrize("protocol", ["speaker5", "stratified5", "utterance5"])
def test_four_times_the_clips_are_split_in_about_four_times_the_time(protocol: str) -> None:
    def split(n_clips: int) -> float:
        speakers = [f"s{row // 3 % (n_clips // 40)}" for row in range(n_clips)]
        corpus = corpus_of(speakers, [f"c{row - row % 6 % 2}" for row in range(n_clips)])
        return seconds(lambda: apply_protocol(protocol, corpus))

    split(400)  # imports
    assert split(16_000) < 9 * max(split(4_000), 0.05)


@pytest.mark.parametrize("n_classes", [40, 41, 500])
def test_of_many_classes_those_that_are_confused_most_are_shown(n_classes: int) -> None:
    labels = [f"c{number:03}" for number in range(n_classes)]
    targets = np.arange(3 * n_classes) % n_classes
    given = targets.copy()
    given[[7, n_classes + 7]] = 9  # two of three clips
    given[11] = 12
    metrics = score_predictions(made(targets, np.eye(n_classes)[given], labels=labels))
    pairs = [(one.label, one.predicted, one.n_clips) for one in metrics.most_confused()]
    assert pairs == ([] if n_classes == 40 else [("c007", "c009", 2), ("c011", "c012", 1)])
    assert len(confusion(metrics).columns) == (41 if n_classes == 40 else 4)
    figure = _draw(labels, np.array(metrics.confusion), np.eye(n_classes))
    assert max(figure.get_size_inches()) < 30
