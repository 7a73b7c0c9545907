"""Our medians beside those of other tools on the same file with the same settings; digits like for like."""

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.measure_known import QUICK, fed_candidate
from benchmarks.measure_models import bundle_of
from benchmarks.peers import bare_onnx_loop, benchmark_app, bert_perf_test
from compactor_runtimes.measure.harness import measure

IMAGE = [1, 3, 32, 32]
VOCABULARY = 30_522


def against(tool: str, *, threads: int, tokens: int) -> dict[str, Any]:
    """Our median and the tool's of one sample."""
    name, runtime = {
        "bert_perf_test": ("minilm", "ort-cpu"),
        "benchmark_app": ("minilm", "openvino"),
        "bare_loop": ("resnet56", "ort-cpu"),
    }[tool]
    model = bundle_of(name) / "artifacts" / "fp32.onnx"
    shapes = {"input_ids": [1, tokens], "attention_mask": [1, tokens]}
    ours = _ours(model, runtime, shapes if name == "minilm" else {"pixel_values": IMAGE}, threads)
    if tool == "bert_perf_test":
        other = bert_perf_test.median_ms(model, tokens=tokens, threads=threads)
    elif tool == "benchmark_app":
        other = benchmark_app.median_ms(model, shapes=shapes, threads=threads)
    else:
        other = bare_onnx_loop.median_ms(model, shape=IMAGE, threads=threads)
    return {"ours_ms": ours["median_ms"], "tool_ms": other, **ours}


def _ours(model: Path, runtime: str, shapes: dict[str, list[int]], threads: int) -> dict[str, Any]:
    from safetensors.numpy import save_file

    random = np.random.default_rng(0)
    arrays = {
        name: np.ones(shape, np.int64)
        if name == "attention_mask"
        else random.integers(1000, VOCABULARY, shape)
        if name == "input_ids"
        else random.random(shape, np.float32)
        for name, shape in shapes.items()
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.safetensors"
        save_file(arrays, path)
        candidate = fed_candidate("ours", runtime, model, path, list(arrays), threads=threads)
        (found,) = measure([candidate], [], QUICK).measurements
    return {"median_ms": found.median_ns / 1e6, "valid": found.valid, "reasons": found.reasons}


def digits() -> dict[str, Any]:
    """The shipped recipe's report: teachers over student in one runtime, and across two."""
    from compactor.progress import SilentReporter
    from compactor.recipe.load import load_recipe
    from compactor.run.pipeline import run_recipe

    with TemporaryDirectory() as folder:
        loaded = load_recipe("digits", ["measure.teacher=bundle"])
        result = run_recipe(loaded, runs=Path(folder), reporter=SilentReporter())
        assert result is not None
        report = result.report
    times = {
        one.subject: one
        for one in report.measurements
        if (one.scope, one.scenario) == ("compute", "single-stream")
    }
    own = times[report.shipped].median_ns
    return {
        "like_for_like": times["teachers (onnx)"].median_ns / own,
        "across_runtimes": times["teachers (torch)"].median_ns / own,
        "valid": all(one.valid for one in times.values()),
        "blocks": {name: median(one.spread.block_medians_ns) for name, one in times.items()},
    }
