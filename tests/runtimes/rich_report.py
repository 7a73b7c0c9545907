"""A synthetic report with everything in it, hostile names included; the same for every test."""

import base64
import io

import msgspec
import numpy as np
from PIL import Image

from compactor_runtimes import class_metrics
from compactor_runtimes.manifest import Artifact, Check, ExportSpec, FileEntry
from compactor_runtimes.measure.records import Measurement
from compactor_runtimes.report import (
    ClassRow,
    Confusion,
    Curve,
    Example,
    Report,
    accuracy_row,
    paired_row,
    recommend,
)

SCRIPT = "<script>alert(1)</script>"
NAMES = [
    "airplane",
    "automobile",
    "bird",
    SCRIPT,
    "deer",
    "dog",
    "frog & toad",
    "horse",
    "$ship$",
    "truck|lorry",
]
ENVIRONMENT = {"cpu": "Toy CPU", "usable_cores": 2, "ram_bytes": 8e9, "packages": {"onnxruntime": "1.2.3"}}
SAMPLES = 600
SUBJECTS = ("resnet56 (torch)", "student (torch)", "onnx fp32", "onnx int8-static")


def logits_of(labels, errors, seed):
    """Logits [N, C] that are wrong on a share of the samples, mostly for the next class."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 0.7, (len(labels), len(NAMES)))
    logits[np.arange(len(labels)), labels] += 6.0
    wrong = np.random.default_rng(99).random(len(labels)) < errors  # nested: who errs less errs on a part
    logits[np.flatnonzero(wrong), (labels[wrong] + 1 + (labels[wrong] % 2)) % len(NAMES)] += 9.0
    return logits


def measurement(subject, scope, scenario, median_ns, n, seed, **changes):
    rng = np.random.default_rng(seed)
    samples = (median_ns * np.exp(rng.gamma(1.2, 0.06, n))).astype(int).tolist()
    fields = {
        "subject": subject,
        "subject_digest": "d",
        "scope": scope,
        "scenario": scenario,
        "batch": 32 if scenario == "offline" else 1,
        "sample_set_digest": "s",
        "threads": None,
        "provider": "CPUExecutionProvider",
        "samples_ns": samples,
        "blocks": [3 * index // n for index in range(n)],
        "load_s": 0.5,
        "rss_bytes": 120_000_000,
        "pss_bytes": 90_000_000,
        "environment": ENVIRONMENT,
        "valid": not changes.get("reasons"),
        "reasons": [],
    }
    return Measurement(**fields | changes)


def thumbnail(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def measurements():
    medians = dict(zip(SUBJECTS, (9e6, 1.4e6, 6e5, 3.1e5), strict=True))
    found = []
    for seed, (subject, median) in enumerate(medians.items()):
        shaky = ["block medians drift by 31%"] if subject == "onnx int8-static" else []
        for scope, slower in (("compute", 1), ("end-to-end", 1.3)):
            found.append(
                measurement(subject, scope, "single-stream", slower * median, 470, seed, reasons=shaky)
            )
            found.append(measurement(subject, scope, "offline", 20 * slower * median, 12, seed))
        found.append(measurement(subject, "cold-start", "once", 3e8 + 30 * median, 3, seed))
    return found


def rich_report():
    """Four subjects, ten classes, one shaky measurement, one rejected artifact, images and texts."""
    labels = np.random.default_rng(0).integers(0, len(NAMES), SAMPLES)
    logits = {
        name: logits_of(labels, errors, 1)
        for name, errors in zip(SUBJECTS, (0.05, 0.12, 0.12, 0.14), strict=True)
    }
    top1 = {name: value.argmax(-1) for name, value in logits.items()}
    sizes = {"resnet56 (torch)": (855_770, 3_460_000), "student (torch)": (78_042, 330_000)}
    sizes |= {"onnx fp32": (None, 320_000), "onnx int8-static": (None, 98_000)}
    kinds = ("teacher", "student", "artifact", "artifact")
    rows = [
        accuracy_row(
            name,
            kind,
            logits=logits[name],
            labels=labels,
            teacher_logits=None if kind == "teacher" else logits[SUBJECTS[0]],
            parameters=sizes[name][0],
            size_bytes=sizes[name][1],
            split="report",
        )
        for name, kind in zip(SUBJECTS, kinds, strict=True)
    ]
    right = {name: top1[name] == labels for name in SUBJECTS}
    pairs = [(0, 1, "distillation"), (1, 2, "export fp32"), (1, 3, "export int8-static")]
    counts = {name: class_metrics.confusion_counts(labels, top1[name], len(NAMES)) for name in SUBJECTS[:3]}
    entry = FileEntry(path="fp32.onnx", sha256="0" * 64, bytes=320_000)
    agreement = Check(name="agreement", passed=True, value=0.9999, limit=0.999, n=1024, detail="all equal")
    wrong = np.flatnonzero(right[SUBJECTS[0]] & ~right[SUBJECTS[1]])[:9]
    report = Report(
        title=f"cifar:resnet8 from resnet56 {SCRIPT}",
        recipe="rich",
        task="image-classification",
        environment=ENVIRONMENT,
        accuracy=rows,
        paired=[
            paired_row(
                SUBJECTS[a],
                SUBJECTS[b],
                step=step,
                correct_a=right[SUBJECTS[a]],
                correct_b=right[SUBJECTS[b]],
            )
            for a, b, step in pairs
        ],
        measurements=measurements(),
        gates=[
            Check(name="student_vs_teacher drop", passed=True, value=9.1, limit=12.0, n=SAMPLES),
            Check(name="artifact_vs_student drop", passed=True, value=0.2, limit=0.5, n=5000),
        ],
        artifacts=[
            Artifact(
                name="fp32",
                spec=ExportSpec(required=True),
                files=[entry],
                status="verified",
                checks=[agreement],
            ),
            Artifact(
                name="int8-static",
                spec=ExportSpec(precision="int8", quantization="static"),
                files=[],
                status="rejected",
                reason="agreement 0.91 < 0.98",
            ),
            Artifact(
                name="tensorrt-rtx-fp16",
                spec=ExportSpec(format="tensorrt-rtx", precision="fp16"),
                files=[],
                status="not-run",
                reason="no GPU of sm89 here",
            ),
        ],
        recommendation="",
        curves=[
            Curve(
                stage="distil",
                epochs=list(range(12)),
                terms={
                    "kl": [8 * 0.7**epoch + 0.2 for epoch in range(12)],
                    "hard_ce": [2.2 * 0.8**epoch + 0.1 for epoch in range(12)],
                },
                select={
                    "accuracy": [0.88 - 0.6 * 0.7**epoch for epoch in range(12)],
                    "macro_f1": [None, *(0.87 - 0.6 * 0.7**epoch for epoch in range(1, 12))],
                },
            )
        ],
        classes=[
            ClassRow(
                label=label,
                n=int(counts[SUBJECTS[0]][number].sum()),
                recall={name: float(class_metrics.recall(counts[name])[number]) for name in counts},
                f1={name: float(class_metrics.f1(counts[name])[number]) for name in counts},
            )
            for number, label in enumerate(NAMES)
        ],
        confusion=Confusion(subject=SUBJECTS[1], labels=NAMES, counts=counts[SUBJECTS[1]].tolist()),
        examples=[
            Example(
                id=int(index),
                truth=NAMES[labels[index]],
                student=NAMES[top1[SUBJECTS[1]][index]],
                student_confidence=0.97 - 0.03 * number,
                teacher=NAMES[top1[SUBJECTS[0]][index]],
                teacher_confidence=0.91,
                image=thumbnail(number) if number < 6 else None,
                text=None
                if number < 6
                else f"how do i {SCRIPT} pay my bill & change | my plan number {number}?",
            )
            for number, index in enumerate(wrong)
        ],
        shipped="onnx fp32",
        report_digest="r" * 64,
        provenance={"seed": 0, "compactor": "0.1.0", "recipe": {"name": "rich", "stages": [{"id": SCRIPT}]}},
    )
    return msgspec.structs.replace(report, recommendation=recommend(report))
