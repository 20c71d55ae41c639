"""Base of dataset plugins."""

from pathlib import Path
from typing import ClassVar

from marsbench.data.corpus import Corpus
from marsbench.data.download import Archive
from marsbench.plugin.base import Plugin


class Dataset(Plugin):
    """Lists the clips of a corpus and their labels, without opening audio.

    A dataset that is read from a folder or file has a parameter `root` (its path as text) and implements
    `recognises`.
    """

    archives: ClassVar[tuple[Archive, ...]] = ()
    """Archives that `bench data fetch` downloads and unpacks."""

    fallback: ClassVar[bool] = False
    """Whether the dataset is used only for paths that no other dataset recognises."""

    def load(self) -> Corpus:
        """List the clips; raises CorpusError if files are missing or not as expected."""
        raise NotImplementedError

    @classmethod
    def recognises(cls, path: Path) -> bool:  # noqa: ARG003 - for subclasses
        """Whether `--data PATH` should use this plugin; must be fast and open no audio."""
        return False
