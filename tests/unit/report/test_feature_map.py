"""The map of features: what lies near what, and features that are in the store alone."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from marsbench.data.audio_validation import check_audio
from marsbench.data.corpus import AudioFacts, CheckedCorpus, Clip
from marsbench.features.store import FeatureStore
from marsbench.plugin.base import Dataset
from marsbench.plugin.registry import Recipe, discover
from marsbench.report import feature_map
from marsbench.report.feature_map import FeatureMap, map_features, nearest_phrase

CLASSES = ["low", "high"] * 20
SPEAKERS = [f"speaker {row // 2 % 5}" for row in range(40)]


@pytest.fixture
def corpus(kit: Path) -> CheckedCorpus:
    return check_audio(cast("Dataset", discover((kit,)).get("datasets", "tones").plugin.create({})).load())


def recipe(kit: Path, name: str) -> Recipe:
    return discover((kit,)).get("features", name).recipe({})


def pairs(corpus: CheckedCorpus) -> list[tuple[Clip, AudioFacts]]:
    return list(zip(corpus.clips, corpus.facts, strict=True))


def shown(corpus: CheckedCorpus, *recipes: Recipe) -> FeatureMap:
    found = map_features(recipes, pairs(corpus))
    assert found is not None
    return found


def clusters(names: list[str], rng: np.random.Generator) -> np.ndarray:
    """A dimension for each name, in which its clips lie apart."""
    return np.equal.outer(names, sorted(set(names))) * 10 + rng.normal(size=(len(names), len(set(names))))


@pytest.mark.parametrize(
    ("by", "told"),
    [
        (
            SPEAKERS,
            "same speaker for 100 % (by chance 20 %). Here speakers are told apart better than classes",
        ),
        (CLASSES, "of the same class for 100 % of clips (by chance 50 %)"),
        (CLASSES, "Here classes are told apart better than speakers."),
    ],
    ids=["speakers", "share", "classes"],
)
def test_what_lies_in_clusters_is_told_apart(by: list[str], told: str) -> None:
    values = clusters(by, np.random.default_rng(0))
    assert told in nearest_phrase(values, CLASSES, SPEAKERS)


@pytest.mark.parametrize("speakers", [[None] * 40, ["one"] * 40], ids=["unknown", "one"])
def test_without_two_speakers_only_classes_are_told_of(speakers: list[str | None]) -> None:
    values = clusters(CLASSES, np.random.default_rng(0))
    phrase = nearest_phrase(values, CLASSES, speakers)
    assert phrase == "The nearest clip is of the same class for 100 % of clips (by chance 49 %)."
    assert nearest_phrase(values, ["low"] * 40, speakers) == ""


@pytest.mark.parametrize(("name", "is_mean"), [("blocks", True), ("crossings", False)])
def test_stored_features_are_drawn_by_class_and_by_speaker(
    kit: Path, corpus: CheckedCorpus, name: str, is_mean: bool
) -> None:
    FeatureStore(recipe(kit, name), (kit,)).features_of(corpus)
    found = shown(corpus, recipe(kit, "slow_crossings"), recipe(kit, name))
    assert (found.features, found.is_mean, found.n_shown, found.n_clips) == (name, is_mean, 30, 30)
    assert [one.by for one in found.colourings] == ["class", "speaker"]
    assert list(found.colourings[0].names.values()) == sorted(corpus.labels)
    assert all(one.plot.count("h0") == 30 for one in found.colourings)


def test_features_that_are_not_stored_or_of_too_few_clips_are_no_map(
    kit: Path, corpus: CheckedCorpus
) -> None:
    wanted = recipe(kit, "crossings")
    assert map_features([wanted], pairs(corpus)) is None
    FeatureStore(wanted, (kit,)).features_of(corpus)
    assert map_features([wanted], pairs(corpus)[:2]) is None
    assert map_features([], pairs(corpus)) is None


@pytest.mark.parametrize("damage", ["cut", "nan", "index"])
def test_a_damaged_file_of_features_is_no_crash(kit: Path, corpus: CheckedCorpus, damage: str) -> None:
    path = FeatureStore(recipe(kit, "crossings"), (kit,)).features_of(corpus).path
    whole = path.read_bytes()
    if damage == "index":
        path.with_suffix(".json").write_text("{")
    else:
        path.write_bytes(whole[:-8] if damage == "cut" else b"\xff" * len(whole))
    found = map_features([recipe(kit, "crossings")], pairs(corpus))
    assert (found is None) is (damage != "nan")


def test_of_many_clips_some_are_drawn_the_same_ones_each_time(
    kit: Path, corpus: CheckedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_map, "MOST_POINTS", 10)
    FeatureStore(recipe(kit, "crossings"), (kit,)).features_of(corpus)
    found = shown(corpus, recipe(kit, "crossings"))
    assert (found.n_shown, found.n_clips) == (10, 30)
    assert found == shown(corpus, recipe(kit, "crossings"))


def test_clips_without_speakers_have_one_colouring(kit: Path, corpus: CheckedCorpus) -> None:
    FeatureStore(recipe(kit, "crossings"), (kit,)).features_of(corpus)
    unknown = replace(corpus, clips=tuple(replace(clip, speaker=None) for clip in corpus.clips))
    assert [one.by for one in shown(unknown, recipe(kit, "crossings")).colourings] == ["class"]
