"""From words on a command line to audio files."""

from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path

from marsbench.audio import SUFFIXES
from marsbench.errors import AudioError


def audio_files(words: Iterable[str]) -> list[Path]:
    """Files as named, those of audio below folders, and what patterns such as `clips/*.wav` match; each once.

    Raises:
        AudioError: no such file or folder, or nothing found.
    """
    return list(dict.fromkeys(path for word in words for path in _of_word(word)))


def _of_word(word: str) -> Iterator[Path]:
    path = Path(word).expanduser()
    if path.is_file():
        yield path
    elif path.is_dir():
        below = sorted(file for file in path.rglob("*") if file.is_file())
        yield from _found(
            [file for file in below if file.suffix.lower() in SUFFIXES], f"no audio below {path}"
        )
    elif has_magic(word):
        matches = [Path(name) for name in sorted(glob(str(path), recursive=True))]  # noqa: PTH207 - from any root
        yield from _found(matches, f"{word} matches nothing")
    else:
        raise AudioError(f"there is no file or folder {path.absolute()}")


def _found(paths: list[Path], otherwise: str) -> list[Path]:
    if not paths:
        raise AudioError(otherwise)
    return [path for path in paths if path.is_file()]
