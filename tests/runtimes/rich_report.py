"""A synthetic report with everything in it, hostile names included; the same for every test."""

import base64
import io

import msgspec
import numpy as np
from PIL import Image

from compactor_runtimes.bundle.manifest import Artifact, Check, ExportSpec, FileEntry, OutputErrors
from compactor_runtimes.report import (
    ClassRow,
    Confusion,
    Curve,
    Example,
    Report,
    SlotAnswers,
    accuracy_row,
    artifact_name,
    choose,
    paired_row,
    recommend,
    score_rows,
)
from compactor_runtimes.stats import classes as class_metrics
from tests.runtimes.toy_measurement import measurement as toy_measurement

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
ENVIRONMENT = {
    "cpu": "Toy CPU",
    "usable_cores": 2,
    "ram_bytes": 8e9,
    "packages": {"onnxruntime": "1.2.3", "torch": "2.3.4+cpu"},
}
SAMPLES = 600
SUBJECTS = (
    "resnet56 (torch)",
    "student (torch)",
    "onnx fp32",
    "onnx fp32-fused",
    "onnx fp16",
    "onnx int8-static",
)


def logits_of(labels, errors, seed):
    """Logits [N, C] that are wrong on a share of the samples, mostly for the next class."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 0.7, (len(labels), len(NAMES)))
    logits[np.arange(len(labels)), labels] += 6.0
    wrong = np.random.default_rng(99).random(len(labels)) < errors  # nested: who errs less errs on a part
    logits[np.flatnonzero(wrong), (labels[wrong] + 1 + (labels[wrong] % 2)) % len(NAMES)] += 9.0
    return logits


def tags_of(errors):
    """BIO labels of each text's six words; on a share of the texts the second slot is missed."""
    said = []
    for number, wrong in enumerate(np.random.default_rng(7).random(SAMPLES) < errors):  # nested as logits are
        first = ["B-place", "I-place"] if number % 3 else ["O", "B-time"]
        said.append(["O", *first, "O", "O" if wrong else "B-day", "O"])
    return said


def scores(right):
    """Intents and slots of every subject, against the teacher's."""
    said = {
        name: SlotAnswers(right[name], tags_of(errors))
        for name, errors in zip(SUBJECTS, (0.10, 0.20, 0.20, 0.20, 0.10, 0.24), strict=True)
    }
    return [
        row
        for number, name in enumerate(SUBJECTS)
        for row in score_rows(
            name,
            ("teacher", "student", "artifact")[min(number, 2)],
            said[name],
            tags_of(0),
            teacher=said[SUBJECTS[0]] if number else None,
            split="report",
        )
    ]


def measurement(subject, scope, scenario, median_ns, n, seed, **changes):
    rng = np.random.default_rng(seed)
    samples = (median_ns * np.exp(rng.gamma(1.2, 0.06, n))).astype(int).tolist()
    blocks = [3 * index // n for index in range(n)]
    memory = {"rss_bytes": 120_000_000, "pss_bytes": 90_000_000}
    return toy_measurement(
        subject, scope, scenario, samples, blocks=blocks, environment=ENVIRONMENT, **memory, **changes
    )


def thumbnail(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def measurements():
    medians = dict(zip(SUBJECTS, (9e6, 1.4e6, 6e5, 4.1e5, 9e5, 3.1e5), strict=True))
    found = []
    for seed, (subject, median) in enumerate(medians.items()):
        shaky = ["block medians drift by 31%"] if subject == "onnx int8-static" else []
        where = {"provider": "torch"} if subject.endswith(" (torch)") else {}
        for scope, slower in (("compute", 1), ("end-to-end", 1.3)):
            one = {"reasons": shaky} | where
            found.append(measurement(subject, scope, "single-stream", slower * median, 470, seed, **one))
            found.append(measurement(subject, scope, "offline", 20 * slower * median, 12, seed, **where))
        found.append(measurement(subject, "cold-start", "once", 3e8 + 30 * median, 3, seed, **where))
    return found


def artifacts():
    """fp32, fused and fp16 verified, int8 static overridden, int8 dynamic rejected, an engine not run."""

    def one(spec, size=0, status="verified", agree=(1.0, 0.995), lost=(0.0, 0.4), maximum=2e-6, reason=""):
        exact = spec.precision == "fp32"
        limits = {"fp32": 0.9999, "fp16": 0.995, "int8": 0.98}
        checks = [
            Check(name="shape-grid", passed=True, value=maximum, limit=3e-5, n=4, detail="all shapes run"),
            Check(
                name="min-agreement",
                passed=agree[1] >= limits[spec.precision] or exact,
                value=agree[0] if exact else agree[1],
                observed=agree[0],
                limit=limits[spec.precision],
                n=1200,
                detail=f"{round(1200 * agree[0])} of 1200 samples agree",
            ),
            Check(
                name="max-drop",
                passed=lost[1] <= 0.5,
                value=0.0 if exact else lost[1],
                observed=lost[0],
                limit=0.5,
                n=1200,
                detail=f"{lost[0]} points lost",
            ),
        ]
        errors = OutputErrors(
            n=64,
            maximum=maximum,
            mean=maximum / 9,
            p99=maximum / 2,
            cosine=1 - min(maximum, 1) / 50,
            snr_db=40.0,
            worst_sample=7,
        )
        return Artifact(
            name=spec.name,
            spec=spec,
            files=[FileEntry(path=f"{spec.name}.onnx", sha256="0" * 64, bytes=size)] if size else [],
            status=status,
            checks=checks if status != "not-run" else [],
            limits={"logits": 3e-5},
            reason=reason,
            made={} if exact and not spec.fused else {"from": "fp32"},
            errors={"logits": errors} if status != "not-run" else {},
            isa=["avx2", "avx512_vnni"] if status != "not-run" else [],
        )

    broken = "min-agreement: 1128 of 1200 samples agree (94.00%), 95% lower bound 92.75%"
    return [
        one(ExportSpec(required=True), 320_000),
        one(ExportSpec(fused=True), 318_000),
        one(ExportSpec(precision="fp16"), 163_000, agree=(0.9992, 0.9960), maximum=2.1e-3),
        one(
            ExportSpec(precision="int8", quantization="static", override="the demo needs a small file"),
            98_000,
            "overridden",
            agree=(0.9775, 0.9690),
            lost=(0.9, 1.55),
            maximum=0.31,
            reason="the demo needs a small file (failed: min-agreement: 1173 of 1200 samples agree (97.75%), "
            "95% lower bound 96.90%)",
        ),
        one(
            ExportSpec(precision="int8", quantization="dynamic"),
            0,
            "rejected",
            agree=(0.94, 0.9275),
            lost=(3.2, 4.4),
            maximum=1.4,
            reason=broken,
        ),
        one(
            ExportSpec(format="tensorrt-rtx", precision="fp16", gpus=["sm89"]),
            0,
            "not-run",
            reason="no GPU of sm89 here; run compactor gpu-check on a machine that has one",
        ),
    ]


def rich_report():
    """Six subjects, ten classes, one shaky measurement, variants of every fate, images and texts."""
    labels = np.random.default_rng(0).integers(0, len(NAMES), SAMPLES)
    logits = {
        name: logits_of(labels, errors, 1)
        for name, errors in zip(SUBJECTS, (0.05, 0.12, 0.12, 0.12, 0.12, 0.14), strict=True)
    }
    top1 = {name: value.argmax(-1) for name, value in logits.items()}
    sizes = {"resnet56 (torch)": (855_770, 3_460_000), "student (torch)": (78_042, 330_000)}
    sizes |= {
        artifact_name(one): (None, sum(entry.bytes for entry in one.files))
        for one in artifacts()
        if one.ships
    }
    kinds = ("teacher", "student", *["artifact"] * 4)
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
    pairs = [(0, 1, "distillation"), (1, 2, "export fp32"), (1, 3, "export fp32-fused")]
    pairs += [(1, 4, "export fp16"), (1, 5, "export int8-static")]
    counts = {name: class_metrics.confusion_counts(labels, top1[name], len(NAMES)) for name in SUBJECTS[:3]}
    measured = measurements()
    choice = choose(artifacts(), measured)
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
        measurements=measured,
        gates=[
            Check(name="student_vs_teacher drop", passed=True, value=9.1, limit=12.0, n=SAMPLES),
            Check(name="artifact_vs_student drop", passed=True, value=0.2, limit=0.5, n=5000),
        ],
        artifacts=artifacts(),
        recommendation="",
        scores=scores(right),
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
        shipped=artifact_name(choice.artifact),
        choice=choice.variants,
        report_digest="r" * 64,
        provenance={"seed": 0, "compactor": "0.1.0", "recipe": {"name": "rich", "stages": [{"id": SCRIPT}]}},
    )
    return msgspec.structs.replace(report, recommendation=recommend(report))
