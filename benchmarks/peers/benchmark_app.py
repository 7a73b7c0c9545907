"""The peer for OpenVINO: its own benchmark_app, run as it is."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 5
# the extra `benchmark_app` is a script of OpenVINO's package
START = "import sys; from openvino.tools.benchmark.main import main; sys.argv[0] = 'benchmark_app'; main()"


def median_ms(model: Path, *, shapes: dict[str, list[int]], threads: int) -> float:
    """Median time of one query of these shapes in float32, one at a time, in a fresh process."""
    said = ",".join(f"{name}{json.dumps(shape).replace(' ', '')}" for name, shape in shapes.items())
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", START, "-m", str(model), "-d", "CPU", "-hint", "none"]
        command += ["-nstreams", "1", "-nthreads", str(threads), "-api", "sync", "-inference_only"]
        command += ["-infer_precision", "f32", "-data_shape", said, "-t", str(SECONDS)]
        command += ["-json_stats", "-report_type", "no_counters", "-report_folder", folder]
        subprocess.run(command, check=True, capture_output=True)
        report = json.loads((Path(folder) / "benchmark_report.json").read_text())
    return float(report["execution_results"]["latency (ms)"])  # the percentile asked for, 50 if none is
