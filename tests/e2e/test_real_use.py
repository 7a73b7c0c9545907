"""What a user with their own teacher, student and data meets: no labels, several seeds, a smoke run."""

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from compactor.run.pipeline import RunResult
from compactor.run.seeds import aggregate
from compactor_runtimes.predict.loading import load
from compactor_runtimes.report import read_report
from compactor_runtimes.stats.predictions import read_predictions, write_predictions
from tests.command_line import compactor, fresh_compactor
from tests.conftest import Finished


def test_seeds_are_aggregated_over_the_same_samples(digits_run: Finished, tmp_path: Path) -> None:
    """A second seed is made of the first: five right answers of its student are turned wrong."""
    first = result_of(digits_run.run)
    other = tmp_path / "other"
    shutil.copytree(digits_run.run, other, symlinks=True)
    answers = read_predictions(other / "report" / "predictions.safetensors")
    student, teacher = "student (torch)", "teachers (torch)"
    right = np.flatnonzero(answers.top1[student] == answers.labels)[:5]
    answers.top1[student][right] = (answers.labels[right] + 1) % 10
    write_predictions(answers, other / "report")
    second = result_of(other)
    worse = [
        msgspec.structs.replace(row, value=row.value - 5 / row.n) if row.subject == student else row
        for row in second.report.accuracy
    ]
    curve = second.report.curves[-1]
    curve = msgspec.structs.replace(curve, select={"accuracy": [0.5]})
    second = replace(second, report=msgspec.structs.replace(second.report, accuracy=worse, curves=[curve]))
    found = aggregate([3, 4], [first, second], tmp_path)
    before = {row.step: row.difference_points for row in first.report.paired}["distillation"]
    step = next(one for one in found.steps if one.step == "distillation")
    assert (step.a, step.b, step.n) == (teacher, student, 359)
    assert step.difference_points == pytest.approx(before - 100 * 2.5 / 359)
    values = {row.subject: row.values for row in found.rows}
    assert values[student] == pytest.approx([worse[3].value + 5 / 359, worse[3].value])
    assert values["onnx fp32"][0] == values["onnx fp32"][1]
    assert (found.best_seed, found.best_by) == (3, "accuracy")
    assert (tmp_path / found.bundle).resolve() == digits_run.bundle
    assert [(tmp_path / run).resolve() for run in found.runs] == [digits_run.run, other.resolve()]


def result_of(run: Path) -> RunResult:
    file = run / "report" / "report.json"
    return RunResult(run, run / "bundle", read_report(file), file)


@pytest.mark.heavy
def test_a_student_trained_elsewhere_ships_from_unlabelled_images(tmp_path: Path) -> None:
    """No stage and no label: the teacher is the judge, and the student's own weights are exported."""
    from compactor.models.build import build_model, save_model
    from compactor.recipe.spec import ModelSpec
    from tests.toys import info

    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(40):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
            tmp_path / "photos" / f"{number:02}.png"
        )
    for name, seed in (("teacher", 0), ("student", 1)):
        spec = ModelSpec(model="cifar:resnet8")
        save_model(build_model(spec, info(16, 3), base=tmp_path, seed=seed), spec, tmp_path / name)
    (tmp_path / "ship.yaml").write_text(
        "name: ship\ntask: image-classification\n"
        "data: {dataset: photos, classes: [a, b, c]}\n"
        "student: {model: cifar:resnet8, weights: student/model.safetensors}\n"
        "teachers: [{model: cifar:resnet8, weights: teacher/model.safetensors}]\n"
        "stages: []\nmeasure: {profile: smoke, scenarios: [single-stream]}\n"
    )
    done = fresh_compactor("run", "ship.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    run = (tmp_path / "runs" / "ship" / "latest").resolve()
    report = read_report(run / "report" / "report.json")
    assert not report.labelled
    rows = {row.subject: row for row in report.accuracy}
    assert {row.metric for row in report.accuracy} == {"agreement"}
    assert rows["cifar:resnet8 (torch)"].value == 1.0  # the teacher agrees with itself
    student = rows["student (torch)"]
    assert student.value == student.agreement_with_teacher
    assert (read_predictions(run / "report" / "predictions.safetensors").labels == -100).all()
    with load(run / "bundle") as model:
        assert model.predict(tmp_path / "photos" / "00.png").label in "abc"

    (tmp_path / "ship.yaml").write_text(
        (tmp_path / "ship.yaml").read_text().replace("weights: student/model", "weights: student/lost")
    )
    lost = compactor("run", "ship.yaml", cwd=tmp_path)
    assert lost.returncode == 2
    assert "student/lost.safetensors was not found" in lost.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run"], "give RECIPE, or --teacher, --student and --data"),
        (["run", "digits", "--data", "x"], "give RECIPE, or --teacher, --student and --data, not both"),
        (["run", "digits", "--seeds", "0,0"], "--seeds: got '0,0', expected different whole numbers"),
        (["run", "digits", "--seeds", "0", "--set", "stages.2.seed=1"], "its last stage sets its own seed"),
        (["run", "digits", "--max-hours", "0"], "x>0"),
    ],
)
def test_contradicting_options_are_answered(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    done = compactor(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_time_limit_over_seeds_says_how_all_of_them_go_on(tmp_path: Path) -> None:
    done = compactor("run", "digits", "--smoke", "--seeds", "0,1", "--max-hours", "0.0000001", cwd=tmp_path)
    assert done.returncode == 130
    said = " ".join(done.stderr.split())
    assert "seed 0: stage teacher-a: stopped by --max-hours at step 1 of 2, checkpoint kept" in said
    assert said.endswith("go on with: compactor run digits --smoke --seeds 0,1")
