"""Wrong things typed by a user: one clear sentence on standard error, the right exit code, no traceback."""

import os
import re
import resource
import signal
import time
from pathlib import Path

import pytest

from tests.command_line import compactor, fresh_compactor, start_compactor
from tests.full_disk import tiny_disk

RECIPE = """
name: toy
task: image-classification
data: {{dataset: {data}}}
student: {{model: cifar:resnet8, options: {{width: 4}}{weights}}}
stages:
  - {{id: one, method: supervised, epochs: 1}}
"""


def recipe(folder: Path, *, data: str = "digits", weights: str = "") -> str:
    (folder / "toy.yaml").write_text(RECIPE.format(data=data, weights=weights))
    return "toy.yaml"


def refused(*arguments: str, cwd: Path, code: int = 2, says: str) -> None:
    done = compactor(*arguments, cwd=cwd, env={"COMPACTOR_DATA": ""})
    assert done.returncode == code, done.stderr[-2000:]
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    # on a slow machine the progress of what came before stands above it
    assert any(line.startswith(("error: ", "Usage: ")) for line in done.stderr.splitlines())


def images(folder: Path, names: list[str]) -> None:
    from PIL import Image

    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)


def test_missing_weight_file(tmp_path: Path) -> None:
    name = recipe(tmp_path, weights=", weights: gone.safetensors")
    refused("run", name, cwd=tmp_path, says="gone.safetensors was not found")


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    name = recipe(tmp_path, weights=", weights: other.safetensors")
    refused("run", name, cwd=tmp_path, says="of another architecture than CifarResNet")


def parquet(path: Path, labels: list[int]) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    metadata = {b"classes": b'["a", "b"]'}
    table = pa.table({"image": [buffer.getvalue()] * len(labels), "label": labels}).replace_schema_metadata(
        metadata
    )
    pq.write_table(table, path)


def test_labels_out_of_range(tmp_path: Path) -> None:
    parquet(tmp_path / "data.parquet", [0, 1, 7, 0, 1, 0, 1, 0])
    refused("run", recipe(tmp_path, data="data.parquet"), cwd=tmp_path, says="7")


def test_truncated_parquet(tmp_path: Path) -> None:
    parquet(tmp_path / "data.parquet", [0, 1] * 20)
    content = (tmp_path / "data.parquet").read_bytes()
    (tmp_path / "data.parquet").write_bytes(content[: len(content) // 2])
    refused("run", recipe(tmp_path, data="data.parquet"), cwd=tmp_path, says="data.parquet")


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    refused("run", recipe(tmp_path, data="pictures"), cwd=tmp_path, says="pictures")


def test_images_of_different_sizes(tmp_path: Path) -> None:
    from PIL import Image

    images(tmp_path / "pictures", [f"{kind}/{number}.png" for kind in "ab" for number in range(9)])
    Image.new("RGB", (9, 8)).save(tmp_path / "pictures" / "a" / "odd.png")
    refused("run", recipe(tmp_path, data="pictures"), cwd=tmp_path, says="image_size")


def test_typo_in_a_recipe_and_in_a_command(tmp_path: Path) -> None:
    name = recipe(tmp_path)
    refused("run", name, "--set", "stages.0.epoch=1", cwd=tmp_path, says="did you mean 'epochs'?")
    refused("rnu", name, cwd=tmp_path, says="did you mean 'run'?")
    refused("run", name, "--sett", "a=1", cwd=tmp_path, says="--sett")


def test_not_a_bundle_and_not_an_image(tmp_path: Path) -> None:
    refused("verify", "nothing", cwd=tmp_path, says="nothing")
    (tmp_path / "empty").mkdir()
    refused("predict", "empty", "x.png", cwd=tmp_path, code=7, says="manifest.json")


def test_required_export_that_this_release_cannot_do_stops_before_training(tmp_path: Path) -> None:
    override = "export=[{format: tensorrt, precision: fp16, required: true}]"
    name = recipe(tmp_path)
    refused("run", name, "--set", override, cwd=tmp_path, code=6, says="cannot be required")
    assert not (tmp_path / "runs" / "toy" / "stages").exists()


@pytest.mark.slow
def test_a_failed_accuracy_gate_is_exit_code_4_and_keeps_the_report(tmp_path: Path) -> None:
    text = RECIPE.format(data="digits, limit: {train: 500, select: 60, report: 100}", weights="").replace(
        "epochs: 1}", "epochs: 4, lr: 0.1, batch_size: 16}"
    )
    text += "  - {id: two, method: kd, epochs: 1, lr: 1.0e-9, "
    text += "student: {model: cifar:resnet8}, teachers: [stage:one]}\n"
    text += "gates: {student_vs_teacher: {max_drop_points: 1}}\nmeasure: {scenarios: []}\n"
    (tmp_path / "toy.yaml").write_text(text)
    refused("run", "toy.yaml", "--quiet", cwd=tmp_path, code=4, says="student_vs_teacher")
    (run,) = [path for path in (tmp_path / "runs" / "toy").iterdir() if path.name != "stages"]
    assert (run / "report" / "report.json").is_file()
    assert not (run / "bundle").exists()
    assert not (tmp_path / "runs" / "toy" / "latest").exists()


@pytest.mark.slow
def test_a_machine_that_refuses_to_write_is_exit_code_6(tmp_path: Path) -> None:
    """A file size limit stands in for a full disk: both end a write with an OSError."""
    done = fresh_compactor(
        "run",
        recipe(tmp_path),
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert done.returncode == 6, done.stderr[-2000:]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_output_that_cannot_be_written_is_exit_code_6(options: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = fresh_compactor("doctor", *options, cwd=Path.cwd(), stdout=full)
    assert done.returncode == 6
    assert done.stderr.startswith("error: output: No space left on device; make room")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("size", ["40k", "120k"])
def test_a_full_disk_is_one_sentence_wherever_it_fills_up(tmp_path: Path, size: str) -> None:
    """At the first checkpoint, and after training, where the samples are written that are measured."""
    name = recipe(tmp_path)
    with tiny_disk(tmp_path / "disk", size) as disk:
        environment = {"TMPDIR": str(disk), "COMPACTOR_CACHE": str(disk / "cache"), "COMPACTOR_DATA": ""}
        done = fresh_compactor(
            "run", name, "--smoke", "--quiet", "--runs", str(disk / "runs"), cwd=tmp_path, env=environment
        )
    assert done.returncode == 6, done.stderr[-2000:]
    assert re.fullmatch(r"error: \S+: No space left on device; .+; what was finished is kept\n", done.stderr)


def test_errors_as_json(tmp_path: Path) -> None:
    import json

    done = compactor("plan", "digit", "--json", cwd=tmp_path)
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert (found["error"], found["exit_code"]) == ("UsageError", 2)


@pytest.mark.slow
def test_ctrl_c_exits_130_and_the_printed_command_goes_on(tmp_path: Path) -> None:
    """A real SIGINT in the middle of training; the result equals that of a run that was left alone."""
    import json

    text = RECIPE.format(data="digits", weights="").replace("epochs: 1}", "epochs: 3, batch_size: 32}")
    (tmp_path / "toy.yaml").write_text(text + "measure: {scenarios: []}\n")
    child = start_compactor("run", "toy.yaml", cwd=tmp_path)
    journal = tmp_path / "runs" / "toy"
    while not any('"epoch"' in path.read_text() for path in journal.glob("*/journal.jsonl")):
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    assert child.returncode == 130, errors
    assert "go on with: compactor run toy.yaml" in errors
    plan = json.loads(compactor("plan", "toy.yaml", "--json", cwd=tmp_path).stdout)
    assert plan["steps"][0]["action"] == "resume"
    done = compactor("run", "toy.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = tmp_path / "alone"
    alone.mkdir()
    os.link(tmp_path / "toy.yaml", alone / "toy.yaml")
    child = start_compactor("run", "toy.yaml", "--quiet", cwd=alone)
    while not list(alone.glob("runs/toy/stages/*/done.json")):
        assert child.poll() is None
        time.sleep(0.1)
    child.kill()
    child.communicate()
    first, second = (
        next(folder.glob("runs/toy/stages/one-*/student/model.safetensors")).read_bytes()
        for folder in (tmp_path, alone)
    )
    assert first == second
