"""Cost of one exported pipeline where there is nothing but numpy and onnxruntime; see `onnx_serving.py`.

    python serve_alone.py PIPELINE.onnx CLIPS.npz

Prints JSON: seconds until a session is ready, imports aside; seconds of CPU and on the clock for all clips,
one of them asked once before; and each clip's probabilities.
"""

import json
import sys
import time

import numpy as np
import onnxruntime


def main() -> None:
    """Ask one session for every clip, in one thread."""
    pipeline, path = sys.argv[1:]
    with np.load(path) as arrays:
        clips = list(arrays.values())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    began = time.perf_counter()
    session = onnxruntime.InferenceSession(pipeline, options, providers=["CPUExecutionProvider"])
    ready = time.perf_counter() - began
    session.run(["probabilities"], {"waveform": clips[0]})
    clock, cpu = time.perf_counter(), time.process_time()
    answers = [session.run(["probabilities"], {"waveform": clip})[0].tolist() for clip in clips]
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    print(json.dumps({"ready": ready, "clock": clock, "cpu": cpu, "answers": answers}))


if __name__ == "__main__":
    main()
