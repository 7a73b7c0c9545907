"""The command line: every help teaches, lists are whole, and the commands agree with the files."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from compactor.cli import COMMANDS, cli
from compactor.doctor import examine


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_a_sentence_and_keeps_its_examples_line_by_line(name: str) -> None:
    text = CliRunner().invoke(cli, [name, "--help"]).output
    assert text.startswith(f"Usage: cli {name}")
    assert "\\b" not in text
    for line in text.splitlines():
        assert line.count("compactor run ") <= 1
        assert line.count("compactor predict ") <= 1


def test_the_table_of_commands_and_the_files_agree() -> None:
    folder = Path(__file__).parents[3] / "compactor" / "cli"
    assert {path.stem.removesuffix("_command") for path in folder.glob("*_command.py")} == set(COMMANDS)
    text = CliRunner().invoke(cli, ["--help"]).output
    for name in COMMANDS:
        assert f"\n  {name} " in text


def test_doctor_knows_every_extra_and_names_what_is_missing() -> None:
    extras = examine()["extras"]
    assert {"train", "vision", "export", "ort", "bench", "report"} <= set(extras)
    assert extras["ort"]["missing"] == []
    assert extras["tensorrt"]["install"] == "pip install 'compactor-toolkit[tensorrt]'"
