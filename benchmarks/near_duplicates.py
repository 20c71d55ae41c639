"""Search for similar fingerprints in large made-up corpora: every two compared, and by hash tables.

Made-up fingerprints are spread as those of RAVDESS. One is the mean of RAVDESS, plus a times what one of its
clips has besides, plus sqrt(1 - a^2) times a random draw with RAVDESS's covariance, a between 0.7 and 0.95,
scaled and rounded to bytes as all are. So the middle half of cosines is 0.05 to 0.22 as there, and what is
above 0.7, 0.03 %, comes of clips of one origin. Of a tenth, draws without an origin, there are
changed copies besides, with known cosines, of which the share that is found is printed.

Printed are also, by number of clips and way, CPU seconds and peak memory; each has a process of its own.

    python benchmarks/near_duplicates.py PATH_OF_RAVDESS [--clips N ...] [--every-two-up-to N]
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
from numpy.typing import NDArray

from marsbench.data import near_pairs
from marsbench.data.audio_validation import check_audio
from marsbench.data.duplicates import fingerprint_vector
from marsbench_plugins.datasets.ravdess import Ravdess

COSINES = (0.7, 0.75, 0.8, 0.85, 0.88, 0.92, 0.96)
MOST = 8
"""Candidates of a clip, as in the first round."""
WAYS = {"every two": sys.maxsize, "tables": 0}
"""`near_pairs.EXHAUSTIVE` for each."""
Vectors = NDArray[np.float32]
Prints = NDArray[np.int8]


def scaled(vectors: Vectors) -> Vectors:
    """With a length of 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1)[:, None], np.float32)


def to_bytes(vectors: Vectors) -> Prints:
    """The largest component of each is 127."""
    return np.asarray(np.rint(vectors * (127 / np.abs(vectors).max(axis=1))[:, None]), np.int8)


class Spread:
    """Draws made-up fingerprints."""

    def __init__(self, path: str) -> None:
        facts = check_audio(Ravdess(path).load()).facts
        real = scaled(np.array([fingerprint_vector(one.audio_fingerprint) for one in facts]))
        self.mean = real.mean(axis=0)
        self.besides = real - self.mean
        _, values, axes = np.linalg.svd(self.besides, full_matrices=False)
        self.factor = values[:, None] * axes / np.sqrt(len(real))
        self.generator = np.random.default_rng(0)

    def draw(self, number: int, low: float, high: float) -> Vectors:
        """So many, of which an origin makes up between `low` and `high`."""
        normal = self.generator.standard_normal((number, len(self.factor)), np.float32)
        origin = self.besides[self.generator.integers(0, len(self.besides), number)]
        part = self.generator.uniform(low, high, (number, 1)).astype(np.float32)
        return np.asarray(self.mean + part * origin + np.sqrt(1 - part**2) * (normal @ self.factor))

    def changed(self, sources: Vectors, cosine: float) -> Vectors:
        """Others with such a cosine to each."""
        sources, other = scaled(sources), self.draw(len(sources), 0, 0)
        other = scaled(other - (other * sources).sum(axis=1)[:, None] * sources)
        return np.asarray(cosine * sources + np.sqrt(1 - cosine**2) * other)

    def corpus(self, n_clips: int) -> tuple[Prints, NDArray[np.int64]]:
        """Fingerprints in random order, and the rows of source and copy, (cosines, 2, copies)."""
        n_copies = n_clips // 10 // len(COSINES)
        sources = [self.draw(n_copies, 0, 0) for _ in COSINES]
        copies = [self.changed(one, cosine) for one, cosine in zip(sources, COSINES, strict=True)]
        prints = np.empty((n_clips, len(self.mean)), np.int8)
        n_planted = 2 * n_copies * len(COSINES)
        prints[:n_planted] = to_bytes(np.concatenate(sources + copies))
        for top in range(n_planted, n_clips, 4096):
            part = prints[top : top + 4096]
            part[:] = to_bytes(self.draw(len(part), 0.7, 0.95))
        order = self.generator.permutation(n_clips)
        place = np.argsort(order)[:n_planted].reshape(2, len(COSINES), n_copies)
        return prints[order], place.transpose(1, 0, 2)


def measure(path: str, n_clips: int, way: str) -> None:
    """One way, in this process."""
    prints, planted = Spread(path).corpus(n_clips)
    near_pairs.EXHAUSTIVE = WAYS[way]
    start = time.process_time()
    rows, columns, _ = near_pairs.similar_pairs(prints, np.arange(n_clips), MOST, np.ones(n_clips, bool))
    taken = time.process_time() - start
    found = np.array(rows) * n_clips + np.array(columns)
    shares = []
    for pairs in planted:
        first, second = prints[pairs].astype(np.float32)
        is_asked = (scaled(first) * scaled(second)).sum(axis=1) >= near_pairs.MIN_COSINE
        code = (np.min(pairs, axis=0) * n_clips + np.max(pairs, axis=0))[is_asked]
        shares.append(f"{100 * np.isin(code, found).mean():8.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{n_clips:>9,} {way:<10} {taken:8.1f} {peak:9.0f} {len(rows):>10,}" + "".join(shares), flush=True)


def main() -> None:
    """Read the command line; a process for each size and way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path")
    parser.add_argument("--clips", type=int, nargs="+", default=[10_000, 40_000, 160_000])
    parser.add_argument("--every-two-up-to", type=int, default=160_000)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        measure(options.path, options.clips[0], options.way)
        return
    heads = "".join(f"{cosine:8}" for cosine in COSINES)
    print(f"{'clips':>9} {'way':<10} {'CPU s':>8} {'peak MiB':>9} {'pairs':>10}{heads}  % found by cosine")
    for n_clips in options.clips:
        for way in WAYS:
            if way == "tables" or n_clips <= options.every_two_up_to:
                asked = [options.path, f"--clips={n_clips}", f"--way={way}"]
                subprocess.run([sys.executable, __file__, *asked], check=True)  # noqa: S603 - this very file


if __name__ == "__main__":
    main()
