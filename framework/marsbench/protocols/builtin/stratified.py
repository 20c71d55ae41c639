"""Random splits of clips with balanced classes: stratified2, stratified3, ... and holdout80."""

from marsbench.data.corpus import CheckedCorpus
from marsbench.protocols.protocol import Definition, Family, Splits
from marsbench.protocols.speaker_groups import all_rows, first_duplicates, require_clips, split_recordings

_SEED = 0


def stratified(n_folds: int) -> Definition:
    """`n_folds` folds of random clips, stratified by class; duplicates stay in one part."""

    def split(corpus: CheckedCorpus) -> Splits:
        from sklearn.model_selection import StratifiedKFold

        require_clips(corpus, n_folds, f"stratified{n_folds}")
        rows = first_duplicates(corpus, all_rows(corpus))
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=_SEED)
        return split_recordings(corpus, rows, splitter.split(rows, corpus.targets[rows]))

    description = f"{n_folds} folds of clips at random, classes balanced"
    return Definition(f"stratified{n_folds}", description, by_speaker=False, split=split)


def _holdout80(corpus: CheckedCorpus) -> Splits:
    from sklearn.model_selection import StratifiedShuffleSplit

    require_clips(corpus, 5, "holdout80")
    rows = first_duplicates(corpus, all_rows(corpus))
    splitter = StratifiedShuffleSplit(1, test_size=0.2, random_state=_SEED)
    return split_recordings(corpus, rows, splitter.split(rows, corpus.targets[rows]))


PROTOCOLS = (
    Family("stratified", stratified, listed=5),
    Definition("holdout80", "one split, 80 % of clips for training, classes balanced", False, _holdout80),
)
