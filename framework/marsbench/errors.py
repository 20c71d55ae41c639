"""What a user can mend.

BenchError
├── AudioError      one clip cannot be decoded or cannot be used
├── CorpusError     a dataset or its labels do not fit what was asked
├── FetchError      a download or an archive is not what was published
├── PluginError     a plugin is missing, refused, or breaks its contract
├── ConfigError     an option or a key of an experiment file
├── TrainingError   a fit gave no usable probabilities
├── ResultsError    a results folder or a run in it
│   └── DamagedError    a file is no longer what was written
├── ExecutionError  the workers that should run units are not there
├── ExportError     a pipeline cannot be written as one file
└── StorageError    a file cannot be written

Each message is one line: what was asked, what there is, what to do. They are printed once, by
`marsbench.cli.main`; any other exception is a defect of marsbench and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class BenchError(Exception):
    """Root of every error that its reader can mend."""


class AudioError(BenchError):
    """One clip cannot be decoded or cannot be used; the message is the reason alone."""


class CorpusError(BenchError):
    """A dataset or its labels do not fit what was asked."""


class FetchError(BenchError):
    """A download or an archive is not what was published."""


class PluginError(BenchError):
    """A plugin is missing, refused, or breaks its contract."""


class ConfigError(BenchError):
    """An option or a key of an experiment file is wrong."""


class TrainingError(BenchError):
    """A fit gave no usable probabilities."""


class ResultsError(BenchError):
    """A results folder or a run in it cannot be used."""


class DamagedError(ResultsError):
    """A file is no longer what was written: cut off, edited, or of a version that sealed none."""


class ExecutionError(BenchError):
    """The workers that should run units are not there, or not there any more."""


class ExportError(BenchError):
    """A pipeline cannot be written as one file, or the file answers something else than the pipeline."""


class StorageError(BenchError):
    """A file cannot be written: a full disk, a missing permission."""


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """`Unknown model 'x'.` and what is there instead, for a `word` that names none of the `known`."""
    return f"Unknown {what} '{word}'. {suggestion(word, known)}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'y'?` with the known word nearest to `word`, else `Available: a, b.` with all of them."""
    names = sorted(known)
    folded = {name.casefold(): name for name in names}
    near = get_close_matches(word.casefold(), folded, n=1)
    if near:
        return f"Did you mean '{folded[near[0]]}'?"
    return f"Available: {', '.join(names) or 'none'}."
