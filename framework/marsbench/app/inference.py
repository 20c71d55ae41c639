"""What the page computes: the prediction of an upload or a recording, and a demo model to try it with."""

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from marsbench.atomic_files import home
from marsbench.data.audio import Waveform, decode
from marsbench.data.compressed import SUFFIXES as COMPRESSED
from marsbench.data.compressed import has_pyav
from marsbench.deployment.bundle_files import AnyBundle, golden_samples, write_bundle
from marsbench.deployment.export import fit_bundle
from marsbench.deployment.prediction import Prediction
from marsbench.errors import AudioError
from marsbench.planning.pipelines import make_pipeline
from marsbench.planning.plans import checked_corpus
from marsbench.plugin.registry import Registry
from marsbench.progress import Silent

MAX_MEGABYTES = 50
MAX_SECONDS = 600.0
_PLAIN_SUFFIXES = ("wav", "flac", "ogg", "oga", "opus", "mp3")
"""Suffixes of files that every browser can play."""
DEMO_CORPUS, DEMO_FEATURES, DEMO_MODEL = "demo", "functionals", "svm"
_LOCK = Lock()
"""Each visitor has a thread, but a prediction sets the number of threads of the whole process, decoding may
take a gigabyte, and only one demo model is trained."""


@dataclass(frozen=True)
class Answer:
    """A recording and its prediction."""

    waveform: Waveform
    """As recorded, mono."""
    prediction: Prediction


def upload_suffixes() -> list[str]:
    """Suffixes of files that can be uploaded: also of those that PyAV decodes, where it is installed."""
    return [*_PLAIN_SUFFIXES, *(sorted(suffix[1:] for suffix in COMPRESSED) if has_pyav() else ())]


def predict_bytes(bundle: AnyBundle, data: bytes, known: Prediction | None = None) -> Answer:
    """Prediction for the bytes of an audio file, which is not made again if it is `known`.

    Raises:
        AudioError: too large, no audio, empty, silent, too short, too long.
        PluginError: the feature extractor fails on it.
    """
    if len(data) > MAX_MEGABYTES << 20:
        raise AudioError(f"too large: {len(data) / (1 << 20):,.1f} MB, the limit is {MAX_MEGABYTES} MB")
    with _LOCK:
        waveform = decode(data, max_seconds=MAX_SECONDS, channel=bundle.record.channel)
        return Answer(waveform, known or bundle.predict(waveform, max_seconds=MAX_SECONDS))


def demo_folder() -> Path:
    """Folder of the demo model's bundle."""
    return home() / "bundles" / "demo"


def train_demo(registry: Registry) -> None:
    """Fit a model on the synthetic demo corpus and write it to `demo_folder()`; raises BenchError."""
    progress = Silent()
    with _LOCK:
        corpus = checked_corpus(registry, DEMO_CORPUS, {}, progress)
        pipeline = make_pipeline(registry, DEMO_FEATURES, DEMO_MODEL, {})
        bundle = fit_bundle(corpus, pipeline, registry, seed=0, progress=progress)
        write_bundle(bundle, demo_folder(), golden_samples(corpus))
