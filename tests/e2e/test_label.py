"""`compactor label` on the command line: shares, and what it prints."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from compactor.cli import cli
from compactor.label_store.store import open_store

RECIPE = """
name: toy
task: image-classification
data: {dataset: digits, limit: {train: 60, select: 40, report: 50}}
student: {model: cifar:resnet8, options: {width: 4}}
stages:
  - {id: teacher, method: supervised, steps: 3, batch_size: 20}
  - id: distil
    method: fkd
    teachers: [stage:teacher]
    labels: {crops: 3}
    options: {crops_per_image: 2}
    steps: 4
    batch_size: 20
"""


def test_shares_make_a_store_and_the_command_says_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.yaml").write_text(RECIPE)
    done = CliRunner().invoke(cli, ["label", "toy.yaml", "--share", "2/2", "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    assert (found["stage"], found["records"], found["whole"]) == ("distil", 270, False)
    done = CliRunner().invoke(cli, ["label", "toy.yaml", "--stage", "distil", "--quiet"])
    assert done.exit_code == 0, done.output
    folder = tmp_path / found["folder"]
    size = open_store(folder).size_bytes
    text = done.stdout.replace("\n", " ")
    assert f"store: {found['folder']} (270 records, " in text
    assert f"{size / 270:.1f} bytes each)" in text
    assert f"next:  compactor store inspect {found['folder']}" in text
