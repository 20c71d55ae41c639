"""The split that a corpus comes with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fixtures.protocols import LABELS, checked
from marsbench.data.corpus import CheckedCorpus, Clip
from marsbench.errors import ConfigError, CorpusError
from marsbench.protocols.apply import apply_protocol
from marsbench.protocols.protocol_file import write_protocol_file
from marsbench.runner.pipeline_job import Units

FEATURES = cast("Any", None)


def corpus_of(
    parts: Sequence[str | None], duplicates: Sequence[tuple[int, int]] = (), *, apart: bool = True
) -> CheckedCorpus:
    """One clip of each class by each of two speakers in every part."""
    clips = [
        Clip(
            f"{number}-{speaker}-{label}",
            Path(),
            label,
            f"{number * apart}-{speaker}",
            {} if part is None else {"split": part},
        )
        for number, part in enumerate(parts)
        for speaker in range(2)
        for label in LABELS
    ]
    return checked(clips, duplicates=duplicates)


def units_of(corpus: CheckedCorpus, *, wants_validation: bool) -> Units:
    pipeline = SimpleNamespace(
        wants_validation=wants_validation,
        model=SimpleNamespace(name="m"),
        hyperparameters={},
        normalise=None,
        versions=None,
    )
    protocol = apply_protocol("split", corpus)
    return Units(corpus, cast("Any", pipeline), 0, protocol.together, protocol.folds, (Path(),))


@pytest.mark.parametrize(
    ("train", "dev", "test"),
    [
        ("train", "dev", "test"),
        ("Training", "Validation", "Testing"),
        ("trainset", "val", "eval"),
        ("train_1", "devel", "test2"),
    ],
)
def test_clips_are_in_the_part_that_they_name(train: str, dev: str, test: str) -> None:
    applied = apply_protocol("split", corpus_of([test, train, dev, None, train]))
    (fold,) = applied.folds

    assert [rows.tolist() for rows in (fold.test, fold.train, fold.dev)] == [
        list(range(6)),
        [*range(6, 12), *range(24, 30)],
        list(range(12, 18)),
    ]
    assert "6 clips left out: they name no split" in applied.notes
    assert (
        "dev (6 clips) is what tuning, early stopping and calibration use; nothing trains on it"
        in applied.notes
    )


@pytest.mark.parametrize("wants_validation", [True, False])
def test_only_dev_is_used_to_tune_to_stop_early_and_to_weigh(wants_validation: bool) -> None:
    corpus = corpus_of(["train", "dev", "test"])
    units = units_of(corpus, wants_validation=wants_validation)
    train, dev, test = (tuple(range(start, start + 6)) for start in (0, 6, 12))
    outer = units.outer(0, FEATURES)
    inner, targets = units.inner(0, FEATURES, 3, "macro_f1")

    np.testing.assert_array_equal([outer.train, outer.validation, outer.test], [train, dev, test])
    np.testing.assert_array_equal(
        [(unit.train, unit.validation, unit.test) for unit in inner], [(train, dev, dev)]
    )
    np.testing.assert_array_equal([unit.test for unit in units.for_holdout(0, FEATURES, 3)], [dev])
    np.testing.assert_array_equal(targets, [corpus.targets[list(dev)]])
    assert all(unit.validation_is_dev for unit in (outer, *inner))


def test_without_dev_train_is_divided() -> None:
    corpus = corpus_of(["train", "train", "train", "test"])
    units = units_of(corpus, wants_validation=True)
    outer = units.outer(0, FEATURES)
    inner, _ = units.inner(0, FEATURES, 3, "macro_f1")

    assert sorted([*outer.train, *outer.validation]) == list(range(18))
    assert len(outer.validation)
    assert len(inner) == 3
    assert not any(unit.validation_is_dev for unit in (outer, *inner))


@pytest.mark.parametrize(("apart", "expected"), [(True, ("speaker",)), (False, ())])
def test_speakers_stay_together_inside_where_the_split_keeps_them_apart(
    apart: bool, expected: tuple[str, ...]
) -> None:
    applied = apply_protocol("split", corpus_of(["train", "dev", "test"], apart=apart))
    assert applied.together == expected
    assert any("share 2 speaker" in note for note in applied.notes) is not apart


def test_duplicates_of_test_and_dev_are_not_trained_on() -> None:
    corpus = corpus_of(["train", "dev", "test"], duplicates=[(0, 12), (1, 7), (8, 14)])
    applied = apply_protocol("split", corpus)
    (fold,) = applied.folds

    assert (fold.train.tolist(), fold.dev.tolist()) == ([2, 3, 4, 5], [6, 7, 9, 10, 11])
    assert len(fold.test) == 6
    (note,) = [note for note in applied.notes if note.startswith("duplicates of")]
    assert note.startswith("duplicates of test or dev clips left out of training")
    assert applied.hash != apply_protocol("split", corpus_of(["train", "dev", "test"])).hash


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([None, None], "split needs clips that name their split: folders such as .* name none"),
        (["train", "dev"], "split needs clips of train and of test; corpus 'made' has train, dev alone"),
        (["test"], "split needs clips of train and of test; corpus 'made' has test alone"),
        (["train", "test", "spare"], "split: 'spare', of 6 clips of corpus 'made', is none of train, dev"),
    ],
)
def test_what_is_no_split_is_one_line(parts: list[str | None], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        apply_protocol("split", corpus_of(parts))


@pytest.mark.parametrize("part", ["train", "dev", "test"])
def test_a_part_with_one_class_is_refused(part: str) -> None:
    corpus = corpus_of(["train", "dev", "test"])
    clips = tuple(
        clip if clip.attributes["split"] != part or clip.label == "a" else replace(clip, attributes={})
        for clip in corpus.clips
    )
    with pytest.raises(CorpusError, match=f"split: all clips of {part} in corpus 'made' are of class 'a'"):
        apply_protocol("split", replace(corpus, clips=clips))


def test_a_protocol_file_cannot_say_what_dev_is(tmp_path: Path) -> None:
    corpus = corpus_of(["train", "dev", "test"])
    with pytest.raises(ConfigError, match="split cannot be written to a file"):
        write_protocol_file(tmp_path / "x.json", apply_protocol("split", corpus), corpus)
