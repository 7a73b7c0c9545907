"""Export that can be trusted: every variant of eight models, verified, measured, chosen; and two peers.

Real weights are judged on labelled samples that no export sees; random ones tell of parity and latency alone.
Needs the environment that `make test-optimum` makes, or COMPACTOR_OPTIMUM_PYTHON.
"""

from typing import Any

from benchmarks.results_file import Figure, Run, spread

NAME = "export"
COMMAND = "make bench"
SOURCES = (
    "compactor.run.pipeline",
    "compactor.models.cifar",
    "compactor.models.hf",
    "compactor.models.timm_models",
    "compactor.models.imported",
    "compactor.tasks.embedding",
    "compactor.tasks.image_classification",
    "compactor.tasks.text_classification",
    "compactor_exporters.onnx_fp32",
    "compactor_exporters.onnx_fp16",
    "compactor_exporters.onnx_int8",
    "compactor_exporters.onnx_fused",
    "benchmarks.export_models",
    "benchmarks.export_peers",
)
ROUNDS = 5
SETTINGS = {"rounds": ROUNDS, "threads": "each runtime's default"}
VISION_PEERS = ("resnet20", "mobilenetv3_large_100", "resnet50d")
TEXT_SHAPES = ("1x16", "1x128")


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """The table model by model, then the graphs against the peers' graphs."""
    from benchmarks.export_models import MODELS

    todo: list[dict[str, Any]] = [{"part": "variants", "model": model, "seed": 0} for model in MODELS]
    todo += [{"part": "classic", "model": model, "rounds": ROUNDS} for model in VISION_PEERS]
    todo += [{"part": "optimum-o2", "shape": shape, "rounds": ROUNDS} for shape in TEXT_SHAPES]
    return todo


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """One model's variants, or one comparison."""
    from benchmarks import export_models, export_peers

    if settings["part"] == "variants":
        return export_models.variants(settings["model"])
    if settings["part"] == "classic":
        return export_peers.against_classic(settings["model"], settings["rounds"])
    return export_peers.against_optimum(settings["shape"], settings["rounds"])


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Ratios of ours over the peer's, from alternating fresh processes; what was chosen for each model."""
    told: dict[str, Figure] = {}
    by_part: dict[str, list[Run]] = {}
    for run in runs:
        by_part.setdefault(run["settings"]["part"], []).append(run)
    tables = [run["result"] for run in by_part.get("variants", [])]
    exported = [one for table in tables for one in table["variants"] if one["status"] != "not-run"]
    shipped = [one for one in exported if one["status"] == "verified"]
    told["models"] = _count(len(tables), len(tables), "models in the table")
    told["variants_verified"] = _count(
        len(shipped), len(exported), "exported variants that passed every gate"
    )
    for table in tables:
        chosen = next(one for one in table["variants"] if one["name"] == table["shipped"])
        plain = next(one for one in table["variants"] if one["name"] == "fp32")
        ratio = plain["compute_ns"] / chosen["compute_ns"]
        about = f"median compute of fp32 over that of the recommended {table['shipped']}, one sample"
        told[f"speedup_{table['model']}"] = Figure(ratio, "", chosen["n"], ratio, ratio, about)
    for run in by_part.get("classic", []):
        model = run["settings"]["model"]
        told[f"vs_classic_{model}"] = spread(
            run["result"]["ratios"], "", f"our graph's time over the classic exporter's, {model}", "<= 1.05"
        )
    for run in by_part.get("optimum-o2", []):
        shape = run["settings"]["shape"]
        told[f"vs_optimum_o2_{shape}"] = spread(
            run["result"]["ratios"],
            "",
            f"our fused MiniLM, pooling included, over optimum's O2 graph without it, {shape} tokens",
            "<= 1.05",
        )
    return told


def _count(value: int, of: int, about: str) -> Figure:
    return Figure(value, f"of {of}", of, value, value, about)
