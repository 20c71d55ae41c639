"""From the bytes that someone uploaded or recorded to what is shown of them."""

import mimetypes
from dataclasses import dataclass
from threading import Lock

from marsbench.data.audio import Waveform, decode
from marsbench.deployment.bundle_files import AnyBundle
from marsbench.deployment.prediction import Prediction
from marsbench.errors import AudioError

MAX_MEGABYTES = 50
MAX_SECONDS = 600.0
ENDINGS = ("wav", "flac", "ogg", "oga", "opus", "mp3")
"""Of files that are offered for upload: those that browsers play too."""
_ONE_AT_A_TIME = Lock()
"""Every visitor has a thread; a prediction sets the number of threads of the whole process, and decoding may
take a gigabyte."""


@dataclass(frozen=True)
class Heard:
    """A recording and what the model says to it."""

    waveform: Waveform
    """As recorded, mono."""
    prediction: Prediction


def hear(bundle: AnyBundle, data: bytes) -> Heard:
    """What the bytes of an audio file sound like.

    Raises:
        AudioError: too large, no audio, empty, silent, too short, too long.
        PluginError: the feature extractor fails on it.
    """
    if len(data) > MAX_MEGABYTES << 20:
        raise AudioError(f"too large: {len(data) / (1 << 20):,.1f} MB, the limit is {MAX_MEGABYTES} MB")
    with _ONE_AT_A_TIME:
        waveform = decode(data, max_seconds=MAX_SECONDS)
        return Heard(waveform, bundle.predict(waveform, max_seconds=MAX_SECONDS))


def mime_type(name: str) -> str:
    """What a browser's player is told of a file."""
    return mimetypes.guess_type(name)[0] or "audio/wav"
