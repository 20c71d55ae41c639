"""Real-time factor of pipelines as one ONNX file, beside marsbench itself, on one core.

    python benchmarks/onnx_serving.py [--clips N] [--train N] [--turns K] [--pipelines NAME ...]

Each pipeline is fitted on clips whose classes are drawn at random (so a support vector machine keeps nearly
all of them, the most that a file can come to) and exported. A process that has numpy and onnxruntime and
nothing else then answers the clips in one thread, in turns with marsbench, which extracts and predicts the
same clips here in one thread; the best of K turns counts. The clips are those of MARSBENCH_RAVDESS, a
folder, drawn at random, or synthetic voices of 3 to 5 s.

A real-time factor is seconds of computing for each second of sound.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marsbench.data import audio
from marsbench.deployment.formats.onnx import end_to_end, pipeline_probabilities
from marsbench.execution.limits import limited_threads
from marsbench.plugin.features import FeatureExtractor, Floats, for_model
from marsbench.plugin.model import Examples, FitContext, Model
from marsbench.plugin.search_space import Defaults
from marsbench_plugins.features.functionals import Functionals
from marsbench_plugins.features.log_mel import LogMel
from marsbench_plugins.features.mfcc import Mfcc
from marsbench_plugins.features.mfcc_chroma_contrast import MfccChromaContrast
from marsbench_plugins.models.cnn2d import Cnn2d
from marsbench_plugins.models.cnn_lstm import CnnLstm
from marsbench_plugins.models.svm import Svm
from marsbench_plugins.synthesis import PROSODY, SENTENCES, Speaker, speak

_RATE = 22_050
_BARE = Path(__file__).with_name("bare_environment.py")
_ALONE = Path(__file__).with_name("serve_alone.py")
_PIPELINES: dict[str, tuple[FeatureExtractor, Model]] = {
    "functionals+svm": (Functionals(), Svm()),
    "mfcc_chroma_contrast+svm": (MfccChromaContrast(), Svm()),
    "mfcc+svm": (Mfcc(), Svm()),
    "log_mel+svm": (LogMel(), Svm()),
    "mfcc_chroma_contrast+cnn_lstm": (MfccChromaContrast(), CnnLstm(epochs=1, patience=0)),
    "mfcc+cnn_lstm": (Mfcc(), CnnLstm(epochs=1, patience=0)),
    "log_mel+cnn2d": (LogMel(), Cnn2d(epochs=1, patience=0)),
}
_EMOTIONS = tuple(PROSODY)


@dataclass
class Costs:
    """Least seconds of all turns, and the largest difference of a probability."""

    ready: float = np.inf
    clock: float = np.inf
    cpu: float = np.inf
    marsbench: float = np.inf
    away: float = 0.0


def recorded(folder: Path, count: int) -> list[Floats]:
    """Clips of RAVDESS."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in audio.SUFFIXES)
    drawn = np.random.default_rng(0).permutation(len(paths))[:count]
    return [audio.load(paths[row], _RATE).samples for row in drawn]


def spoken(count: int) -> list[Floats]:
    """Takes of synthetic speakers, two behind each other."""
    takes = [
        speak(
            Speaker.draw(0, take % 10),
            _EMOTIONS[take % len(_EMOTIONS)],
            SENTENCES[take % len(SENTENCES)],
            np.random.default_rng(take),
        )
        for take in range(2 * count)
    ]
    pairs = zip(takes[::2], takes[1::2], strict=True)
    return [np.concatenate(pair).astype(np.float32) / np.float32(32_768) for pair in pairs]


def fitted(extractor: FeatureExtractor, model: Model, clips: list[Floats]) -> Model:
    """The model after it has seen these clips."""
    features = for_model(
        [extractor.extract(clip, _RATE) for clip in clips], model.accepts, extractor.n_frames
    )
    targets = np.random.default_rng(0).permutation(np.arange(len(clips)) % len(_EMOTIONS))
    return model.fit(Examples(features, targets), Defaults({}), FitContext(len(_EMOTIONS), 0))


def output(*command: str | Path) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - our own


def measured(
    python: str, file: Path, extractor: FeatureExtractor, model: Model, clips: list[Floats], turns: int
) -> Costs:
    """Both sides on all clips, in turns."""
    costs = Costs()
    np.savez(file.with_suffix(".npz"), *clips)
    pipeline_probabilities(extractor, model, clips[0])
    for _ in range(turns):
        alone = json.loads(output(python, "-I", _ALONE, file, file.with_suffix(".npz")))
        start = time.process_time()
        wanted = [pipeline_probabilities(extractor, model, clip) for clip in clips]
        costs.marsbench = min(costs.marsbench, time.process_time() - start)
        for name in ("ready", "clock", "cpu"):
            setattr(costs, name, min(getattr(costs, name), alone[name]))
        costs.away = float(abs(np.array(wanted) - alone["answers"]).max())
    return costs


def compare(folder: Path, asked: argparse.Namespace) -> None:
    """Print a line for each pipeline."""
    ravdess = os.environ.get("MARSBENCH_RAVDESS")
    count = asked.train + asked.clips
    clips = recorded(Path(ravdess), count) if ravdess else spoken(count)
    train, test = clips[: asked.train], clips[asked.train :]
    sound = sum(map(len, test)) / _RATE
    python = output(sys.executable, _BARE, folder / "bare").strip()
    lengths = sorted(len(clip) / _RATE for clip in test)
    source = "RAVDESS" if ravdess else "synthetic voices"
    print(f"{len(test)} clips of {lengths[0]:.1f} to {lengths[-1]:.1f} s, {source}; one core")
    print(f"{'':30} {'file':>8} {'session':>9} {'real-time factor':>17} {'marsbench':>10}")
    print(f"{'':30} {'MB':>8} {'ms':>9} {'CPU':>8} {'clock':>8} {'CPU':>10} {'ratio':>6} {'away':>8}")
    for name in asked.pipelines:
        extractor, model = _PIPELINES[name]
        model = fitted(extractor, model, train)
        file = folder / f"{name}.onnx"
        file.write_bytes(end_to_end(extractor, model, _EMOTIONS).SerializeToString())
        costs = measured(python, file, extractor, model, test, asked.turns)
        print(
            f"{name:30} {file.stat().st_size / 1e6:8.2f} {1000 * costs.ready:9.0f}"
            f" {costs.cpu / sound:8.4f} {costs.clock / sound:8.4f} {costs.marsbench / sound:10.4f}"
            f" {costs.cpu / costs.marsbench:6.2f} {costs.away:8.1e}",
            flush=True,
        )


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=20, help="that are answered")
    parser.add_argument("--train", type=int, default=256, help="clips that the models are fitted on")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--pipelines", nargs="+", choices=_PIPELINES, default=list(_PIPELINES), metavar="NAME"
    )
    asked = parser.parse_args()
    # Before TensorFlow is first used: it keeps the number of threads.
    with limited_threads(1), tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), asked)


if __name__ == "__main__":
    main()
