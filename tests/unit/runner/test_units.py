"""Which clips a fit is given, and which of them stay together."""

from itertools import chain, combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fixtures.protocols import made_corpus
from marsbench.data.corpus import CheckedCorpus
from marsbench.evaluation.fit import Unit
from marsbench.protocols.apply import apply_protocol
from marsbench.protocols.splitting import joint_value
from marsbench.runner.pipeline_job import Units

NAMES = ["stratified3", "speaker3", "loso", "utterance3", "statement2"]
PIPELINE = SimpleNamespace(
    wants_validation=True, model=SimpleNamespace(name="m"), hyperparameters={}, normalise=None, versions=None
)
FEATURES = cast("Any", None)


def made() -> CheckedCorpus:
    """Four takes of each of two statements; two clips are the same recording."""
    return made_corpus(n_takes=8, duplicates=[(0, 1)], attributes=lambda take: {"statement": str(take // 4)})


def units_of(name: str, corpus: CheckedCorpus) -> tuple[Units, list[Unit], list[Unit]]:
    """All fits under a protocol: those of tuning and of weights, which predict training clips; the others."""
    protocol = apply_protocol(name, corpus)
    units = Units(corpus, cast("Any", PIPELINE), 0, protocol.together, protocol.folds, (Path(),))
    folds = range(len(protocol.folds))
    inner = [
        unit
        for fold in folds
        for n_inner in (1, 3)
        for unit in (
            *units.inner(fold, FEATURES, n_inner, "macro_f1")[0],
            *units.for_holdout(fold, FEATURES, n_inner),
        )
    ]
    return units, inner, [units.whole(FEATURES), *(units.outer(fold, FEATURES) for fold in folds)]


@pytest.mark.parametrize("name", NAMES)
def test_clips_that_stay_together_are_in_one_part_of_every_fit(name: str) -> None:
    corpus = made()
    units, inner, others = units_of(name, corpus)
    groups = np.array([joint_value(clip, units.together or ("clip",)) for clip in corpus.clips])
    for unit in inner + others:
        parts = [unit.train, unit.validation, *([unit.test] if unit in inner else [])]
        used = list(chain(*parts))
        if len(np.unique(groups[used])) == 1:
            continue  # a single statement, which can only be divided
        assert all(set(groups[list(a)]).isdisjoint(groups[list(b)]) for a, b in combinations(parts, 2))
        assert all(len({0, 1} & set(part)) != 1 for part in parts if {0, 1} <= set(used))


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_is_told_which_of_its_training_clips_stay_together(name: str) -> None:
    corpus = made()
    units, inner, others = units_of(name, corpus)
    for unit in inner + others:
        told = dict(zip(unit.train, unit.train_groups, strict=True))
        for first, second in combinations(unit.train, 2):
            values = {joint_value(corpus.clips[row], units.together or ("clip",)) for row in (first, second)}
            assert (told[first] == told[second]) >= (len(values) == 1 or {first, second} == {0, 1})
        assert len(set(unit.train_groups)) >= (len(unit.train) - 1 if not units.together else 1)
