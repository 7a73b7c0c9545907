"""What to export: fp32, and smaller or faster variants where the data can tell whether they are good."""

from compactor.propose.commented_yaml import Entries, Entry
from compactor.propose.data import Found
from compactor.records import IMAGES, heads_of

CALIBRATION = 256


def variants(found: Found) -> list[Entries]:
    """Entries of `export`: fp32 is required, all others are optional and judged by the gates.

    A precision whose gates the select rows cannot decide is left out: it would be rejected whatever it does.
    """
    rows = found.survey.rows.get("select", 0)
    able = [one for one in ("int8", "fp16") if rows >= needed_rows(one, found.task)]
    short = f"; {rows} select rows are too few to judge int8 or fp16" if not able else ""
    entries = [
        [
            Entry("format", "onnx", "what the bundle holds"),
            Entry("precision", "fp32", f"of the graph{short}"),
            Entry("required", True, "no bundle if it fails its checks"),
        ]
    ]
    if found.task != IMAGES:
        entries.append(
            _optional(
                Entry("precision", "fp32", "weights as they are"),
                Entry("fused", True, "ONNX Runtime's own operators: CPU only, often faster"),
            )
        )
    if "int8" in able and found.task == IMAGES:
        samples = {"split": "train", "samples": CALIBRATION}
        entries.append(
            _optional(
                Entry("precision", "int8", "a quarter of the size; fast where the CPU has VNNI"),
                Entry("quantization", "static", "weights and activations"),
                Entry("calibration", samples, "real samples that set the ranges"),
            )
        )
    elif "int8" in able:
        entries.append(
            _optional(
                Entry("precision", "int8", "a quarter of the size; fast where the CPU has VNNI"),
                Entry("quantization", "dynamic", "weights; activations as they come"),
            )
        )
    if "fp16" in able and found.task == IMAGES:
        entries.append(_optional(Entry("precision", "fp16", "half the size; seldom faster on a CPU")))
    return entries


def needed_rows(precision: str, task: str) -> int:
    """Select rows from which on the default gates can be passed at all."""
    from compactor.recipe.spec import VsStudentGate
    from compactor_runtimes.stats.metrics import samples_needed

    gate = VsStudentGate()
    needed = samples_needed({str(key): value for key, value in gate.min_agreement.items()}[precision])
    if not heads_of(task)[0].is_labelled:  # nothing to be right or wrong about
        return needed
    return max(needed, samples_needed(1 - gate.max_drop_points / 100))


def _optional(*entries: Entry) -> Entries:
    return [Entry("format", "onnx", "optional: left out, with the reason, if a gate fails"), *entries]
