"""Pretrained speech encoders as ONNX files: the registry of known ones, and the installed files.

    <home>/encoders/NAME-SHA.onnx    SHA: first 16 digits of the file's sha256

A file from a hub or from a path is stored under its name and checksum. Extractors record both as parameters,
so a result states exactly what it was computed with, on any machine.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from marsbench.atomic_files import home, write_atomically
from marsbench.data.download import Download, obtain, read_small
from marsbench.errors import ConfigError, FetchError, unknown
from marsbench.hashing import slug
from marsbench.progress import Progress

_HUB = "https://huggingface.co"
"""Overridden by the environment variable HF_ENDPOINT, as in the hub's own tools, to use a mirror."""
_SHOWN_DIGITS = 16
_POINTER_BYTES = 1024
"""Upper limit of the size of a pointer of Git LFS."""


@dataclass(frozen=True, slots=True)
class Published:
    """An encoder that is downloaded from a repository on a hub."""

    name: str
    repository: str
    revision: str
    """A commit if the file is pinned, else a branch."""
    file: str
    licence: str
    reads: str
    """Input: log-mel with its length, or waveform."""
    n_layers: int
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    """None if unknown: the one that the hub states at the first download is trusted and becomes the name."""


KNOWN = (
    Published(
        "whisper_tiny", "onnx-community/whisper-tiny", "ff4177021cc41f7db950912b73ea4fdf7d01d8e7",
        "onnx/encoder_model.onnx", "Apache-2.0", "log-mel, 30 s", 4, 32_904_992,
        "6642befb640f950d4a8cbbd17834d59e7e75f575b81ccf213e06b050623ab1dd",
    ),
    Published(
        "whisper_base", "onnx-community/whisper-base", "1846881b6b3a3024392c1eea3ad983695bc23925",
        "onnx/encoder_model.onnx", "Apache-2.0", "log-mel, 30 s", 6, 82_468_078,
        "a9f3b752833b49e880dec91ee5b6d936112be7c3ea07c221024ba493439f46fe",
    ),
    Published(
        "whisper_small", "onnx-community/whisper-small", "36050c46d777d46dc4b5f43f6d90574fc38f8732",
        "onnx/encoder_model.onnx", "Apache-2.0", "log-mel, 30 s", 12, 352_825_870,
        "b37cd6625dc36f9178ec7539a1876b9680ea26a910097e092be39dc766320c7b",
    ),
    Published(
        "wav2vec2_base", "Xenova/wav2vec2-base-960h", "a19f851b3d42865797e410752b4c570c871e4825",
        "onnx/model.onnx", "Apache-2.0", "waveform", 12, 377_887_594,
        "e46614273f03ff4b87923a965e417fa72004825522cb007c9c25633b8475490d",
    ),
    Published(
        "smart_turn", "pipecat-ai/smart-turn-v3", "f766f81d3cfdf7737ac64aad813d91bbfd56bf93",
        "smart-turn-v3.2-cpu.onnx", "BSD-2-Clause", "log-mel, 8 s", 4, 8_679_182,
        "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
    ),
    Published(
        "hubert_base", "Xenova/hubert-base-ls960", "main",
        "onnx/model.onnx", "Apache-2.0", "waveform", 12,
    ),
    Published(
        "wavlm_base_plus", "Xenova/wavlm-base-plus", "main",
        "onnx/model.onnx", "see its page", "waveform", 12,
    ),
)  # fmt: skip
"""Sizes, checksums and revisions as several public projects state them for these files."""


@dataclass(frozen=True, slots=True)
class EncoderFile:
    """An installed encoder."""

    name: str
    sha256: str
    path: Path

    def read(self) -> bytes:
        """Content of the file; raises ConfigError if it cannot be read or has another checksum."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ConfigError(f"encoder {self.path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ConfigError(f"encoder {self.path} is damaged; remove it, then fetch or add it again")
        return data


def folder() -> Path:
    """Folder of the installed encoders."""
    return home() / "encoders"


def present() -> Iterator[tuple[str, Path]]:
    """Name and file of every installed encoder."""
    for path in sorted(folder().glob("*.onnx")):
        name, _, digits = path.stem.rpartition("-")
        if name and re.fullmatch(rf"[0-9a-f]{{{_SHOWN_DIGITS}}}", digits):
            yield name, path


def find_encoder(word: str, sha256: str = "") -> EncoderFile:
    """The installed encoder of a name, or the file at a path that ends in .onnx, which is installed.

    `sha256` is the checksum that the file must have; "" for any.

    Raises:
        ConfigError: no such encoder, or it has another checksum.
    """
    _require_sha256(sha256)
    if word.lower().endswith(".onnx") or "/" in word or os.sep in word:
        return add_encoder(Path(word), sha256=sha256)
    known = _known(word)
    wanted = sha256 or (known and known.sha256)
    if not wanted:
        return _only_one(word)
    path = _place(word, wanted)
    if path.exists():
        return EncoderFile(word, wanted, path)
    how = f"bench models add FILE --name {word}, with the file of sha256 {wanted}"
    if known and known.sha256 in (None, wanted):
        how = f"bench models fetch {word}"
    raise ConfigError(f"encoder {word} is not installed: {how}")


def _known(name: str) -> Published | None:
    return next((entry for entry in KNOWN if entry.name == name), None)


def add_encoder(source: Path, name: str | None = None, sha256: str = "") -> EncoderFile:
    """Install an ONNX file under `name`; default: the known encoder's with its checksum, else the file's own.

    `sha256` is the checksum that the file must have; "" for any.

    Raises:
        ConfigError: it cannot be read, or has another checksum than the one given or known for its name.
        StorageError: it cannot be copied.
    """
    try:
        data = source.expanduser().read_bytes()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"encoder {source} cannot be read: {reason}") from error
    found = hashlib.sha256(data).hexdigest()
    recognised = next((entry.name for entry in KNOWN if entry.sha256 == found), source.stem)
    name = slug(name or recognised, "encoder")
    known = _known(name)
    wanted = sha256 or (known and known.sha256) or found
    if found != wanted:
        raise ConfigError(f"{source} is not the encoder {name}: expected sha256 {wanted}, found {found}")
    path = _place(name, found)
    if not path.exists():
        write_atomically(path, lambda file: file.write(data))
    return EncoderFile(name, found, path)


def fetch_encoder(name: str, progress: Progress, sha256: str = "") -> EncoderFile:
    """Download a known encoder unless it is installed.

    `sha256` is the checksum that it must have; "" for the known one, or else the one that the hub states.

    Raises:
        ConfigError: no such encoder.
        FetchError: no connection, or not the expected file.
    """
    _require_sha256(sha256)
    published = _known(name)
    if published is None:
        raise ConfigError(unknown("encoder", name, [entry.name for entry in KNOWN]))
    wanted = _download(published, sha256, progress)
    path = obtain(wanted, folder(), progress)
    return EncoderFile(name, wanted.checksum, path)


def _download(published: Published, sha256: str, progress: Progress) -> Download:
    """Address, size and checksum of a known encoder; the hub is asked for those that are unknown."""
    place = f"{published.revision}/{published.file}"
    repository = f"{(os.environ.get('HF_ENDPOINT') or _HUB).rstrip('/')}/{published.repository}"
    size, checksum = published.size, published.sha256
    if size is None or checksum is None:
        size, checksum = _stated(f"{repository}/raw/{place}")
        if not sha256:
            progress.say(f"{published.name}: no checksum is known here; trusting the hub's: {checksum}")
    if sha256 and sha256 != checksum:
        raise FetchError(f"{published.name} has sha256 {checksum} on the hub; {sha256} was asked for")
    file_name = _place(published.name, checksum).name
    return Download(f"{repository}/resolve/{place}", size, "sha256", checksum, file_name)


def _stated(url: str) -> tuple[int, str]:
    """Size and sha256 of a file, read from its Git LFS pointer at `url`."""
    text = read_small(url, _POINTER_BYTES).decode("utf-8", "replace")
    size = re.search(r"^size (\d{1,15})$", text, re.MULTILINE)
    checksum = re.search(r"^oid sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    if size is None or checksum is None:
        raise FetchError(
            f"{url} is not a Git LFS pointer with size and sha256; download the file by hand and add it with "
            "`bench models add`"
        )
    return int(size[1]), checksum[1]


def _place(name: str, sha256: str) -> Path:
    return folder() / f"{name}-{sha256[:_SHOWN_DIGITS]}.onnx"


def _require_sha256(sha256: str) -> None:
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ConfigError(f"'{sha256}' is not a sha256: 64 digits 0-9 and a-f are needed")


def _only_one(word: str) -> EncoderFile:
    """The installed encoder of that name, whose checksum is not known beforehand."""
    paths = [path for name, path in present() if name == word]
    if len(paths) == 1:
        return EncoderFile(word, hashlib.sha256(paths[0].read_bytes()).hexdigest(), paths[0])
    if paths:
        raise ConfigError(f"several encoders are called {word}; give the sha256, or remove one of {paths}")
    if _known(word):
        raise ConfigError(f"encoder {word} is not installed: bench models fetch {word}")
    told = unknown("encoder", word, {entry.name for entry in KNOWN} | {name for name, _ in present()})
    raise ConfigError(told if told.endswith("?") else f"{told} Or give the path of an .onnx file.")
