"""`compactor measure --on`: what it gives to the library, and options that do not go together."""

import pytest

from compactor_runtimes.elsewhere import target
from compactor_runtimes.errors import UnfitEnvironmentError
from tests.command_line import compactor


@pytest.fixture
def given(monkeypatch):
    """What would be measured elsewhere."""
    found = []

    def record(on, errand, *, note):
        found.append((on, errand))
        raise UnfitEnvironmentError("recorded")

    monkeypatch.setattr(target, "measure_there", record)
    return found


def test_all_options_that_hold_there_go_there_as_they_were_given(given, tmp_path):
    words = ["--profile", "smoke", "--scenario", "offline", "--scenario", "single-stream", "--wait-quiet"]
    words += ["--sweep", "batch=1,8", "--again", "0", "--trust", "--runtime", "ort-cpu"]
    here = ["--on", "ssh://pi", "--samples", "a b.png", "--wheels", "w", "--ssh-config", "c", "--keep"]
    done = compactor("measure", "a", "b", *words, *here, "--out", "o", "--json", "--quiet", cwd=tmp_path)
    assert done.returncode == 6
    ((on, errand),) = given
    assert on == "ssh://pi"
    assert errand.words == [
        "--runtime=ort-cpu",
        "--scenario=offline",
        "--scenario=single-stream",
        "--profile=smoke",
        "--sweep=batch=1,8",
        "--wait-quiet=300.0",
        "--again=0",
        "--trust",
    ]
    assert [str(path) for path in (*errand.bundles, *errand.samples)] == ["a", "b", "a b.png"]
    assert (str(errand.wheels), str(errand.ssh_config), errand.keep) == ("w", "c", True)
    assert errand.runtimes == ("ort-cpu",)
    assert errand.command.startswith("compactor measure a b --profile smoke")
    assert "'a b.png'" in errand.command


def test_defaults_are_left_to_the_other_side(given, tmp_path):
    compactor("measure", "a", "--on", "ssh://pi", cwd=tmp_path)
    ((_, errand),) = given
    assert errand.words == []


@pytest.mark.parametrize("words", [["--wheels", "w"], ["--ssh-config", "c"], ["--keep"]])
def test_options_of_another_machine_need_one(words, tmp_path):
    done = compactor("measure", "a", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "belong to --on" in done.stderr


def test_wrong_options_are_refused_before_anything_is_sent(given, tmp_path):
    done = compactor("measure", "a", "--on", "ssh://pi", "--bound", "p99=20ms", cwd=tmp_path)
    assert done.returncode == 2
    assert given == []
