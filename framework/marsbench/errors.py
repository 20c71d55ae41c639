"""Errors that users can resolve.

BenchError
├── AudioError      a clip cannot be decoded or used
├── CorpusError     a dataset does not have what was requested
├── FetchError      a download or an archive differs from what was published
├── PluginError     a plugin is missing, refused, or breaks its contract
├── ConfigError     an option or a key of an experiment file is wrong
├── TrainingError   a fit gave no usable probabilities
├── ResultsError    a results folder or a run in it cannot be used
│   └── DamagedError    a file differs from what was written
├── ExecutionError  the workers that execute fits are not available
├── ExportError     a pipeline cannot be exported
└── StorageError    a file cannot be written

Each message is one line: what was asked, what there is, what to do. `marsbench.cli.main` prints it; any other
exception is a defect of marsbench and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class BenchError(Exception):
    """Root of every error that users can resolve."""


class AudioError(BenchError):
    """A clip cannot be decoded or used; the message is only the reason, without the clip's name."""


class CorpusError(BenchError):
    """A dataset does not have what was requested: files, classes, speakers, clips of a class."""


class FetchError(BenchError):
    """A download failed, or a download or an archive differs from what was published."""


class PluginError(BenchError):
    """A plugin is missing, refused, or breaks its contract."""


class ConfigError(BenchError):
    """An option or a key of an experiment file is wrong."""


class TrainingError(BenchError):
    """A fit gave no usable probabilities."""


class ResultsError(BenchError):
    """A results folder or a run in it cannot be used."""


class DamagedError(ResultsError):
    """A file differs from what was written: truncated, edited, or written without a checksum."""


class ExecutionError(BenchError):
    """The workers that execute fits cannot be reached, or no longer."""


class ExportError(BenchError):
    """A pipeline cannot be exported, or the exported file predicts something else than the pipeline."""


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
