"""The split that a corpus comes with, in its clips' attribute `split`: train, dev (validation) and test.

As published corpora are used: models train on train, stop early, are tuned and calibrated on dev, and are
scored on test, once. No clip of dev is trained on. Without dev, tuning and early stopping divide train.
"""

from collections import Counter

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.data.labels import SPLITS, split_of
from marsbench.errors import CorpusError, shown
from marsbench.protocols.protocol import SPEAKER, Definition, Fold, Rows, Splits


def _split(corpus: CheckedCorpus) -> Splits:
    values = [clip.attributes.get("split") for clip in corpus.clips]
    _require_values(corpus, values)
    parts = [None if value is None else split_of(value) for value in values]
    rows = {
        name: np.array([row for row, part in enumerate(parts) if part == name], np.int64) for name in SPLITS
    }
    _require_parts(corpus, rows)
    notes = []
    if missing := values.count(None):
        notes.append(f"{missing:,} clips left out: they name no split")
    if n_dev := len(rows["dev"]):
        notes.append(
            f"dev ({n_dev:,} clips) is what tuning, early stopping and calibration use; nothing trains on it"
        )
    fold = Fold(rows["train"], rows["test"], rows["dev"])
    return Splits((fold,), tuple(notes), SPEAKER if _are_apart(corpus, rows) else None)


def _require_values(corpus: CheckedCorpus, values: list[str | None]) -> None:
    if not any(values):
        raise CorpusError(
            "split needs clips that name their split: folders such as train/happy and test/happy, or a "
            f"column split in a table; those of corpus '{corpus.name}' name none. Use a protocol such as "
            "stratified5"
        )
    for value, count in Counter(value for value in values if value is not None).items():
        if split_of(value) is None:
            raise CorpusError(
                f"split: '{shown(value)}', of {count:,} clips of corpus '{corpus.name}', is none of train, "
                "dev (or validation) and test; name it so, or leave these clips out of the table"
            )


def _require_parts(corpus: CheckedCorpus, rows: dict[str, Rows]) -> None:
    """Refuse a split without train or test, and a part that has clips of one class alone."""
    there = [name for name, part in rows.items() if len(part)]
    for needed in ("train", "test"):
        if needed not in there:
            raise CorpusError(
                f"split needs clips of train and of test; corpus '{corpus.name}' has {', '.join(there)} "
                "alone. Use a protocol such as stratified5, which makes its own test clips"
            )
    for name in there:
        classes = np.unique(corpus.targets[rows[name]])
        if len(classes) < 2:
            raise CorpusError(
                f"split: all clips of {name} in corpus '{corpus.name}' are of class "
                f"'{corpus.labels[int(classes[0])]}'; at least two classes are needed there"
            )


def _are_apart(corpus: CheckedCorpus, rows: dict[str, Rows]) -> bool:
    """Whether all clips of train, dev and test have speakers, none of them in two parts."""
    speakers = [{corpus.speakers[row] for row in part.tolist()} for part in rows.values()]
    return None not in set().union(*speakers) and sum(map(len, speakers)) == len(set().union(*speakers))


PROTOCOLS = (Definition("split", "the corpus's own split into train, perhaps dev, and test", (), _split),)
