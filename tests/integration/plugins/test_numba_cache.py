"""Processes that compile librosa at the same time leave compiled code that works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

COMPILES = """
import sys
import numpy as np
from marsbench_plugins.features.librosa_frames import LibrosaFrames
noise = np.random.default_rng(0).normal(size=22_050).astype(np.float32) * 0.1
for name in sys.argv[1].split(","):
    extractor = LibrosaFrames.create({"features": name, "bits": None, "n_frames": None})
    extractor.checked_extract(noise, 22_050)
"""
LOADS = """
import sys
from pathlib import Path
from marsbench.plugin.registry import discover
discover((Path(sys.argv[1]),)).get("features", "compiled").plugin
"""
COMPILED = '''
import sys
from numba.core.compiler_lock import global_compiler_lock
with global_compiler_lock, global_compiler_lock:
    print("compiling", flush=True)
    sys.stdin.readline()
print("compiled", flush=True)
sys.stdin.readline()
from marsbench.plugin import FeatureExtractor
class Compiled(FeatureExtractor):
    """Compiles as it is imported."""
    kind = "vector"
    def extract(self, waveform, sample_rate):
        return waveform[:1]
'''


def start(code: str, word: str, folder: Path) -> "subprocess.Popen[str]":
    folders = {"NUMBA_CACHE_DIR": str(folder / "numba"), "XDG_CACHE_HOME": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", code, word],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | folders,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder is set by Linux's variable")
def test_a_process_compiles_alone_also_while_a_plugin_is_imported(tmp_path: Path) -> None:
    plugin = tmp_path / "plugins" / "features" / "compiled.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(COMPILED)
    with start(LOADS, str(tmp_path / "plugins"), tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "compiling\n"
        (path,) = (tmp_path / "marsbench").glob("numba-*.lock")
        lock = FileLock(path)
        with pytest.raises(Timeout):
            lock.acquire(timeout=0)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "compiled\n"
        with lock.acquire(timeout=0):
            process.stdin.close()


@pytest.mark.slow
def test_processes_that_compile_different_features_at_the_same_time_do_not_crash(tmp_path: Path) -> None:
    orders = ["yin,chroma_stft,tempo", "chroma_stft,yin", "tempo,yin,tonnetz", "pyin,yin", "tonnetz,yin"]
    processes = [start(COMPILES, order, tmp_path) for order in orders]
    for process in processes:
        process.communicate()
    with start(COMPILES, "chroma_stft,tonnetz,tempo,yin,pyin", tmp_path) as later:
        later.communicate()
    assert [process.returncode for process in [*processes, later]] == [0] * (len(orders) + 1)
