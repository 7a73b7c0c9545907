"""`compactor compare`: what it prints, and that a refusal is one sentence with exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from compactor.cli.compare_command import command
from tests.runtimes.compare_runs import ENVIRONMENT, answers, timing, write_run


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
