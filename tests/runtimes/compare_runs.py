"""Small synthetic runs of 100 samples to compare: a report and predictions, nothing else."""

import msgspec
import numpy as np

from compactor_runtimes.report import AccuracyRow, Report
from compactor_runtimes.stats.metrics import wilson
from compactor_runtimes.stats.predictions import Predictions, write_predictions
from tests.runtimes.toy_measurement import measurement

N = 100
LABELS = np.zeros(N, np.int64)
ENVIRONMENT = {"cpu": "Toy CPU", "arch": "x86_64", "usable_cores": 2, "packages": {"onnxruntime": "1.2.3"}}
SHIPPED = "onnx fp32"


def answers(*wrong):
    """Top classes of N samples whose label is 0, wrong at these positions."""
    top1 = np.zeros(N, np.int64)
    top1[list(wrong)] = 1
    return top1


def timing(blocks_ns, *, scope="compute", scenario="single-stream", **changes):
    """Two samples a block, so that a block's median is what is given."""
    samples = [value for value in blocks_ns for _ in range(2)]
    fields = {
        "batch": 1,
        "blocks": [block for block in range(len(blocks_ns)) for _ in range(2)],
        "rss_bytes": 50_000_000,
        "environment": ENVIRONMENT,
    }
    return measurement(SHIPPED, scope, scenario, samples, **fields | changes)


def row(subject, kind, *, right=0, n=N, size=1000, metric="accuracy", value=None, low=None, high=None):
    bounds = wilson(right, n)
    return AccuracyRow(
        subject=subject,
        kind=kind,
        metric=metric,
        value=right / n if value is None else value,
        low=bounds[0] if low is None else low,
        high=bounds[1] if high is None else high,
        n=n,
        agreement_with_teacher=None,
        kl_to_teacher=None,
        ece=None,
        parameters=None,
        size_bytes=size,
        split="report",
    )


def write_run(root, name, top1, *, measurements=None, size=1000, digest="samples", labels=LABELS, **changes):
    labelled = bool((labels >= 0).any())
    right = int((top1 == LABELS).sum())
    metric = "accuracy" if labelled else "agreement"
    rows = [
        row("one (torch)", "teacher", right=90),
        row("teachers (torch)", "teacher", right=99, metric=metric),
        row("student (torch)", "student", right=right, metric=metric),
        row(SHIPPED, "artifact", right=right, size=size, metric=metric),
        row("onnx other", "artifact", right=1, metric=metric),
    ]
    fields = {
        "title": f"toy {name}",
        "recipe": "toy",
        "task": "image-classification",
        "environment": ENVIRONMENT,
        "accuracy": rows,
        "paired": [],
        "measurements": [timing([100, 101, 102])] if measurements is None else measurements,
        "gates": [],
        "artifacts": [],
        "recommendation": "",
        "shipped": SHIPPED,
        "labelled": labelled,
        "report_digest": digest,
    }
    folder = root / name
    (folder / "report").mkdir(parents=True)
    # report.json alone: drawing pages takes longer than all tests here
    report = Report(**fields | changes)
    (folder / "report" / "report.json").write_bytes(msgspec.json.encode(report))
    subjects = {"teachers (torch)": answers(0), "student (torch)": top1, SHIPPED: top1}
    confidence = {subject: np.ones(N, np.float32) for subject in subjects}
    write_predictions(
        Predictions(digest, np.arange(N, dtype=np.int64), labels, subjects, confidence), folder / "report"
    )
    return folder
