"""One command on a real text model: MiniLM fine-tuned on intents, three of its layers distilled, shipped.

Runs the shipped recipe `clinc-intents` whole, then asks the bundle in a process that cannot import torch.
One seed: the figures say how good the result is, not that distillation helped.
"""

import subprocess
import sys
from typing import Any

from benchmarks.arms import CACHE
from benchmarks.results_file import Figure, Run

NAME = "text"
COMMAND = "make acceptance"
SOURCES = (
    "compactor.trainer.fit",
    "compactor.run.pipeline",
    "compactor.methods.supervised",
    "compactor.methods.kd",
    "compactor.models.hf.build",
    "compactor.tasks.texts",
    "compactor_exporters.onnx_fp32",
)
SETTINGS = {"recipe": "clinc-intents"}
WITHOUT_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import compactor_runtimes
with compactor_runtimes.load(sys.argv[1]) as model:
    print(model.predict("please set an alarm for six tomorrow morning").label)
"""


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """One run."""
    return [{"recipe": "clinc-intents", "seed": 0}]


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Run the recipe; keep what every subject gets right on the report split."""
    from rich.console import Console

    from compactor.progress import RichReporter
    from compactor.recipe.load import load_recipe
    from compactor.run.pipeline import run_recipe
    from compactor_runtimes.stats.predictions import PREDICTIONS_FILE, read_predictions

    loaded = load_recipe(settings["recipe"], [f"seed={settings['seed']}"])
    result = run_recipe(loaded, runs=CACHE / NAME, reporter=RichReporter(Console(stderr=True)))
    assert result is not None
    answers = read_predictions(result.report_file.with_name(PREDICTIONS_FILE))
    rows = {row.subject: row for row in result.report.accuracy}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(result.bundle)], capture_output=True, text=True, check=True
    )
    medians = {
        one.subject: one.median_ns
        for one in result.report.measurements
        if (one.scope, one.scenario) == ("compute", "single-stream") and one.valid
    }
    return {
        "right": {name: int(answers.correct(name).sum()) for name in answers.top1},
        "n": len(answers.ids),
        "same": int((answers.top1["student (torch)"] == answers.top1[result.report.shipped]).sum()),
        "shipped": result.report.shipped,
        "teacher": next(name for name, row in rows.items() if row.kind == "teacher"),
        "size_bytes": {name: row.size_bytes for name, row in rows.items()},
        "compute_median_ns": medians,
        "predicted_without_torch": done.stdout.strip(),
    }


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Accuracy of teacher and student, and agreement of the exported student with the torch one."""
    from compactor_runtimes.stats.metrics import wilson

    result = runs[0]["result"]
    n = result["n"]

    def share(count: int, about: str) -> Figure:
        low, high = wilson(count, n)
        return Figure(count / n, "share", n, low, high, about)

    return {
        "clinc_teacher_acc": share(
            result["right"][result["teacher"]], "MiniLM-L6 fine-tuned on a subset of clinc150, test rows"
        ),
        "clinc_student_acc": share(
            result["right"]["student (torch)"], "three of its layers, distilled on the same subset, test rows"
        ),
        "clinc_onnx_agreement": share(result["same"], "ONNX fp32 and torch student: same intent, test rows"),
    }
