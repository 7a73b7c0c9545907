"""What a user with their own teacher, student and data meets: no labels, several seeds, a smoke run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compactor_runtimes.model import load
from compactor_runtimes.predictions import read_predictions
from compactor_runtimes.report import read_report
from tests.conftest import compactor


@pytest.mark.slow
def test_a_smoke_run_over_seeds_takes_every_step_and_aggregates(tmp_path: Path) -> None:
    done = compactor(
        *("run", "digits", "--smoke", "--seeds", "0,1", "--set", "measure.scenarios=[single-stream]"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    root = tmp_path / "runs" / "digits-smoke"
    (folder,) = root.glob("*-seeds")
    found = json.loads((folder / "seeds.json").read_text())
    runs = [(folder / run).resolve() for run in found["runs"]]
    assert len(runs) == len(set(runs)) == 2
    assert found["seeds"] == [0, 1]
    assert found["best_seed"] in (0, 1)
    assert f"ship seed {found['best_seed']}, the best by accuracy on select" in done.stdout
    bundle = (folder / found["bundle"]).resolve()
    assert bundle.parent == runs[found["best_seed"]]
    # the aggregated step equals the mean of the runs' own differences over the same 32 samples
    right = [read_predictions(run / "report" / "predictions.safetensors") for run in runs]
    (step,) = [one for one in found["steps"] if one["step"] == "distillation"]
    gains = [one.correct(step["b"]).mean() - one.correct(step["a"]).mean() for one in right]
    assert step["n"] == 32
    assert step["difference_points"] == pytest.approx(100 * np.mean(gains))
    values = {row["subject"]: row["values"] for row in found["rows"]}
    reports = [read_report(run / "report" / "report.json") for run in runs]
    assert values["onnx fp32"] == [report.accuracy[-1].value for report in reports]
    assert reports[0].report_digest == reports[1].report_digest == right[0].digest

    done = compactor("compare", str(runs[0]), str(runs[1]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "noise" in done.stdout


@pytest.mark.slow
def test_a_student_trained_elsewhere_ships_from_unlabelled_images(tmp_path: Path) -> None:
    """No stage and no label: the teacher is the judge, and the student's own weights are exported."""
    from compactor.models.build import build_model, save_model
    from compactor.recipe import ModelSpec
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
    done = compactor("run", "ship.yaml", cwd=tmp_path)
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
