"""Run folders: names, the latest one, and one trainer at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from compactor.cache.folder import RunFolders, only_one
from compactor_runtimes.errors import UsageError


def test_two_runs_in_one_second_get_two_folders_and_latest_moves(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    first, second = folders.new_run(), folders.new_run()
    assert first != second
    for run in (first, second):
        folders.point_latest(run)
        assert (tmp_path / "latest").resolve() == run.resolve()


def test_a_second_process_is_kept_out_and_a_dead_one_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from compactor.cache.folder import only_one\n"
        "with only_one(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    with pytest.raises(UsageError, match="another process is training this stage"), only_one(tmp_path):
        pass
    child.kill()
    child.communicate()
    with only_one(tmp_path):
        pass
