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


def against(tool: str, *, threads: int, tokens: int, pairs: int) -> dict[str, Any]:
    """Our median and the tool's of one sample, `pairs` times in turn.

    A machine may run faster for some seconds than for the next, so that one of each says little: they
    alternate, and each pair begins with the other one.
    """
    name, runtime = {
        "bert_perf_test": ("minilm", "ort-cpu"),
        "benchmark_app": ("minilm", "openvino"),
        "bare_loop": ("resnet56", "ort-cpu"),
    }[tool]
    model = bundle_of(name) / "artifacts" / "fp32.onnx"
    shapes = {"input_ids": [1, tokens], "attention_mask": [1, tokens]}
    ours: list[dict[str, Any]] = []

    def own() -> None:
        ours.append(_ours(model, runtime, shapes if name == "minilm" else {"pixel_values": IMAGE}, threads))

    others: list[float] = []

    def other() -> None:
        if tool == "bert_perf_test":
            others.append(bert_perf_test.median_ms(model, tokens=tokens, threads=threads))
        elif tool == "benchmark_app":
            others.append(benchmark_app.median_ms(model, shapes=shapes, threads=threads))
        else:
            others.append(bare_onnx_loop.median_ms(model, shape=IMAGE, threads=threads))

    for pair in range(pairs):
        for one in (own, other) if pair % 2 else (other, own):
            one()
    return {"pairs": [one | {"tool_ms": told} for one, told in zip(ours, others, strict=True)]}


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
    return {"ours_ms": found.median_ns / 1e6, "valid": found.valid, "reasons": found.reasons}


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
