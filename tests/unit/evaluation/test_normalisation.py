"""Features standardised by all clips of a corpus or speaker."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.protocols import made_corpus
from marsbench.config import Normalise
from marsbench.data.corpus import CheckedCorpus
from marsbench.errors import CorpusError
from marsbench.evaluation.normalisation import Groups, aligned, groups_of, standardised
from marsbench.plugin.features import pad
from marsbench.plugin.registry import Recipe
from marsbench.protocols.apply import apply_protocol
from marsbench.results.keys import PipelineKey
from marsbench.runner.pipeline_job import Units

Bench = Callable[..., Any]


class File:
    """Arrays in the place of a feature file."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = arrays
        self.input_shape = arrays[0].shape

    def array(self, position: int) -> np.ndarray:
        return self.arrays[position]


def of_all(arrays: Sequence[np.ndarray], groups: Groups) -> np.ndarray:
    """Every clip's features, standardised and padded."""
    positions = np.arange(len(arrays))
    features = standardised(pad(list(arrays), None), cast("Any", File(arrays)), positions, groups)
    return features.values


def clips(groups: Sequence[int], seed: int, n_frames: Sequence[int] | None) -> list[np.ndarray]:
    """A clip for each group number, each group with a level and a spread of its own."""
    generator = np.random.default_rng(seed)
    shapes = [(3,)] * len(groups) if n_frames is None else [(n, 3) for n in n_frames]
    return [
        (10 * group + (1 + group) * generator.standard_normal(shape)).astype(np.float32)
        for group, shape in zip(groups, shapes, strict=True)
    ]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2), min_size=4, max_size=12), st.integers(0, 99), st.booleans())
def test_each_group_has_mean_0_and_deviation_1_over_its_real_frames(
    groups: list[int], seed: int, has_frames: bool
) -> None:
    groups = [0, 0, *(sorted({0, *groups}).index(group) for group in groups)]
    lengths = [2 + row % 3 for row in range(len(groups))] if has_frames else None
    arrays = clips(groups, seed, lengths)
    found = of_all(arrays, tuple(groups))
    for group in set(groups):
        rows = [row for row, one in enumerate(groups) if one == group]
        parts = [found[row][: lengths[row]] if lengths else found[row][None] for row in rows]
        frames = np.concatenate(parts)
        assert np.allclose(frames.mean(axis=0), 0, atol=1e-4)
        assert np.allclose(frames.std(axis=0), 1 if len(frames) > 1 else 0, atol=1e-3)
    if lengths:
        assert all(not found[row][n:].any() for row, n in enumerate(lengths))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2), min_size=4, max_size=12), st.integers(0, 99), st.booleans())
def test_aligned_groups_have_the_mean_and_deviation_of_all_and_a_single_vector_stays(
    groups: list[int], seed: int, has_frames: bool
) -> None:
    groups = [0, 0, *groups, 9]
    lengths = [2 + row % 3 for row in range(len(groups))] if has_frames else None
    arrays = clips(groups, seed, lengths)
    found = aligned(pad(arrays, None), np.array(groups)).values
    parts = [found[row][: lengths[row]] if lengths else found[row][None] for row in range(len(groups))]
    everything = np.concatenate([np.atleast_2d(array) for array in arrays])
    for group in set(groups):
        rows = [row for row, one in enumerate(groups) if one == group]
        frames = np.concatenate([parts[row] for row in rows])
        if len(frames) == 1:
            assert np.array_equal(frames[0], arrays[rows[0]])
        else:
            assert np.allclose(frames.mean(axis=0), everything.mean(axis=0), rtol=1e-3, atol=1e-2)
            assert np.allclose(frames.std(axis=0), everything.std(axis=0), rtol=1e-2)
    if lengths:
        assert all(not found[row][n:].any() for row, n in enumerate(lengths))


def test_a_dimension_that_is_constant_becomes_zero() -> None:
    arrays = [np.array([0.1, value], np.float32) for value in (1, 2, 3)]
    assert np.array_equal(of_all(arrays, (0, 0, 0))[:, 0], [0, 0, 0])


def named(corpus: CheckedCorpus, speakers: Sequence[str | None], corpora: Sequence[str]) -> CheckedCorpus:
    """The first clips of a corpus with other speakers and a corpus that each is from."""
    given = zip(corpus.clips, speakers, corpora, strict=False)
    made = tuple(replace(clip, speaker=who, attributes={"corpus": of}) for clip, who, of in given)
    return replace(corpus, clips=made)


@pytest.mark.parametrize(
    ("by", "groups"), [("corpus", (0, 0, 0, 1, 1)), ("speaker", (0, 0, 0, 1, 1)), (None, ())]
)
def test_parts_of_a_joined_corpus_are_groups_and_so_are_speakers_of_one_name_in_each(
    by: Normalise | None, groups: Groups
) -> None:
    assert groups_of(named(made_corpus(), "aaaaa", "xxxyy"), by) == groups


@pytest.mark.parametrize(
    ("speakers", "said"),
    [
        (["a", "a", None, None], "2 of 4 clips of .* have none"),
        (["a", "a", "b", "c"], r"2 have one \(b, c\)"),
    ],
)
def test_a_speaker_that_is_unknown_or_has_a_single_clip_is_refused(
    speakers: list[str | None], said: str
) -> None:
    corpus = named(made_corpus(), speakers, "xxxx")
    with pytest.raises(CorpusError, match=said):
        groups_of(corpus, "speaker")
    assert groups_of(corpus, "corpus") == (0, 0, 0, 0)


def test_every_fit_of_a_pipeline_those_of_tuning_too_uses_the_same_groups() -> None:
    corpus, protocol = made_corpus(), apply_protocol("stratified3", made_corpus())
    pipeline = SimpleNamespace(
        wants_validation=False,
        hyperparameters={},
        model=Recipe("m", {}, "", {}),
        normalise="speaker",
        versions=None,
    )
    units = Units(corpus, cast("Any", pipeline), 0, (), protocol.folds, (Path(),))
    fits = [units.outer(0, cast("Any", None)), *units.inner(0, cast("Any", None), 2, "macro_f1")[0]]
    assert {unit.standardised_in for unit in fits} == {groups_of(corpus, "speaker")}


def test_only_training_clips_are_aligned_by_speaker_in_every_fit() -> None:
    corpus, protocol = made_corpus(), apply_protocol("stratified3", made_corpus())
    recipe = Recipe("m", {}, "", {})
    pipeline = SimpleNamespace(
        wants_validation=True, hyperparameters={}, model=recipe, normalise="training-speakers", versions=None
    )
    units = Units(corpus, cast("Any", pipeline), 0, (), protocol.folds, (Path(),))
    groups = groups_of(corpus, "training-speakers")
    fits = [units.outer(0, cast("Any", None)), *units.inner(0, cast("Any", None), 2, "macro_f1")[0]]
    for unit in fits:
        assert unit.standardised_in == ()
        assert len(unit.validation)
        assert unit.aligned_in == tuple(groups[row] for row in unit.train)


def test_it_names_runs_and_inner_fits_and_nothing_else_changes_their_names() -> None:
    recipe = Recipe("tiny", {}, "", {})
    keys = [PipelineKey("p", recipe, recipe, {}, 0, 1, by) for by in (None, *get_args(Normalise))]
    assert keys[0] == PipelineKey("p", recipe, recipe, {}, 0, 1)
    assert len({key.run_id() for key in keys}) == 4
    assert len({key.tuning_fits("macro_f1") for key in keys}) == 4


def test_a_transductive_score_is_called_that_wherever_it_stands_and_is_not_exported(
    bench: Bench, kit: Path
) -> None:
    grid = ("--features", "crossings", "--model", "nearest_mean", "--data", "tones")
    words = (*grid, "--trials", "0", "--plugins", kit)
    assert bench("run", *words, "--normalise", "speaker").exit_code == 0
    assert bench("run", *words).exit_code == 0
    rows = json.loads(bench("leaderboard", "--json").stdout)
    assert sorted((str(row["normalise"]), row["transductive"]) for row in rows) == [
        ("None", False),
        ("speaker", True),
    ]
    (run_id,) = (row["run_id"] for row in rows if row["normalise"])
    said = "standardised per speaker (transductive)"
    for output in (("leaderboard",), ("leaderboard", "--markdown"), ("show", run_id)):
        printed = " ".join(bench(*output).stdout.split()).replace("\\", "")
        assert said in printed
        assert "test clips among them" in printed
    assert "--normalise speaker" in bench("show", run_id).stdout
    assert any(
        "transductive" in line for line in json.loads(bench("show", run_id, "--json").stdout)["warnings"]
    )
    assert bench("report", run_id, "--plugins", kit).exit_code == 0
    assert said in Path("report.html").read_text("utf-8")
    refused = bench("export", run_id, "--plugins", kit)
    assert refused.exit_code == 1
    assert (
        f"{run_id} cannot be exported: its features are standardised by all clips of each speaker"
        in refused.stderr
    )


def test_a_run_with_aligned_training_speakers_says_so_and_is_exported(bench: Bench, kit: Path) -> None:
    grid = ("--features", "crossings", "--model", "nearest_mean", "--data", "tones", "--plugins", kit)
    ran = bench("run", *grid, "--trials", "0", "--normalise", "training-speakers")
    assert ran.exit_code == 0, ran.stderr
    (row,) = json.loads(bench("leaderboard", "--json").stdout)
    assert "training speakers aligned" in bench("leaderboard", "--markdown").stdout
    assert "transductive" not in bench("show", row["run_id"]).stdout
    made = bench("export", row["run_id"], "--plugins", kit)
    assert made.exit_code == 0, made.stderr
