"""From images and texts with any number of labels to a bundle that names them."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from benchmarks.multi_label import CLASSES, compose, recipe
from compactor_runtimes import load, verify_bundle
from compactor_runtimes.report import read_report
from tests.command_line import compactor
from tests.compactor.text_toys import write_tokenizer
from tests.manifests import write_raw


@pytest.mark.heavy
def test_images_of_several_digits(tmp_path: Path) -> None:
    compose(tmp_path / "tiles", {"train": 600, "validation": 200, "test": 150})
    raw = recipe(Path("tiles"), "kd")
    raw |= {"name": "toy", "export": [{"required": True}, {"precision": "int8", "quantization": "static"}]}
    least = {"fp32": 0.999, "fp16": 0.9, "int8": 0.9}
    raw["gates"] = {"artifact_vs_student": {"min_agreement": least, "max_drop_points": 5}}
    for stage, steps in zip(raw["stages"], (120, 60), strict=True):
        stage |= {"steps": steps}
    raw["stages"][0]["student"] = {"model": "cifar:resnet8", "options": {"width": 8}}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(raw))
    done = compactor("run", "toy.yaml", cwd=tmp_path)
    assert done.returncode in (0, 4), done.stderr[-3000:]  # 4: not yet good enough to be recommended
    folder = (tmp_path / "runs" / "toy" / "latest").resolve()
    report, bundle = read_report(folder / "report" / "report.json"), folder / "bundle"
    assert {row.metric for row in report.accuracy} == {"mAP"}
    assert [row.kind for row in report.accuracy][:3] == ["teacher", "student", "artifact"]
    teacher, student, artifact = report.accuracy[:3]
    assert 0.35 < student.value < teacher.value
    assert artifact.value == pytest.approx(student.value, abs=1e-3)
    assert artifact.agreement_with_teacher is not None
    assert [row.label for row in report.labels] == CLASSES
    assert [row.mcnemar_p for row in report.paired] == [None] * len(report.paired)
    assert "any number of 10 labels may be true of a row" in " ".join(report.notes)
    assert {artifact.status for artifact in report.artifacts} == {"verified"}
    assert verify_bundle(bundle)
    with load(bundle) as model:
        (post,) = model.bundle.manifest.post
        assert post.thresholds == [row.threshold["student (torch)"] for row in report.labels]
        images = sorted(bundle.glob("golden/*.png"))
        answers = model.predict(images)
    assert len({tuple(one.labels) for one in answers}) > 1
    for one in answers:
        found = zip(CLASSES, one.probabilities, post.thresholds, strict=True)
        assert set(one.labels) == {name for name, p, threshold in found if p >= threshold}
    spoken = compactor("predict", str(bundle), *map(str, images), cwd=tmp_path)
    cells = [line.split("\t")[1:] for line in spoken.stdout.splitlines()]
    assert [[cell.split()[0] for cell in row] for row in cells] == [one.labels or ["-"] for one in answers]
    plain = json.loads(compactor("predict", "--json", str(bundle), str(images[0]), cwd=tmp_path).stdout)
    assert plain[0]["labels"] == answers[0].labels
    assert len(plain[0]["probabilities"]) == 10
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["post"][0]["thresholds"] = [1.0] * 10
    write_raw(bundle / "manifest.json", manifest)
    assert not verify_bundle(bundle)


# of equal length: batches hold texts of like length, and should hold all of these
SAID = {
    "turn on the light now it": "light",
    "now play music it is on": "music",
    "turn the light on play music": "light|music",
    "what time is it now on": "time",
    "what time is it play music": "time|music",
    "is it on now the off": "|",
}


@pytest.mark.heavy
def test_texts_of_two_teachers(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "words")
    (tmp_path / "talk").mkdir()
    for split, times in (("train", 20), ("validation", 8), ("test", 5)):
        with (tmp_path / "talk" / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *(list(SAID.items()) * times)])
    quick = {"optimizer": "adamw", "lr": 5e-3, "batch_size": 16, "epochs": 15}
    raw = {
        "name": "talk",
        "task": "text-multi-label",
        "data": {"dataset": "talk", "max_tokens": 16, "tokenizer": str(tokenizer)},
        "student": {"model": "encoder:1x32"},
        "stages": [
            {"id": "one", "method": "supervised", **quick},
            {"id": "two", "method": "supervised", "student": {"model": "encoder:2x32"}, **quick},
            {
                "id": "distil",
                "method": "kd",
                "teachers": ["stage:one", "stage:two"],
                "options": {"divergence": "js", "temperature": 2.0, "soft_weight": 1.0},
                **quick,
            },
        ],
        "measure": {"scenarios": []},
    }
    (tmp_path / "talk.yaml").write_text(yaml.safe_dump(raw))
    done = compactor("run", "talk.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    bundle = (tmp_path / "runs" / "talk" / "latest").resolve() / "bundle"
    report = read_report(bundle / "reports" / "report.json")
    assert [row.kind for row in report.accuracy] == ["teacher"] * 3 + ["student", "artifact"]
    assert min(row.value for row in report.accuracy) > 0.95, [row.value for row in report.accuracy]
    with load(bundle) as model:
        answers = model.predict(list(SAID))
    expected = [set(filter(None, cell.split("|"))) for cell in SAID.values()]
    assert [set(one.labels) for one in answers] == expected
    assert not answers[0].truncated
    assert verify_bundle(bundle)
