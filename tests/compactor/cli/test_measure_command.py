"""`compactor measure`: what it writes, prints and refuses; a profile goes round through other commands."""

import json
from pathlib import Path

import pytest

from compactor_runtimes.measure.profile_file import read_profile
from tests.command_line import compactor
from tests.runtimes.conftest import WEIGHT, classifier, write_bundle

SHORT = ("--profile", "smoke", "--scenario", "single-stream", "--again", "0", "--quiet")


@pytest.fixture
def bundle(tmp_path: Path):
    return write_bundle(tmp_path / "bundle")


@pytest.mark.slow
def test_a_profile_and_its_pages_are_written_and_go_round(bundle, tmp_path: Path) -> None:
    answer = compactor("measure", "bundle", *SHORT, "--out", "one", "--choose", "size", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.index("Recommendation: load fp32 @ ort-cpu (size)") < answer.stdout.index("subject")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "profile.html",
        "profile.json",
        "profile.md",
    ]
    profile = read_profile(tmp_path / "one" / "profile.json")
    assert profile.command.startswith("compactor measure bundle --profile smoke")
    assert profile.recommendation.subject == "fp32 @ ort-cpu"

    again = compactor("measure", "bundle", *SHORT, "--out", "one", cwd=tmp_path)
    assert again.returncode == 2
    assert "one/profile.json: is there already; give another --out" in again.stderr

    told = compactor("measure", "bundle", *SHORT, "--out", "two", "--json", cwd=tmp_path)
    assert json.loads(told.stdout) == json.loads((tmp_path / "two" / "profile.json").read_text())

    same = ("one/profile.json", "two")
    gate = compactor("compare", *same, "--fail", "size>+0", cwd=tmp_path)
    assert gate.returncode == 0, gate.stderr
    merged = compactor("report", "merge", *same, "--output", "machines", cwd=tmp_path)
    assert merged.returncode == 0, merged.stderr
    assert (tmp_path / "machines" / "machines.html").is_file()
    drawn = compactor("report", "two", "--output", "drawn", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "drawn" / "profile.html").is_file()


@pytest.mark.slow
def test_golden_cases_that_fail_here_are_exit_code_3_and_nothing_is_timed(bundle, tmp_path: Path) -> None:
    import onnx

    wrong = WEIGHT.copy()
    wrong[0, 0] = 3
    onnx.save(classifier(wrong), bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    answer = compactor("measure", "bundle", *SHORT, "--out", "one", cwd=tmp_path)
    assert answer.returncode == 3
    assert "nothing may be timed here: fp32 @ ort-cpu: output logits" in answer.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("none",), 2, "none: does not exist"),
        (("bundle", "--runtime", "ort-cpo"), 2, "did you mean 'ort-cpu'"),
        (("bundle", "--artifact", "fp23"), 2, "did you mean 'fp32'"),
        (("bundle", "--bound", "p99=5ms"), 2, "--bound and --scenario server belong together"),
        (("bundle", "--scenario", "server"), 2, "--bound and --scenario server belong together"),
        (("bundle", "--scenario", "server", "--bound", "soon"), 2, "such as p99=50ms"),
        (("bundle", "--threads", "2", "--sweep", "threads=1"), 2, "exclude each other"),
        (("bundle", "--batch", "2", "--sweep", "batch=1"), 2, "exclude each other"),
        (("bundle", "--sweep", "thread=1"), 2, "did you mean 'threads'"),
        (("bundle", "--samples", "nowhere"), 2, "--samples nowhere: no such file or folder"),
        (("bundle", "--runtime", "ort-cuda"), 6, "CUDAExecutionProvider"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence_and_an_exit_code(
    bundle, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    answer = compactor("measure", *words, "--quiet", "--out", "one", cwd=tmp_path)
    assert (answer.returncode, message in answer.stderr) == (code, True), answer.stderr
    assert answer.stderr.count("\n") <= 4  # of click's own errors, with how it is used
    assert not (tmp_path / "one").exists()
