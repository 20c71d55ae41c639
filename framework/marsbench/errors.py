"""Errors that users can resolve.

Each message is one line: what was asked, what there is, what to do. `marsbench.cli.main` prints it; any other
exception is a defect of marsbench and keeps its traceback.
"""

import errno
import os
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:  # not every process needs it
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails


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
    """This machine is at fault, and no plugin: a full disk, too many open files, a file that has vanished."""


def first_line(message: object) -> str:
    """First line of a library's message; the name of its type if it is empty."""
    return str(message).strip().partition("\n")[0] or type(message).__name__


def with_type(error: Exception) -> str:
    """First line of an exception's message, with its type in front unless it is marsbench's own."""
    line, name = first_line(error), type(error).__name__
    return line if isinstance(error, BenchError) or line == name else f"{name}: {line}"


_AGAIN = "then run the same command again"
_ROOM = "free some space (TMPDIR names the folder of temporary files)"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: "free some of your quota (TMPDIR names the folder of temporary files)",
    errno.EROFS: "mount it writable, or choose another folder",
    errno.EMFILE: "raise the limit (ulimit -n) or use fewer --workers",
    errno.ENFILE: "end other programs or use fewer --workers",
    errno.EFBIG: "raise the limit (ulimit -f)",
    errno.EAGAIN: "raise the limit of processes (ulimit -u) or use fewer --workers",
    errno.ENOMEM: "free memory or use fewer --workers",
    errno.EIO: "check the disk",
    errno.ESTALE: "mount it again",
}
"""What to do about errors that are faults of the machine, whoever meets them."""
_UNMISTAKABLE = {os.strerror(code): code for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)} | {
    os.strerror(errno.EMFILE): errno.EMFILE,
    os.strerror(errno.ENFILE): errno.ENFILE,
    "No usable temporary directory": errno.ENOSPC,
    "can't start new thread": errno.EAGAIN,
}
"""Texts by which libraries in C tell of such an error that give no number."""


def reason_of(error: OSError) -> str:
    """Why a file cannot be read or written, and what to do where the machine is at fault."""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{error.strerror or error}{f'; {remedy}, {_AGAIN}' if remedy else ''}"


def raise_machine_fault(error: BaseException) -> None:
    """Raise StorageError if an exception, or one that it came from, is a fault of this machine.

    A plugin that meets a full disk is not to blame: nothing may be recorded of it, and the same command tries
    again. Any other missing or unreadable file is the plugin's own matter.
    """
    links = sorted(_chain(error), key=lambda link: not isinstance(link, StorageError | OSError))
    for link in links:  # the system's own error first: it knows the place
        if isinstance(link, StorageError):
            raise link
        if line := _machine_fault(link):
            raise StorageError(f"{line}, {_AGAIN}") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@contextmanager
def telling_machine_faults() -> Iterator[None]:
    """Raise StorageError in place of an exception that is a fault of this machine."""
    try:
        yield
    except Exception as error:
        raise_machine_fault(error)
        raise


def _machine_fault(error: BaseException) -> str | None:
    """What happened, where, and what to do; None if the machine is not at fault."""
    if isinstance(error, MemoryError):
        return None if _is_too_large(error) else f"memory ran out: {error}; {_REMEDIES[errno.ENOMEM]}"
    text = shown(first_line(error))
    found = (code for part, code in _UNMISTAKABLE.items() if part in text)
    code = (error.errno if isinstance(error, OSError) else None) or 0
    code = code if code in _REMEDIES else next(found, 0)
    if isinstance(error, OSError) and error.strerror:
        where = (
            f": {shown_path(os.fsdecode(error.filename))}" if isinstance(error.filename, str | bytes) else ""
        )
        text = f"{error.strerror}{where}"
    return f"{text}; {_REMEDIES[code]}" if code else None


def _is_too_large(error: MemoryError) -> bool:
    """Whether NumPy was asked for an array that this machine could never hold."""
    import psutil

    return bool(getattr(error, "_total_size", 0) > psutil.virtual_memory().total)


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """`Unknown model 'x'.` and what is there instead, for a `word` that names none of the `known`."""
    return f"Unknown {what} '{word}'. {suggestion(word, known)}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'y'?` with the known word nearest to `word`, else `Available: a, b.` with all of them."""
    names = sorted(known)
    return did_you_mean(word, names) or f"Available: {', '.join(names) or 'none'}."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'y'?` with the known word nearest to `word`; empty if none is near."""
    folded = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), folded, n=1)
    return f"Did you mean '{folded[near[0]]}'?" if near else ""


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def first_problem(
    error: "ValidationError",
    model: "type[BaseModel]",
    source: str = "",
    typed: Mapping[str, object] | None = None,
    if_missing: str = "",
) -> str:
    """The first wrong key, with the nearest known one, or value of what should have been a `model`.

    Args:
        error: what pydantic found.
        model: what should have been read.
        source: the file or function that gave the values; empty for a command line alone.
        typed: what came from a command line, by key; it is named as an option.
        if_missing: added where a key is missing.
    """
    # A misspelt key also counts as a missing one: what is there and wrong says more than what is not there.
    first = min(error.errors(), key=lambda problem: problem["type"] == "missing")
    keys = [str(part) for part in first["loc"] or ("a key",)]
    place = shown(".".join(keys))
    if first["type"] == "missing":
        named = f"{source}: '{place}'" if source else f"--{place}"
        return f"{named} is missing{if_missing}"
    if first["type"] == "extra_forbidden":
        fields = _inside(model, keys[:-1]).model_fields.items()
        problem = unknown("key", shown(keys[-1]), [field.alias or name for name, field in fields])
        place = ""
    else:
        problem = _reason(first)
        place = f"{place} = {_SHORT.repr(first['input'])}: "
    if typed and keys[0] in typed:
        value = typed[keys[0]]
        text = shown(", ".join(map(str, value)) if isinstance(value, list) else str(value)) or "''"
        return f"--{keys[0]} {text}: {problem}"
    return f"{source}: {place}{problem}"


def _reason(problem: "ErrorDetails") -> str:
    """Pydantic's message as the end of a line."""
    if problem["type"] == "too_long":
        limits = problem["ctx"]
        return f"at most {limits['max_length']} may be given, not {limits['actual_length']}"
    text = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{text[0].lower()}{text[1:]}"


def shown(text: str) -> str:
    """Text of a file as a line on a screen may hold it: not too long, no control characters."""
    return text if is_plain(text) and len(text) <= _SHORT.maxstring else _SHORT.repr(text)[1:-1]


def shown_path(path: str | Path) -> str:
    """A path as a line on a screen may hold it, whole unless it has control characters."""
    return str(path) if is_plain(str(path)) else shown(str(path))


def is_plain(text: str) -> bool:
    """Whether text has no line ends, control characters or the like, by which it could pose as more."""
    return text.isprintable() or all(map(_is_plain_letter, text))


def cleaned(text: str, kept: str = "") -> str:
    """Text that a terminal only shows: a sign for each character that is not plain, and not among `kept`.

    ASCII's control characters have signs of their own, such as U+241B for escape; all others have U+FFFD.
    """
    if text.isprintable():
        return text
    return "".join(one if one in kept or _is_plain_letter(one) else _sign_of(one) for one in text)


def _is_plain_letter(letter: str) -> bool:
    return letter in _JOINERS or unicodedata.category(letter) not in _NOT_PLAIN


def _sign_of(letter: str) -> str:
    if letter == "\x7f":
        return "\N{SYMBOL FOR DELETE}"
    return chr(0x2400 + ord(letter)) if letter < " " else "\N{REPLACEMENT CHARACTER}"


_NOT_PLAIN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
"""Format characters inside words of Persian or Hindi, and inside emoji."""


def _inside(model: "type[BaseModel]", keys: Iterable[str]) -> "type[BaseModel]":
    """The model that stands at `keys` of another."""
    for key in keys:
        annotation = model.model_fields[key].annotation
        model = next(kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields"))
    return model
