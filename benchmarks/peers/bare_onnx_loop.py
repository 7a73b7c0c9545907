"""The peer of the harness: the loop that a user would write around ONNX Runtime, in a fresh process."""

import subprocess
import sys
from pathlib import Path

LOOP = """
import sys, time, numpy as np, onnxruntime as ort
from statistics import median
options = ort.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
shape = [int(size) for size in sys.argv[3].split("x")]
feeds = {session.get_inputs()[0].name: np.random.default_rng(0).random(shape, np.float32)}
for _ in range(50):
    session.run(None, feeds)
times, begin = [], time.perf_counter()
while time.perf_counter() - begin < 3:
    start = time.perf_counter_ns()
    session.run(None, feeds)
    times.append(time.perf_counter_ns() - start)
print(median(times) / 1e6)
"""


def median_ms(model: Path, *, shape: list[int], threads: int) -> float:
    """Median time of one query of this shape."""
    size = "x".join(map(str, shape))
    command = [sys.executable, "-c", LOOP, str(model), str(threads), size]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)
