"""The peer for text encoders in ONNX Runtime: its own bert_perf_test, run as it is."""

import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SAMPLES, TIMES = 8, 100


def median_ms(model: Path, *, tokens: int, threads: int) -> float:
    """Median time of one sample of so many tokens, in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / model.name  # it writes its results beside the model
        shutil.copyfile(model, copy)
        command = [sys.executable, "-m", "onnxruntime.transformers.bert_perf_test", "--model", str(copy)]
        command += ["-b", "1", "-s", str(tokens), "--samples", str(SAMPLES), "-t", str(TIMES)]
        command += ["-n", str(threads), "--opt_level", "99", "--mask_type", "2"]
        command += ["--input_ids_name", "input_ids", "--input_mask_name", "attention_mask"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
        with next(Path(folder).glob("perf_results_*.txt")).open(newline="") as file:
            return float(next(csv.DictReader(file, delimiter="\t"))["Latency_P50"])
