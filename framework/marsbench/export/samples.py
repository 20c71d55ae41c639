"""Clips that go with a bundle, for it to be checked by."""

from collections.abc import Iterator

from marsbench.audio import decode, read_bytes
from marsbench.bundle.files import Sample
from marsbench.corpus import CheckedCorpus


def golden_samples(corpus: CheckedCorpus) -> Iterator[Sample]:
    """The first clip of each class, in the order of the classes."""
    first = {clip.label: clip for clip in reversed(corpus.clips)}
    for label in corpus.labels:
        yield Sample(first[label].id, label, decode(read_bytes(first[label].path)))
