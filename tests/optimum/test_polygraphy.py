"""Polygraphy on our artifacts, by the commands that the guide shows."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "polygraphy inspect model bundle/artifacts/fp32.onnx",
    "polygraphy run bundle/artifacts/fp32.onnx --onnxrt --validate --save-inputs inputs.json "
    "--save-outputs fp32.json --input-shapes 'input_ids:[2,16]' 'attention_mask:[2,16]' "
    "--val-range 'input_ids:[0,1000]' 'attention_mask:[1,1]'",
    "polygraphy run bundle/artifacts/fp16.onnx --onnxrt --load-inputs inputs.json "
    "--load-outputs fp32.json --atol 0.01",
]


@pytest.fixture(scope="module")
def folder(models, tmp_path_factory):
    """Where the commands are typed: MiniLM's artifacts, in a bundle's place."""
    folder = tmp_path_factory.mktemp("polygraphy")
    (folder / "bundle").mkdir()
    (folder / "bundle" / "artifacts").symlink_to(models / "embedding")
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    return subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_documented_commands_work(folder):
    inspected, ran, compared = (run(command, folder) for command in COMMANDS)
    assert inspected.returncode == 0, inspected.stdout + inspected.stderr
    assert "input_ids [dtype=int64, shape=('batch', 'tokens')]" in inspected.stdout
    assert "embedding [dtype=float32, shape=('batch', 384)]" in inspected.stdout
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "PASSED" in ran.stdout
    assert json.loads((folder / "fp32.json").read_text())
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "Accuracy Comparison" in compared.stdout
    assert "Pass Rate: 100.00%" in compared.stdout


def test_the_comparison_does_compare(folder):
    """fp16 is not fp32: without tolerance the same command fails."""
    run(COMMANDS[1], folder)
    failed = run(COMMANDS[2].replace("--atol 0.01", "--atol 0 --rtol 0"), folder)
    assert failed.returncode == 1
    assert "FAILED" in failed.stdout


def test_the_guide_shows_no_other_commands():
    text = (ROOT / "docs" / "guide" / "variants.md").read_text().replace("\\\n", " ")
    shown = [shlex.split(line) for line in re.findall(r"^(?:\$ )?(polygraphy .*)$", text, flags=re.M)]
    commands = [shlex.split(command) for command in COMMANDS]
    assert [each for each in shown if each not in commands] == []
