"""Where a command is told to write may be no folder; who reads what it prints may go away."""

import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from compactor import cli
from compactor_runtimes.errors import UsageError
from tests.command_line import compactor, start_compactor
from tests.runtimes.rich_report import rich_report


@pytest.mark.slow
def test_an_output_that_is_no_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(msgspec.json.encode(rich_report()))
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "page/report.md").mkdir(parents=True)
    for output, named in (("file", "file/report.md"), ("page", "page/report.md"), ("n" * 256, "report.md")):
        with pytest.raises(UsageError, match=f"{named}: cannot be written: .*; give another place") as told:
            CliRunner().invoke(
                cli.cli, ["report", str(tmp_path), "--output", str(tmp_path / output)], catch_exceptions=False
            )
        assert told.value.exit_code == 2
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "cifar:resnet20", "--random-weights", "-o", "taken/below"],
        ["run", "digits", "--smoke", "--quiet", "--runs", "taken"],
    ],
)
def test_a_file_where_a_folder_should_be_is_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    done = compactor(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"error: taken\S*: cannot be written: .*; give another place\n", done.stderr)
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("arguments", [["recipes"], ["--help"]])
def test_a_reader_that_went_away_is_silent_and_has_the_code_of_a_closed_pipe(arguments: list[str]) -> None:
    process = start_compactor(*arguments, cwd=Path.cwd())
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == cli.CLOSED_READER == 141
    process.stderr.close()
