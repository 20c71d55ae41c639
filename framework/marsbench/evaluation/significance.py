"""Significance of the differences between pipelines that were tested on the same clips.

Two sources of chance need two tests. The choice of clips or speakers: a paired bootstrap of whole speakers,
all pipelines scored on the same draws. The choice of training clips: the differences fold by fold, by the
corrected resampled t-test (Nadeau & Bengio 2003, Machine Learning 52, 239-281), which allows for training
sets that overlap.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from math import sqrt
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

from marsbench.evaluation.formulas import Confusion, confusion_of
from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.evaluation.predictions import Decisions, Predictions
from marsbench.evaluation.scores import Score
from marsbench.evaluation.scoring import draw_blocks, drawn_sums, interval, sums_by_cluster, ways_to_draw

ALPHA = 0.05
Pair = tuple[int, int]
"""Positions of two contenders, the lower one first."""


@dataclass(frozen=True)
class Difference:
    """The ranking metric of the first configuration minus that of the second."""

    score: Score
    p_clips: float
    """Two-sided p: a difference as large by the draw of clips or speakers alone."""
    p_folds: float | None
    """Two-sided p: a difference as large by training on other clips; None with a single fold."""
    shown_by_folds: float | None = None
    """The smallest difference for which `p_folds` would be below 0.05; None with a single fold."""

    def is_real(self, alpha: float = ALPHA) -> bool:
        """Whether neither source of chance explains it; `alpha`, such as Holm's, is the bound for `p_clips`.

        That of `p_folds` is always 0.05, since a few folds cannot show more.
        """
        return self.p_clips < alpha and (self.p_folds is None or self.p_folds < ALPHA)


def differences(contenders: Sequence[Sequence[Predictions | Decisions]]) -> dict[Pair, Difference]:
    """Every pair's difference, by the contenders' positions.

    Args:
        contenders: each configuration's predictions, one for each of its seeds; all of the same clips in the
            same order.
    """
    clips = contenders[0][0]
    scores = [np.mean([_scores(seed) for seed in seeds], axis=0) for seeds in contenders]
    share = _test_share(clips)
    ways = [_drawn_scores(contenders, cluster_of) for cluster_of in ways_to_draw(clips.speakers)]
    return {
        (a, b): _difference(scores[a] - scores[b], share, [(drawn[a] - drawn[b], n) for drawn, n in ways])
        for a, b in combinations(range(len(contenders)), 2)
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Bounds that p values must be below, so that the probability of any false rejection is at most 0.05.

    Holm (1979), Scandinavian Journal of Statistics 6, 65-70; 0 for all p after the first that is not below.
    """
    bounds = [0.0] * len(p_values)
    for step, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        bounds[position] = ALPHA / (len(p_values) - step)
        if p_values[position] >= bounds[position]:
            break
    return bounds


def separated(found: dict[Pair, Difference]) -> tuple[set[Pair], set[Pair]]:
    """The pairs that differ significantly, and those that the draw of clips alone would separate.

    Holm's correction over all pairs is applied to the draw of clips. Of the second kind of pair the folds
    are too few, or differ too much, to confirm the difference.
    """
    bounds = dict(zip(found, holm([difference.p_clips for difference in found.values()]), strict=True))
    by_clips = {pair for pair, difference in found.items() if difference.p_clips < bounds[pair]}
    by_both = {pair for pair in by_clips if found[pair].is_real(bounds[pair])}
    return by_both, by_clips - by_both


def compact_letters(n: int, different: AbstractSet[Pair]) -> list[list[str]]:
    """Letters of each of `n` contenders: two share one if and only if their pair is not in `different`.

    The compact letter display of Piepho (2004), Journal of Computational and Graphical Statistics 13,
    456-466, by clique growing (Gramm et al. 2008, Computational Statistics & Data Analysis 52, 725-736). The
    letters follow the order of the contenders; behind z come a1, b1 and so on.
    """
    equal = [pair for pair in combinations_with_replacement(range(n), 2) if pair not in different]
    groups: list[set[int]] = []
    for pair in equal:
        if not any(group.issuperset(pair) for group in groups):
            groups.append(set(pair))
            for other in range(n):
                if not any((min(one, other), max(one, other)) in different for one in groups[-1]):
                    groups[-1].add(other)
    for group in groups.copy():
        others = [other for other in groups if other is not group]
        if _are_covered((pair for pair in equal if group.issuperset(pair)), others):
            groups = others
    names = [f"{ascii_lowercase[index % 26]}{index // 26 or ''}" for index in range(len(groups))]
    return [[name for name, group in zip(names, groups, strict=True) if one in group] for one in range(n)]


def _are_covered(pairs: Iterable[Pair], groups: Sequence[set[int]]) -> bool:
    return all(any(group.issuperset(pair) for group in groups) for pair in pairs)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p that two classifiers are right equally often, by the clips on which one alone is right.

    The exact test of McNemar (1947), Psychometrika 12, 153-157; it treats clips as independent.
    """
    from scipy.special import bdtr  # that of scipy.stats takes a second to import

    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def friedman(ranks: NDArray[np.float64]) -> tuple[float, float]:
    """P that all contenders are equally good on any data set, and the critical difference of mean ranks.

    Two whose mean ranks differ by more are different at 5 %. The test of Iman and Davenport (1980) on
    Friedman's ranks and that of Nemenyi (1963), as Demsar (2006), Journal of Machine Learning Research 7,
    1-30, section 3.2.2, gives them for classifiers on many data sets.

    Args:
        ranks: of each contender on each data set, equal scores sharing the mean of theirs,
            (n_data_sets, n_contenders), at least two of each.
    """
    from scipy.special import fdtrc
    from scipy.stats import studentized_range

    n, k = ranks.shape
    chi2 = 12 * n / (k * (k + 1)) * (float((ranks.mean(axis=0) ** 2).sum()) - k * (k + 1) ** 2 / 4)
    rest = n * (k - 1) - chi2
    p = float(fdtrc(k - 1, (k - 1) * (n - 1), (n - 1) * chi2 / rest)) if rest > 0 else 0.0
    q = float(studentized_range.ppf(1 - ALPHA, k, np.inf)) / sqrt(2)
    return p, q * sqrt(k * (k + 1) / (6 * n))


def corrected_t(by_fold: NDArray[np.float64], test_share: float) -> tuple[float | None, float | None]:
    """Two-sided p that the mean of differences by fold is zero, and from which mean on it is below 0.05.

    Both are None for a single fold.

    Args:
        by_fold: differences, (n_folds,).
        test_share: tested over training clips of a fold: the correction for overlapping training sets.
    """
    from scipy.special import stdtrit

    n_folds = len(by_fold)
    if n_folds < 2:
        return None, None
    deviation = float(by_fold.std(ddof=1)) * sqrt(1 / n_folds + test_share)
    shown = float(-stdtrit(n_folds - 1, ALPHA / 2)) * deviation
    return _student(float(by_fold.mean()), deviation, n_folds), shown


def _scores(predictions: Predictions | Decisions) -> NDArray[np.float64]:
    """The ranking metric of all clips, then that of each fold's, (1 + n_folds,)."""
    targets, predicted, n_classes = predictions.targets, predictions.predicted, predictions.n_classes
    order = np.argsort(predictions.folds, kind="stable")
    _, starts = np.unique(predictions.folds[order], return_index=True)
    parts = [order, *np.split(order, starts[1:])]
    matrices = (confusion_of(targets[rows], predicted[rows], n_classes) for rows in parts)
    return np.array([float(METRICS[RANKED_BY].of(matrix)) for matrix in matrices])


def _test_share(predictions: Predictions | Decisions) -> float:
    """Tested clips of a fold over its training clips, mean over folds."""
    _, sizes = np.unique(predictions.folds, return_counts=True)
    return float(np.mean(sizes / np.maximum(len(predictions.clips) - sizes, 1)))


def _drawn_scores(
    contenders: Sequence[Sequence[Predictions | Decisions]], cluster_of: NDArray[np.int64]
) -> tuple[NDArray[np.float64], int]:
    """The ranking metric of all contenders on the same draws, (n_contenders, n_draws); number of clusters."""
    ranked_by = METRICS[RANKED_BY]
    counted = [[sums_by_cluster(seed, cluster_of) for seed in seeds] for seeds in contenders]
    n_clusters = int(counted[0][0].shape[0])
    blocks = []
    for block in draw_blocks(n_clusters):  # of many clips, drawing takes longest: once for all contenders
        found = [
            [Confusion(drawn_sums(block, one).reshape(len(block), 3, -1)) for one in seeds]
            for seeds in counted
        ]
        blocks.append([np.mean([ranked_by.of(one) for one in seeds], axis=0) for seeds in found])
    return np.concatenate(blocks, axis=1), n_clusters


def _difference(
    gaps: NDArray[np.float64], test_share: float, ways: list[tuple[NDArray[np.float64], int]]
) -> Difference:
    """What `gaps`, of all clips and of each fold, come to beside those of the draws by each way."""
    value = float(gaps[0])
    p_folds, shown_by_folds = corrected_t(gaps[1:], test_share)
    return Difference(
        score=interval(value, ways),
        p_clips=max(_student(value, float(drawn.std()) * sqrt(n / max(1, n - 1)), n) for drawn, n in ways),
        p_folds=p_folds,
        shown_by_folds=shown_by_folds,
    )


def _student(value: float, deviation: float, n: int) -> float:
    """Two-sided p of a mean of `n` values with its standard error."""
    from scipy.special import stdtr

    if value == 0:
        return 1.0
    return float(2 * stdtr(max(1, n - 1), -abs(value) / deviation)) if deviation > 0 else 0.0
