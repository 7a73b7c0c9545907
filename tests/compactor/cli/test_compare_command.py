"""`compactor compare`: what it prints, how it refuses (one sentence, exit code 2), what gates do."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from compactor.cli.compare_command import command
from compactor_runtimes.measure.profile_file import write_profile
from tests.command_line import Answer, compactor
from tests.runtimes.compare_profiles import FLAT, profile
from tests.runtimes.compare_runs import ENVIRONMENT, answers, timing, write_run
from tests.runtimes.toy_measurement import blocks_of

EIGHT = [100_000 + step for step in range(8)]


def compared(*arguments: str | Path) -> str:
    return CliRunner().invoke(command, [str(each) for each in arguments], catch_exceptions=False).output


def test_it_prints_accuracy_costs_the_pair_and_a_recommendation(tmp_path: Path) -> None:
    a = write_run(tmp_path, "a", answers(*range(20)))
    b = write_run(tmp_path, "b", answers(), measurements=[timing([50, 51, 52])])
    text = " ".join(compared(a, b).split())
    for shown in (
        "A → B",
        "paired difference: +20.00 points",
        "only A right 0, only B right 20, McNemar p < 0.001: better",
        "agreement between the two: 80.00%",
        "compute single-stream time: × 0.505 [0.490, 0.520]: faster",
        "size: × 1.000",
        "Recommendation: ship B: accuracy of B is higher",
    ):
        assert shown in text, shown


def test_json_holds_the_whole_comparison(tmp_path: Path) -> None:
    a, b = write_run(tmp_path, "a", answers(0)), write_run(tmp_path, "b", answers())
    found = json.loads(compared(a, b, a, "--json"))
    assert [pair["difference"]["points"] for pair in found["pairs"]] == [1, 0]
    assert [side["letter"] for side in found["sides"]] == ["A", "B", "C"]


def test_a_refusal_is_one_sentence_and_exit_code_2_and_needs_no_torch(tmp_path: Path) -> None:
    a = write_run(tmp_path, "a", answers())
    b = write_run(tmp_path, "b", answers(), environment=ENVIRONMENT | {"cpu": "Other"})
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnxruntime'] = None\n"
        "from compactor.cli.compare_command import command\n"
        "from compactor_runtimes.errors import CompactorError\n"
        "try: command.main(sys.argv[1:], standalone_mode=False)\n"
        "except CompactorError as error: print(error); sys.exit(error.exit_code)\n"
    )
    done = [
        subprocess.run([sys.executable, "-c", code, str(a), str(b), *options], capture_output=True, text=True)
        for options in ([], ["--across-machines"])
    ]
    assert [each.returncode for each in done] == [2, 0], done[1].stderr
    assert done[0].stdout.startswith(f"{b}: was measured on another machine than {a} (cpu 'Other' against")
    assert done[0].stdout.count("\n") == 1
    assert "other machine" in done[1].stdout


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    """B is 6 points worse (of 100, at least 2 at 95%), 10% slower and one byte bigger than A."""
    write_run(tmp_path, "a", answers(), measurements=[timing(EIGHT)])
    slower = timing([round(1.1 * value) for value in EIGHT])
    write_run(tmp_path, "b", answers(*range(1, 7)), measurements=[slower], size=1001)
    return "a", "b"


def gated(cwd: Path, *arguments: str) -> Answer:
    return compactor("compare", *arguments, cwd=cwd)


@pytest.mark.parametrize(
    ("gates", "code"),
    [
        (["median>+50%", "accuracy<-50", "agreement<-50", "size>+1"], 0),
        (["median>+5%"], 5),
        (["size>+0"], 5),
        (["accuracy<-1"], 4),
        (["agreement<-1"], 4),
        (["median>+5%", "accuracy<-1"], 4),  # accuracy wins
        (["accuracy<-6"], 4),  # the interval holds the limit: undecided
        (["p99.9>+1%"], 5),  # too few samples
        (["cold-start.median>+1%"], 5),  # not measured
        (["p91>+5%"], 2),
    ],
)
def test_the_exit_code_says_what_has_not_passed(
    tmp_path: Path, runs: tuple[str, str], gates: list[str], code: int
) -> None:
    done = gated(tmp_path, *runs, *(word for gate in gates for word in ("--fail", gate)))
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == (code > 0)
    if code in (4, 5):
        assert done.stderr.startswith(
            f"error: {len(gates)} of {len(gates)} gates not passed: {gates[0]} of B"
        )
        assert all(f"gate {gate} of B against A" in done.stdout for gate in gates)


@pytest.mark.parametrize("gate", ["accuracy<-6", "p99.9>+1%", "cold-start.median>+1%"])
def test_what_is_undecided_passes_where_that_is_allowed(
    tmp_path: Path, runs: tuple[str, str], gate: str
) -> None:
    done = gated(tmp_path, *runs, "--fail", gate, "--allow-undecided")
    assert (done.returncode, done.stderr) == (0, "")
    assert "UNDECIDED" in done.stdout
    done = gated(tmp_path, *runs, "--fail", gate, "--fail", "size>+0", "--allow-undecided")
    assert (done.returncode, done.stderr.startswith("error: 1 of 2 gates")) == (5, True)


def test_gates_are_in_the_one_document_and_in_the_files(tmp_path: Path, runs: tuple[str, str]) -> None:
    options = ["--fail", "size>+0", "--fail", "median>+50%", "--junit", "ci/g.xml", "--markdown", "ci/g.md"]
    done = gated(tmp_path, *runs, *options, "--json")
    assert done.returncode == 5
    found = json.loads(done.stdout)
    assert [(one["gate"]["text"], one["outcome"]) for one in found["gates"]] == [
        ("size>+0", "failed"),
        ("median>+50%", "passed"),
    ]
    (suite,) = ElementTree.parse(tmp_path / "ci" / "g.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    text = (tmp_path / "ci" / "g.md").read_text(encoding="utf-8")
    assert "| `size>+0` | B against A | +1 B | ❌ **failed** | counted |" in text
    assert "**Recommendation:** keep A" in text
    assert gated(tmp_path, *runs, *options[:4], "--markdown", "-").stdout == text


def test_an_option_without_effect_is_refused(tmp_path: Path, runs: tuple[str, str]) -> None:
    for option in (["--junit", "g.xml"], ["--allow-undecided"]):
        done = gated(tmp_path, *runs, *option)
        assert (done.returncode, "there is no gate; give one" in done.stderr) == (2, True)
    done = gated(tmp_path, *runs, "--json", "--markdown", "-")
    assert (done.returncode, "--json takes standard output" in done.stderr) == (2, True)
    (tmp_path / "p.json").write_text("{}")
    done = gated(tmp_path, "a", "p.json")
    assert (done.returncode, "give profiles alone" in done.stderr) == (2, True)


def test_profiles_are_gated_from_their_files(tmp_path: Path) -> None:
    slower = [blocks_of("onnx fp32", *[2 * value for value in FLAT])]
    write_profile(profile(), tmp_path / "a.json")
    write_profile(profile(measurements=slower), tmp_path / "b.json")
    (tmp_path / "folder").mkdir()
    write_profile(profile(measurements=slower), tmp_path / "folder" / "profile.json")
    done = gated(tmp_path, "a.json", "b.json", "--fail", "median>+90%", "--fail", "size>+0")
    assert done.returncode == 5
    assert done.stderr.startswith("error: 1 of 2 gates not passed: median>+90% of B onnx fp32")
    assert gated(tmp_path, "a.json", "folder", "--fail", "median>+90%").returncode == 5
    assert gated(tmp_path, "a.json#onnx fp32", "folder#onnx fp32", "--fail", "size>+0").returncode == 0
    (tmp_path / "bad.json").write_text("{}")
    assert gated(tmp_path, "a.json", "bad.json").returncode == 7
    done = gated(tmp_path, "a.json#onnx", "b.json#onnx fp32")
    assert (done.returncode, "did you mean 'onnx fp32'?" in done.stderr) == (2, True)
