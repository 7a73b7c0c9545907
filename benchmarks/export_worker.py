"""One process that times one ONNX file: `python -m benchmarks.export_worker FILE FEEDS.safetensors SECONDS`.

Prints one JSON line with the median nanoseconds of a run; fits any Python with onnxruntime and numpy.
"""

import json
import os
import statistics
import sys
from time import perf_counter_ns

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import, in whatever Python
import onnxruntime
from safetensors.numpy import load_file


def main() -> None:
    """Open, warm up, run for the given time, print."""
    path, feeds_path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted = {port.name for port in session.get_inputs()}
    feeds = {name: value for name, value in load_file(feeds_path).items() if name in wanted}
    for _ in range(10):
        session.run(None, feeds)
    samples, ends = [], perf_counter_ns() + int(seconds * 1e9)
    while perf_counter_ns() < ends or len(samples) < 20:
        started = perf_counter_ns()
        session.run(None, feeds)
        samples.append(perf_counter_ns() - started)
    print(json.dumps({"median_ns": statistics.median(samples), "n": len(samples)}))


if __name__ == "__main__":
    main()
