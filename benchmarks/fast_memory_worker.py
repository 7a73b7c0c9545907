"""One subject of the fast_memory arm, in a process of its own: prints one JSON line."""

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.encoder_memory_worker import peak_bytes
from benchmarks.input_cases.toys import write_tokenizer

WORDS = [f"w{number}" for number in range(2_000)]
CLASSES = ("art", "food", "music", "sport")
SHORTEST, LONGEST = 4, 12  # words of a text
RECIPE = """\
name: rows
task: text-classification
seed: 0
data: {dataset: rows.csv, tokenizer: tokenizer.json, max_tokens: 16}
student: {model: "encoder:2x64"}
stages: [{id: student, method: supervised, steps: STEPS, batch_size: 64, lr: 1.0e-3}]
measure: {scenarios: []}
"""


def write_rows(folder: Path, rows: int, steps: int) -> Path:
    """Write a table of short texts in four classes, a tokenizer, and a recipe with a small encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, WORDS)
    rng = random.Random(rows)
    with (folder / "rows.csv").open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for number in range(rows):
            words = rng.choices(WORDS, k=rng.randint(SHORTEST, LONGEST))
            file.write(f"{' '.join(words)},{CLASSES[number % len(CLASSES)]}\n")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("STEPS", str(steps)), encoding="utf-8")
    return recipe


def measure(subject: str, recipe: Path) -> dict[str, Any]:
    """Peak memory and seconds of a plan, or of a plan and a training."""
    from compactor.cache.journal import Journal
    from compactor.progress import SilentReporter
    from compactor.recipe.load import load_recipe
    from compactor.run.plan import make_plan

    started_s, cpu_s = time.perf_counter(), time.process_time()
    plan = make_plan(load_recipe(str(recipe)), recipe.parent / "runs")
    planned_s = time.perf_counter() - started_s
    if subject == "train":
        from compactor.run.stages import StageRunner

        runner = StageRunner(plan, SilentReporter(), Journal(None))
        for stage in plan.stages:
            runner.run(stage)
    return {
        "peak_bytes": peak_bytes(),
        "plan_s": planned_s,
        "seconds": time.perf_counter() - started_s,
        "cpu_s": time.process_time() - cpu_s,
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
