"""Random splits of clips with balanced classes: stratified2, stratified3, ... and holdout80."""

from typing import Any

from marsbench.data.corpus import CheckedCorpus
from marsbench.protocols.protocol import Definition, Family, Splits
from marsbench.protocols.splitting import all_rows, first_duplicates, recording_folds, require_clips

_SEED = 0


def stratified(n_folds: int) -> Definition:
    """`n_folds` folds of random clips, stratified by class; duplicates stay in one part."""
    name = f"stratified{n_folds}"

    def split(corpus: CheckedCorpus) -> Splits:
        from sklearn.model_selection import StratifiedKFold

        return _split(corpus, StratifiedKFold(n_folds, shuffle=True, random_state=_SEED), n_folds, name)

    return Definition(name, f"{n_folds} folds of clips at random, classes balanced", (), split)


def _holdout80(corpus: CheckedCorpus) -> Splits:
    from sklearn.model_selection import StratifiedShuffleSplit

    return _split(corpus, StratifiedShuffleSplit(1, test_size=0.2, random_state=_SEED), 5, "holdout80")


def _split(corpus: CheckedCorpus, splitter: Any, least: int, name: str) -> Splits:
    """Split recordings, of which every class needs `least`, by a splitter of scikit-learn."""
    rows = all_rows(corpus)
    require_clips(corpus, least, name, rows)
    targets = corpus.targets[first_duplicates(corpus, rows)]
    return Splits(tuple(recording_folds(corpus, rows, splitter.split(targets, targets))))


PROTOCOLS = (
    Family("stratified", stratified),
    Definition("holdout80", "one split, 80 % of clips for training, classes balanced", (), _holdout80),
)
