"""What a dataset plugin is."""

from pathlib import Path
from typing import ClassVar

from marsbench.data.corpus import Corpus
from marsbench.data.download import Archive
from marsbench.plugin.base import Plugin


class Dataset(Plugin):
    """Names a corpus's clips and their labels; opens no audio.

    A dataset that can be read from a folder or file of the user's takes it as parameter `root` (text) and
    says by `recognises` whether a path looks like its own.
    """

    archives: ClassVar[tuple[Archive, ...]] = ()
    """What `bench data fetch` downloads and unpacks; empty if there is nothing to fetch."""

    fallback: ClassVar[bool] = False
    """Whether it is asked only about paths that no other dataset recognises."""

    def load(self) -> Corpus:
        """Make the clip table; raises CorpusError where the files are not there or not as expected."""
        raise NotImplementedError

    @classmethod
    def recognises(cls, path: Path) -> bool:  # noqa: ARG003 - for subclasses to look at
        """Whether `--data PATH` should be read by this plugin; cheap, opens no audio."""
        return False
