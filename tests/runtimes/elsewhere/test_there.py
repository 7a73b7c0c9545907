"""Parts of the program that runs on the other machine."""

import os
import subprocess

from compactor_runtimes.elsewhere.there import MARK, end_processes, run


def sleeper(folder):
    return subprocess.Popen(["sleep", "300"], env={**os.environ, MARK: str(folder)}, start_new_session=True)


def test_what_was_started_there_is_ended_in_whatever_session_and_nothing_else(tmp_path):
    own, other = sleeper(tmp_path / "one"), sleeper(tmp_path / "one2")
    try:
        end_processes(tmp_path / "one")
        assert own.wait(5) == -9
        assert other.poll() is None
    finally:
        for process in (own, other):
            process.kill()
            process.wait()


def test_the_last_line_that_names_an_error_is_what_a_command_said(tmp_path):
    script = "echo first >&2; echo 'ERROR: one'; echo 'error: two' >&2; echo last >&2; exit 4"
    assert run(["sh", "-c", script], tmp_path, dict(os.environ), relay=False) == (4, "two")
    assert run(["sh", "-c", "echo only; exit 5"], tmp_path, dict(os.environ), relay=False) == (5, "only")


def test_lines_are_relayed_and_the_rest_is_not_mixed_in(tmp_path, capfd):
    script = "echo result; echo progress >&2; kill -9 $$"
    assert run(["sh", "-c", script], tmp_path, dict(os.environ), relay=True) == (-9, "progress")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "progress\n")
