"""From a recipe that rejects to a bundle that does: chosen on select, reported, served and verified."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from compactor_runtimes import load, verify_bundle
from compactor_runtimes.report import read_report
from tests.command_line import compactor
from tests.compactor.text_toys import bert_folder, write_tokenizer
from tests.manifests import write_raw

SAID = {
    "light": ["turn on the light", "the light on", "light off now", "turn the light off"],
    "music": ["play music", "play the music now", "music on", "play it"],
    "none": ["is it", "what is the", "now it is", "is what it"],
}
QUICK = {"optimizer": "adamw", "lr": 5e-3, "batch_size": 16}


def run(folder: Path, recipe: dict[str, object]) -> Path:
    """The finished run's folder."""
    (folder / "toy.yaml").write_text(yaml.safe_dump(recipe | {"name": "toy", "measure": {"scenarios": []}}))
    done = compactor("run", "toy.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "answers are rejected below a confidence of" in done.stderr.replace("\n", " ")
    return (folder / "runs" / "toy" / "latest").resolve()


@pytest.mark.heavy
def test_texts_out_of_scope_are_rejected(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert", max_position_embeddings=40)
    write_tokenizer(folder)
    for split, times in (("train", 20), ("validation", 5), ("test", 5)):
        (tmp_path / "talk").mkdir(exist_ok=True)
        with (tmp_path / "talk" / f"{split}.csv").open("w", newline="") as file:
            rows = [(text, label) for _ in range(times) for label, texts in SAID.items() for text in texts]
            csv.writer(file).writerows([("text", "label"), *rows])
    student = {"model": "hf:bert", "weights": "pretrained"}
    done = run(
        tmp_path,
        {
            "task": "text-classification",
            "data": {"dataset": "talk", "max_tokens": 16},
            "student": student,
            "stages": [
                {"id": "teacher", "method": "supervised", "epochs": 6, **QUICK},
                {"id": "distil", "method": "kd", "teachers": ["stage:teacher"], "epochs": 6, **QUICK},
            ],
            "reject": {"out_of_scope": "none"},
            "export": [{"required": True}, {"precision": "int8", "quantization": "dynamic"}],
        },
    )
    report, bundle = read_report(done / "report" / "report.json"), done / "bundle"
    assert [row.kind for row in report.rejects][:3] == ["teacher", "student", "artifact"]
    assert {row.out_of_scope for row in report.rejects} == {"none"}
    student_row = report.rejects[1]
    assert student_row.in_scope_accuracy is not None
    assert student_row.out_of_scope_recall is not None
    assert (student_row.in_scope_accuracy.n, student_row.out_of_scope_recall.n) == (40, 20)
    assert "Rejected answers" in (bundle / "reports" / "report.html").read_text()
    with load(bundle) as model:
        (post,) = model.bundle.manifest.post
        assert (post.reject_below, post.reject_label) == (student_row.threshold, "none")
        texts = [text for texts in SAID.values() for text in texts]
        answers = model.predict(texts)
    # what is served is what the report counted: every text is five times in the report split
    kept = [one.label == label and not one.rejected for one, label in zip(answers, expected(), strict=True)]
    assert sum(kept[:8]) == student_row.in_scope_accuracy.value * 8
    rejected = [one.rejected for one in answers]
    assert sum(rejected[8:]) == student_row.out_of_scope_recall.value * 4
    assert sum(rejected) == pytest.approx(student_row.rejected.value * 12)
    assert len(set(rejected)) == 2
    assert "`rejected`, which is true if" in (bundle / "README.md").read_text()
    spoken = compactor("predict", str(bundle), *texts, cwd=tmp_path)
    assert [line.endswith("\trejected") for line in spoken.stdout.splitlines()] == rejected
    assert verify_bundle(bundle)
    change_threshold(bundle, 1.0)
    assert not verify_bundle(bundle)


def expected() -> list[str]:
    return [label for label, texts in SAID.items() for _ in texts]


def change_threshold(bundle: Path, below: float) -> None:
    """As somebody would who edits the manifest: every golden answer would now be rejected."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["post"][0]["reject_below"] = below
    write_raw(bundle / "manifest.json", manifest)


@pytest.mark.heavy
def test_a_share_of_images_is_kept(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        {
            "task": "image-classification",
            "data": {"dataset": "digits"},
            "student": {"model": "cifar:resnet8", "options": {"width": 4}},
            "stages": [{"id": "one", "method": "supervised", "epochs": 2, "lr": 0.1, "batch_size": 64}],
            "reject": {"keep": 0.8},
        },
    )
    report = read_report(done / "report" / "report.json")
    student, artifact = report.rejects
    assert student.threshold == artifact.threshold > 0
    assert 0.1 < student.rejected.value < 0.3  # a fifth, give or take, of other samples
    (truth,) = [row for row in report.accuracy if row.kind == "student"]
    assert student.kept_accuracy is not None
    assert student.kept_accuracy.value > truth.value
    assert student.in_scope_accuracy is None
    assert verify_bundle(done / "bundle")
