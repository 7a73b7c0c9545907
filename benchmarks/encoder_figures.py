"""Figures of the encoder suite, out of its runs."""

from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figure, Run, spread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WHAT = {
    "teacher": "MiniLM-L6 after Stage 2, fine-tuned",
    "student": "4x256, all stages distilled",
    "nodistill": "4x256 without a teacher",
    "task": "4x256, taught by the fine-tuned teacher alone",
    "tiny": "2x128, all stages distilled",
    "tiny_nodistill": "2x128 without a teacher",
    "tiny_task": "2x128, taught by the fine-tuned teacher alone",
    "teacher_off": "MiniLM-L6 after general texts alone, fine-tuned",
}
GOALS = {"snips_intent_error_ratio": "<= 1.3", "snips_slot_error_ratio": "<= 1.4"}


class Arm:
    """All seeds of an arm: intents right [S, N], whole texts right [S, N], spans [S, N, 3]."""

    def __init__(self, results: list[dict[str, Any]]) -> None:
        """Read what the runs kept."""
        import numpy as np

        self.intent = np.array([[int(one) for one in each["intent_right"]] for each in results])
        self.exact = np.array([[int(one) for one in each["exact"]] for each in results])
        self.spans = np.array(
            [[[int(value) for value in column.split()] for column in each["spans"]] for each in results]
        ).transpose(0, 2, 1)

    def sums(self, seeds: int | None = None) -> "NDArray[np.int64]":
        """What each text adds over the first seeds, [N, 5].

        Intents wrong, texts wrong, spans in both, spans said, spans true.
        """
        import numpy as np

        wrong = np.stack([(1 - self.intent[:seeds]).sum(0), (1 - self.exact[:seeds]).sum(0)], 1)
        return np.concatenate([wrong, self.spans[:seeds].sum(0)], 1)


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Every figure that the runs at hand allow."""
    arms = {}
    for run in runs:
        key = run["settings"]
        if key["part"] == "train":
            arms.setdefault((key["dataset"], key["arm"]), []).append(run["result"])
    read = {key: Arm(results) for key, results in arms.items()}
    found: dict[str, Figure] = {}
    for (dataset, arm), one in read.items():
        found |= _scores(dataset, arm, one)
    for dataset in dict.fromkeys(key[0] for key in read):
        mine = {arm: one for (name, arm), one in read.items() if name == dataset}
        found |= _errors(dataset, mine)
    if ("hwu64", "teacher_off") in read:
        found |= _stage2(read["hwu64", "teacher_off"], read["hwu64", "teacher"])
    results = [(run["settings"], run["result"]) for run in runs]
    for part, make in (("size", _sizes), ("latency", _latency), ("step", _step)):
        mine = [(key, result) for key, result in results if key["part"] == part]
        found |= make(mine) if mine else {}
    for key, result in results:
        if key["part"] == "padding":
            found |= _padding(result)
        if key["part"] == "vocabulary":
            found |= _vocabulary(result)
    return found


def _scores(dataset: str, arm: str, one: Arm) -> dict[str, Figure]:
    from compactor_runtimes.stats.sequences import bootstrap

    n, seeds = one.intent.shape[1], len(one.intent)
    about = f"{dataset}, {WHAT[arm]}; {seeds} seed{'s' if seeds > 1 else ''}, test texts"
    sums = one.sums()
    intent = bootstrap(lambda s: 1 - s[:, 0] / (seeds * n), sums)
    exact = bootstrap(lambda s: 1 - s[:, 1] / (seeds * n), sums)
    slot = bootstrap(_f1, sums)
    return {
        f"{dataset}_{arm}_{name}": _figure(
            each, "share", f"{what} of {about}", arms=(f"{dataset}/{arm}",), n=n
        )
        for name, each, what in (
            ("intent", intent, "intent accuracy"),
            ("slot_f1", slot, "span F1"),
            ("exact", exact, "exact match"),
        )
    }


def _errors(dataset: str, arms: dict[str, Arm]) -> dict[str, Figure]:
    """Errors over the teacher's, and gains of distillation over none on the same texts."""
    from compactor_runtimes.stats.sequences import bootstrap

    found = {}
    for size in ("student", "tiny"):
        if not {"teacher", size} <= arms.keys():
            continue
        pair = _paired(arms["teacher"], arms[size])
        for name, error in (("intent", _intent_error), ("slot", _slot_error)):
            prefix = f"{dataset}_{'' if size == 'student' else 'tiny_'}{name}_error"
            ratio = bootstrap(lambda s, error=error: error(s[:, 5:]) / _floor(error(s[:, :5])), pair)
            about = f"{name} error of {WHAT[size]} over the teacher's"
            key = f"{prefix}_ratio"
            both = (f"{dataset}/teacher", f"{dataset}/{size}")
            found[key] = _figure(ratio, "times", about, GOALS.get(key, ""), arms=both)
            changed = bootstrap(lambda s, error=error: error(s[:, 5:]) / _floor(error(s[:, :5])) - 1, pair)
            found[f"{prefix}_change"] = _figure(
                changed, "", f"relative change of {about}, negative is better", arms=both
            )
    for size, arm, name in (
        ("student", "nodistill", "distill_gain"),
        ("task", "nodistill", "task_gain"),
        ("student", "task", "pretraining_gain"),
        ("tiny", "tiny_nodistill", "tiny_distill_gain"),
        ("tiny_task", "tiny_nodistill", "tiny_task_gain"),
    ):
        if not {size, arm} <= arms.keys():
            continue
        pair = _paired(arms[arm], arms[size])
        gain = bootstrap(lambda s: 100 * (_f1(s[:, 5:]) - _f1(s[:, :5])), pair)
        about = f"{dataset}, span F1 of {WHAT[size]} minus {WHAT[arm]}, same texts, 95% bootstrap"
        both = (f"{dataset}/{arm}", f"{dataset}/{size}")
        found[f"{dataset}_{name}"] = _figure(gain, "points", about, arms=both)
        if name == "distill_gain":
            low = Figure(gain.low, "points", gain.n, gain.low, gain.high, f"lower end: {about}", "> 0", both)
            found[f"{dataset}_{name}_low"] = low
            count = len(pair) * min(len(arms[arm].intent), len(arms[size].intent))
            intents = bootstrap(lambda s, count=count: 100 * (s[:, 0] - s[:, 5]) / count, pair)
            found[f"{dataset}_{name}_intent"] = _figure(
                intents, "points", about.replace("span F1", "intents"), arms=both
            )
    return found


def _stage2(off: Arm, on: Arm) -> dict[str, Figure]:
    from compactor_runtimes.stats.sequences import bootstrap

    pair = _paired(off, on)
    about = (
        "change of the error of hwu64's teacher by in-domain pretraining, at equal steps; negative is better"
    )
    slot = bootstrap(lambda s: _slot_error(s[:, 5:]) / _floor(_slot_error(s[:, :5])) - 1, pair)
    intent = bootstrap(lambda s: _intent_error(s[:, 5:]) / _floor(_intent_error(s[:, :5])) - 1, pair)
    both = ("hwu64/teacher_off", "hwu64/teacher")
    return {
        "stage2_relative_error_change": _figure(slot, "", f"relative {about} (slots)", arms=both),
        "stage2_relative_intent_error_change": _figure(intent, "", f"relative {about} (intents)", arms=both),
    }


def _sizes(runs: list[Any]) -> dict[str, Figure]:
    size = runs[0][1]

    def ratio(above: str, below: str, kind: str, about: str, goal: str = "") -> Figure:
        top = size[f"{above}_fp32"] + size[f"{above}_tokenizer"]
        bottom = size[f"{below}_{kind}"] + size[f"{below}_tokenizer"]
        told = f"{about}: {top / 1e6:.1f} MB over {bottom / 1e6:.2f} MB, tokenizers counted"
        return Figure(top / bottom, "times", 1, top / bottom, top / bottom, told, goal, ("size",))

    whole, trimmed = "teacher with its whole vocabulary, fp32", "teacher with the trimmed vocabulary, fp32"
    return {
        "size_ratio": ratio("teacher_whole", "student", "int8-dynamic", f"{whole}, over 4x256 int8", ">= 10"),
        "size_ratio_fp32": ratio("teacher_whole", "student", "fp32", f"{whole}, over 4x256 fp32"),
        "size_ratio_trimmed": ratio("teacher", "student", "int8-dynamic", f"{trimmed}, over 4x256 int8"),
        "size_ratio_trimmed_fp32": ratio("teacher", "student", "fp32", f"{trimmed}, over 4x256 fp32"),
        "size_ratio_tiny": ratio("teacher_whole", "tiny", "int8-dynamic", f"{whole}, over 2x128 int8"),
    }


def _latency(runs: list[Any]) -> dict[str, Figure]:
    times = {(key["subject"], key["block"]): median(result["call_s"]) for key, result in runs}
    blocks = sorted({key["block"] for key, _ in runs})
    calls = len(runs[0][1]["call_s"])

    def ratio(above: str, below: str, about: str, goal: str = "") -> Figure:
        values = [
            times[above, one] / times[below, one]
            for one in blocks
            if (above, one) in times and (below, one) in times
        ]
        return spread(
            values,
            "times",
            f"{about}; one text of SNIPS select, medians of {calls} calls, fresh processes in turn",
            goal,
            ("latency",),
        )

    teacher = "teacher (ONNX fp32)"
    return {
        "latency_ratio_onnx_4x256": ratio("teacher", "student", f"{teacher} over 4x256 (ONNX fp32)", ">= 3"),
        "latency_ratio_onnx_2x128": ratio("teacher", "tiny", f"{teacher} over 2x128 (ONNX fp32)", ">= 10"),
        "latency_ratio_torch_4x256": ratio(
            "teacher_torch", "student", "teacher (torch eager) over 4x256 (ONNX fp32)"
        ),
        "latency_ratio_torch_2x128": ratio(
            "teacher_torch", "tiny", "teacher (torch eager) over 2x128 (ONNX fp32)"
        ),
    } | {
        f"latency_ms_{one}": spread(
            [1000 * times[one, block] for block in blocks if (one, block) in times],
            "ms",
            f"median call of {one}, per block",
            arms=("latency",),
        )
        for one in dict.fromkeys(key["subject"] for key, _ in runs)
    }


def _step(runs: list[Any]) -> dict[str, Figure]:
    times = {(key["subject"], key["block"]): median(result["step_s"]) for key, result in runs}
    blocks = sorted({block for _, block in times if ("fit", block) in times and ("bare", block) in times})
    values = [times["bare", one] / times["fit", one] for one in blocks]
    about = "a hand-written loop's step over the trainer's (with its batching); 4x256, batches of 32 of SNIPS"
    return {"step_ratio": spread(values, "", about, ">= 0.95", ("step",))} if values else {}


def _padding(result: dict[str, Any]) -> dict[str, Figure]:
    n = result["n"]

    def figure(key: str, unit: str, about: str) -> Figure:
        return Figure(result[key], unit, n, result[key], result[key], about, arms=("padding",))

    return {
        "padding_by_length": figure(
            "by_length", "share", "padding in batches of 32 of SNIPS, sorted by length"
        ),
        "padding_unsorted": figure("unsorted", "share", "padding in batches of 32 of SNIPS, in random order"),
        "tokenised_per_s": figure("texts_per_s", "texts/s", "SNIPS train texts, once before training"),
    }


def _vocabulary(result: dict[str, Any]) -> dict[str, Figure]:
    from compactor_runtimes.stats.sequences import bootstrap

    pair = _paired(Arm([result["whole"]]), Arm([result["trimmed"]]))
    n = len(pair)
    about = (
        "of a fine-tuned teacher (without Stage 2) by trimming its vocabulary afterwards, SNIPS test; "
        f"{result['texts_cut_otherwise']} of {n} texts are cut otherwise"
    )
    slot = bootstrap(lambda s: 100 * (_f1(s[:, 5:]) - _f1(s[:, :5])), pair)
    intent = bootstrap(lambda s: 100 * (s[:, 0] - s[:, 5]) / n, pair)
    return {
        "vocabulary_slot_f1_change": _figure(slot, "points", f"span F1 {about}", arms=("vocabulary",)),
        "vocabulary_intent_change": _figure(
            intent, "points", f"intent accuracy {about}", arms=("vocabulary",)
        ),
    }


def _paired(before: Arm, after: Arm) -> "NDArray[np.int64]":
    """Sums of both side by side, [N, 10], over the seeds that both have."""
    import numpy as np

    seeds = min(len(before.intent), len(after.intent))
    return np.concatenate([before.sums(seeds), after.sums(seeds)], 1)


def _f1(sums: "NDArray[np.float64]") -> "NDArray[np.float64]":
    return 2 * sums[:, 2] / (sums[:, 3] + sums[:, 4])


def _slot_error(sums: "NDArray[np.float64]") -> "NDArray[np.float64]":
    return 1 - _f1(sums)


def _intent_error(sums: "NDArray[np.float64]") -> "NDArray[np.float64]":
    return sums[:, 0]


def _floor(errors: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """An error that a ratio may be taken over: where there is none, that of half a text."""
    import numpy as np

    return np.maximum(errors, 1e-9) if float(errors.max(initial=0)) < 1 else np.maximum(errors, 0.5)


def _figure(
    found: Any, unit: str, about: str, goal: str = "", *, arms: tuple[str, ...], n: int | None = None
) -> Figure:
    n = found.n if n is None else n
    return Figure(found.value, unit, n, found.low, found.high, about, goal, arms)
