"""Damaged and malicious uploads through a bundle's prediction path, in a process that may not survive them.

A program: `hostile.py BUNDLE KIT MEGABYTES SECONDS FIRST COUNT` predicts the uploads of the seeds FIRST,
FIRST + 1, ...; with a key of BOMBS in the place of the last two, that one. Before each it prints a line of
JSON, {"seed", "upload"}, and after it another, {"label"} or {"error"}; so whatever ends it, its last line
names the culprit. It ends at what no upload may cause: an exception that is no BenchError, a message that is
not one printable line, probabilities that are none, more memory or seconds of computing than allowed.
"""

import faulthandler
import io
import json
import resource
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from marsbench.app.inference import predict_bytes
from marsbench.deployment.bundle_files import AnyBundle, read_bundle
from marsbench.deployment.prediction import Prediction
from marsbench.errors import BenchError
from marsbench.plugin.registry import discover

LONGEST_MESSAGE = 200

FORMS = (
    ("WAV", "PCM_U8", 8_000, 1),
    ("WAV", "PCM_16", 22_050, 1),
    ("WAV", "PCM_16", 11_025, 2),
    ("WAV", "PCM_24", 8_000, 2),
    ("WAV", "PCM_32", 9_999, 1),
    ("WAV", "FLOAT", 22_050, 1),
    ("WAV", "FLOAT", 8_000, 3),
    ("WAV", "DOUBLE", 8_000, 1),
    ("WAV", "ULAW", 8_000, 1),
    ("WAV", "IMA_ADPCM", 8_000, 1),
    ("WAV", "MS_ADPCM", 8_000, 2),
    ("WAV", "GSM610", 8_000, 1),
    ("WAVEX", "PCM_16", 16_000, 6),
    ("WAVEX", "FLOAT", 192_000, 1),
    ("RF64", "PCM_16", 8_000, 1),
    ("W64", "PCM_16", 8_000, 1),
    ("AIFF", "PCM_16", 8_000, 1),
    ("AIFF", "FLOAT", 8_000, 2),
    ("AU", "PCM_16", 8_000, 1),
    ("CAF", "ALAC_16", 8_000, 1),
    ("VOC", "PCM_16", 8_000, 1),
    ("MAT5", "PCM_16", 8_000, 1),
    ("SDS", "PCM_16", 8_000, 1),
    ("FLAC", "PCM_S8", 8_000, 1),
    ("FLAC", "PCM_16", 22_050, 1),
    ("FLAC", "PCM_16", 44_100, 8),
    ("FLAC", "PCM_24", 96_000, 2),
    ("OGG", "VORBIS", 8_000, 1),
    ("OGG", "VORBIS", 44_100, 2),
    ("OGG", "OPUS", 48_000, 1),
    ("OGG", "OPUS", 16_000, 2),
    ("MP3", "MPEG_LAYER_III", 22_050, 1),
    ("MP3", "MPEG_LAYER_III", 44_100, 2),
)


@cache
def sound(form: tuple[str, str, int, int]) -> bytes:
    """A quarter of a second that is in order."""
    container, subtype, rate, channels = form
    times = np.arange(rate // 4) / rate
    noise = np.random.default_rng(rate).uniform(-0.1, 0.1, (len(times), channels))
    samples = noise + 0.5 * np.sin(2 * np.pi * 440 * times)[:, None]
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, subtype, format=container)
    return stream.getvalue()


def flip_bits_of_the_header(data: bytes, luck: Random) -> bytes:
    return _flipped(data, luck, min(len(data), 128))


def flip_bits_anywhere(data: bytes, luck: Random) -> bytes:
    return _flipped(data, luck, len(data))


def _flipped(data: bytes, luck: Random, end: int) -> bytes:
    changed = bytearray(data)
    for _ in range(luck.choice((1, 2, 8, 64)) if end else 0):
        changed[luck.randrange(end)] ^= 1 << luck.randrange(8)
    return bytes(changed)


def claim_extremes(data: bytes, luck: Random) -> bytes:
    """Fields of the header - sizes, channels, rates, bits, alignments - get values from the edge."""
    changed = bytearray(data)
    for _ in range(luck.randint(1, 3)):
        width = luck.choice((1, 2, 4, 8))
        most = (1 << 8 * width) - 1
        near = luck.choice((0, 1, 2, 3, most >> 1, (most >> 1) + 1, most - 1, most, luck.randint(0, most)))
        start = luck.randrange(0, 120, luck.choice((1, 2, 4)))
        changed[start : start + width] = near.to_bytes(width, luck.choice(("little", "big")))
    return bytes(changed)


def cut_off(data: bytes, luck: Random) -> bytes:
    return data[: luck.randrange(luck.choice((64, len(data))) + 1)]


def repeat_a_piece(data: bytes, luck: Random) -> bytes:
    start, end = _range(data, luck)
    where = luck.randint(0, len(data))
    return data[:where] + data[start:end] * luck.choice((1, 2, 50)) + data[where:]


def drop_a_piece(data: bytes, luck: Random) -> bytes:
    start, end = _range(data, luck)
    return data[:start] + data[end:]


def insert_noise(data: bytes, luck: Random) -> bytes:
    where = luck.choice((0, luck.randint(0, min(100, len(data))), luck.randint(0, len(data))))
    return data[:where] + luck.randbytes(luck.choice((1, 3, 16, 1000))) + data[where:]


def glue_another_on(data: bytes, luck: Random) -> bytes:
    other = sound(luck.choice(FORMS))
    return luck.choice((data + other, other + data, data[: len(data) // 2] + other[len(other) // 2 :]))


def pretend_to_be_another(data: bytes, luck: Random) -> bytes:
    n_bytes = luck.choice((4, 8, 12, 44))
    return sound(luck.choice(FORMS))[:n_bytes] + data[n_bytes:]


def shuffle_parts(data: bytes, luck: Random) -> bytes:
    """Chunks of a RIFF, pages of an OGG, or else just pieces: in another order, doubled, left out."""
    head, parts = _parts(data, luck)
    return head + b"".join(luck.choices(parts, k=luck.randint(1, len(parts) + 2)))


def seal_damaged_pages(data: bytes, luck: Random) -> bytes:
    """Bits of OGG pages flipped and their checksums made right, so that the decoder sees the damage."""
    return b"".join(map(_sealed, _ogg_pages(_flipped(data, luck, len(data))))) or data


def lie_about_times(data: bytes, luck: Random) -> bytes:
    """OGG pages at other times than they are, the last among them, which tells how long it all is."""
    pages = _ogg_pages(data)
    for index in {-1, luck.randrange(len(pages))} if pages else ():
        time = luck.choice((0, 1, -1, 2**31, 2**62, 2**63 - 1, -(2**63), luck.randrange(2**40)))
        page = pages[index]
        pages[index] = _sealed(page[:6] + time.to_bytes(8, "little", signed=True) + page[14:])
    return b"".join(pages) or data


def shout_numbers(_data: bytes, luck: Random) -> bytes:
    """What no sound is, as floating-point samples."""
    odd = (np.nan, np.inf, -np.inf, 1e30, -3.4e38, 2.0**33, 1e-40, 1e-45, 1.0, -0.0)
    values = np.full(luck.choice((3_000, 30_000)), luck.choice(odd))
    if luck.choice((True, False)):
        values[luck.randrange(len(values))] = luck.choice(odd)
    stream = io.BytesIO()
    container, subtype = luck.choice(
        (("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("AIFF", "FLOAT"), ("CAF", "DOUBLE"))
    )
    soundfile.write(stream, values, luck.choice((8_000, 22_050, 96_000)), subtype, format=container)
    return stream.getvalue()


def nothing_but_noise(data: bytes, luck: Random) -> bytes:
    return data[: luck.choice((0, 4, 12))] + luck.randbytes(luck.choice((0, 1, 100, 20_000)))


DAMAGE: tuple[Callable[[bytes, Random], bytes], ...] = (
    flip_bits_of_the_header,
    flip_bits_anywhere,
    claim_extremes,
    claim_extremes,
    cut_off,
    repeat_a_piece,
    drop_a_piece,
    insert_noise,
    glue_another_on,
    pretend_to_be_another,
    shuffle_parts,
    seal_damaged_pages,
    lie_about_times,
    shout_numbers,
    nothing_but_noise,
)


def _range(data: bytes, luck: Random) -> tuple[int, int]:
    start = luck.randint(0, len(data))
    return start, min(len(data), start + luck.choice((1, 4, 26, 1000)))


def _parts(data: bytes, luck: Random) -> tuple[bytes, list[bytes]]:
    if pages := _ogg_pages(data):
        return b"", pages
    if data[:4] in (b"RIFF", b"FORM"):
        order = "<" if data[:4] == b"RIFF" else ">"
        chunks, start = [], 12
        while start + 8 <= len(data):
            end = start + 8 + struct.unpack_from(f"{order}I", data, start + 4)[0]
            chunks.append(data[start:end])
            start = end
        return data[:12], chunks or [b""]
    cuts = sorted(luck.randint(0, len(data)) for _ in range(4))
    return b"", [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _ogg_pages(data: bytes) -> list[bytes]:
    return [b"OggS" + page for page in data.split(b"OggS")[1:]]


def _sealed(page: bytes) -> bytes:
    """An OGG page with its checksum."""
    crc = checksum(page[:22] + bytes(4) + page[26:], 0x04C1_1DB7, 32)
    return page[:22] + crc.to_bytes(4, "little") + page[26:]


def checksum(data: bytes, polynomial: int, width: int) -> int:
    """Cyclic redundancy check, most significant bit first, from 0: as OGG and FLAC use it."""
    table, mask, crc = _crc_table(polynomial, width), (1 << width) - 1, 0
    for byte in data:
        crc = (crc << 8 & mask) ^ table[crc >> (width - 8) ^ byte]
    return crc


@cache
def _crc_table(polynomial: int, width: int) -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << (width - 8)
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> (width - 1) else 0)
            crc &= (1 << width) - 1
        table.append(crc)
    return table


def upload(seed: int) -> tuple[str, bytes]:
    """What was done to which sound, and the bytes; the same for the same seed."""
    luck = Random(seed)  # noqa: S311 - to be repeated, not to keep a secret
    form = luck.choice(FORMS)
    data, words = sound(form), [" ".join(map(str, form))]
    for _ in range(luck.choice((1, 1, 2, 3))):
        damage = luck.choice(DAMAGE)
        data = damage(data, luck)
        words.append(damage.__name__)
    return ", ".join(words), data


def flac_bomb(rate: int, channels: int, n_blocks: int) -> bytes:
    """A FLAC of 65,535 equal samples a block, in 14 bytes and more: 1 and -1 of 32,768 in turn."""
    size = 65_535
    facts = rate << 44 | (channels - 1) << 41 | 15 << 36 | n_blocks * size
    info = struct.pack(">HH", size, size) + bytes(6) + facts.to_bytes(8, "big") + bytes(16)
    blocks = []
    for number in range(n_blocks):
        head = struct.pack(">HBB", 0xFFF8, 0x70, (channels - 1) << 4 | 8)
        head += _flac_number(number) + struct.pack(">H", size - 1)
        body = head + bytes([checksum(head, 0x07, 8)]) + struct.pack(">Bh", 0, (-1) ** number) * channels
        blocks.append(body + struct.pack(">H", checksum(body, 0x8005, 16)))
    return b"fLaC\x80" + len(info).to_bytes(3, "big") + info + b"".join(blocks)


def _flac_number(number: int) -> bytes:
    """As UTF-8 codes a character, surrogates and all."""
    return chr(number).encode("utf-8", "surrogatepass")


BOMBS: dict[str, Callable[[], bytes]] = {
    "8 channels": lambda: flac_bomb(655_350, 8, 128),
    "10 minutes at 447 kHz": lambda: flac_bomb(447_392, 1, 4096),
    "10 minutes of 4 channels at 192 kHz": lambda: flac_bomb(192_000, 4, 1757),
    "50 MB in which pages seem to begin": lambda: sound(("OGG", "VORBIS", 8_000, 1)) + b"OggS" * (49 << 18),
    "50 MB in which frames seem to begin": lambda: b"\xff\xfb\0\x64" * (49 << 18),
}
"""Of little sound, or much in few bytes: what costs most to decode."""


def main(folder: str, kit: str, megabytes: str, seconds: str, *which: str) -> None:
    """Predict uploads, see above."""
    bundle = read_bundle(Path(folder), discover((Path(kit),)))
    _limit_memory(int(megabytes) << 20)
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)  # tells where it was, then ends the process
    for seed, what, data in _bomb(*which) if len(which) == 1 else _damaged(*map(int, which)):
        _say(seed=seed, upload=what)
        signal.setitimer(signal.ITIMER_PROF, float(seconds))
        _say(**_outcome(bundle, data, by_path=seed % 2 == 1))


def _bomb(key: str) -> Iterator[tuple[int, str, bytes]]:
    yield 0, key, BOMBS[key]()


def _damaged(first: int, count: int) -> Iterator[tuple[int, str, bytes]]:
    for seed in range(first, first + count):
        yield seed, *upload(seed)


def _outcome(bundle: AnyBundle, data: bytes, *, by_path: bool) -> dict[str, str]:
    """The label or what is said instead; raises AssertionError where that is not in order."""
    try:
        prediction = _by_path(bundle, data) if by_path else predict_bytes(bundle, data).prediction
    except BenchError as error:
        message = str(error)
        assert message.isprintable(), message
        assert 0 < len(message) < LONGEST_MESSAGE, message
        assert " at 0x" not in message, message
        return {"error": message}
    for row in (prediction.probabilities, *(window.probabilities for window in prediction.windows)):
        assert (row >= 0).all(), row  # false for NaN
        assert abs(row.sum() - 1) < 1e-6, row
    return {"label": prediction.label}


def _by_path(bundle: AnyBundle, data: bytes) -> Prediction:
    """As `bench predict` does."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        return bundle.predict(file.name)


def _limit_memory(more: int) -> None:
    used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))


def _say(**words: object) -> None:
    print(json.dumps(words), flush=True)  # noqa: T201 - a program


if __name__ == "__main__":
    main(*sys.argv[1:])
