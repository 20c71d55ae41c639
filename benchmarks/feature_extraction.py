"""CPU time of the reference features: the usual three librosa calls against `mfcc_chroma_contrast`.

    python benchmarks/feature_extraction.py [FOLDER] [--clips N]

FOLDER holds audio files (sub-folders included); without one, synthetic 48 kHz clips of 4 s are made. Both
sides decode the file, take turns clip by clip in one thread, and are warmed up first. librosa takes the whole
clip, ours the 4 s from 0.5 s in that it is defined on, and for comparison the whole clip too.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import soundfile
from threadpoolctl import threadpool_limits

from marsbench.data import audio
from marsbench_plugins.features.mfcc_chroma_contrast import MfccChromaContrast

_RATE = 22_050
_reference = MfccChromaContrast()
_whole = MfccChromaContrast(offset=0.0, duration=None, n_frames=None)


def usual(path: Path) -> None:
    """Three features, each from the waveform: three transforms."""
    samples, rate = librosa.load(path, sr=_RATE)
    mfcc = librosa.feature.mfcc(y=samples, sr=rate, n_mfcc=40)
    chroma = librosa.feature.chroma_stft(y=samples, sr=rate)
    np.vstack([mfcc, chroma, librosa.feature.spectral_contrast(y=samples, sr=rate)])


def ours(path: Path) -> None:
    """The reference features."""
    _reference.extract(audio.load(path, _RATE).samples, _RATE)


def ours_of_whole_clip(path: Path) -> None:
    """The same features of everything that librosa was given."""
    _whole.extract(audio.load(path, _RATE).samples, _RATE)


def cpu_seconds(work: Callable[[Path], None], path: Path) -> float:
    """CPU time of this process for one clip."""
    start = time.process_time()
    work(path)
    return time.process_time() - start


def synthetic_clips(folder: Path, count: int) -> list[Path]:
    """Write voice-like 4 s clips, 48 kHz, 16 bit."""
    moments = np.arange(4 * 48_000) / 48_000
    paths = [folder / f"{number}.wav" for number in range(count)]
    for number, path in enumerate(paths):
        phase = 2 * np.pi * np.cumsum(120 + 10 * number + 20 * np.sin(3 * moments)) / 48_000
        harmonics = np.sum([np.sin(k * phase) / k for k in range(1, 20)], axis=0)
        breath = np.random.default_rng(number).normal(0, 0.02, len(moments))
        soundfile.write(path, 0.1 * (harmonics + breath), 48_000, subtype="PCM_16")
    return paths


def report(paths: list[Path]) -> None:
    """Time every clip on each side and print milliseconds a clip and the ratios."""
    sides = (usual, ours, ours_of_whole_clip)
    with threadpool_limits(limits=1):
        for side in sides:
            side(paths[0])
        seconds = np.array([[cpu_seconds(side, path) for side in sides] for path in paths])
    means = 1000 * seconds.mean(axis=0)
    print(f"{len(paths)} clips, CPU ms a clip, one thread")
    for side, mean in zip(sides, means, strict=True):
        print(f"{side.__name__:20} {mean:6.2f}   {mean / means[0]:.3f} of usual")


def main() -> None:
    """Read the command line and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", help="audio to read")
    parser.add_argument("--clips", type=int, default=20, help="how many clips at most")
    options = parser.parse_args()
    if options.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            report(synthetic_clips(Path(folder), options.clips))
        return
    paths = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in audio.SUFFIXES)
    if not paths:
        parser.error(f"no audio below {options.folder}")
    report(paths[: options.clips])


if __name__ == "__main__":
    main()
