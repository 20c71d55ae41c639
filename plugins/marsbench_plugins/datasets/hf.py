"""Data sets of the Hugging Face Hub, through the package `datasets`: --data hf:NAME."""

from dataclasses import dataclass, replace
from typing import Any

from marsbench.data.corpus import Corpus
from marsbench.data.tables import table_of_dataset
from marsbench.environment import install_hint
from marsbench.errors import ConfigError, CorpusError, with_type
from marsbench.hashing import slug
from marsbench.plugin.base import Dataset
from marsbench_plugins.datasets.folder import Folder


@dataclass
class HuggingFace(Dataset):
    """A data set of the Hugging Face Hub with a column of audio; all its splits, or one.

    `source` is its name there (OWNER/NAME), or a folder that `datasets.load_dataset` reads; `config` one of
    its configurations, `revision` a commit, tag or branch. Its audio is written once, below MARSBENCH_HOME;
    columns other than audio are read as those of a table.
    """

    source: str = ""
    config: str = ""
    split: str = ""
    revision: str = ""

    def load(self) -> Corpus:
        """List the clips, downloaded on the first call.

        Raises:
            ConfigError: the package `datasets` is missing.
            CorpusError: no source, it cannot be loaded, or it has no column of audio.
        """
        if not self.source:
            raise CorpusError("hf needs the name of a data set: use --data hf:OWNER/NAME")
        own = Folder(str(table_of_dataset(self._loaded())))
        own.reading = self.reading
        return replace(own.load(), name=slug(self.source))

    def _loaded(self) -> Any:
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise ConfigError(f"hf needs the package 'datasets': {install_hint('hf')}") from error
        asked = {"name": self.config, "split": self.split, "revision": self.revision}
        try:
            return load_dataset(self.source, **{key: value for key, value in asked.items() if value})
        except Exception as error:
            raise CorpusError(f"hf:{self.source} cannot be loaded: {with_type(error)}") from error
