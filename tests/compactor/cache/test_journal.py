"""The journal holds whole lines, whatever the disk does in between."""

import json
from pathlib import Path

import pytest

from compactor.cache.journal import Journal
from compactor_runtimes.errors import UnfitEnvironmentError
from tests.full_disk import no_room


def test_a_line_that_finds_no_room_leaves_no_part_of_itself(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write("first", number=1)
    before = (tmp_path / "journal.jsonl").read_bytes()
    with pytest.raises(UnfitEnvironmentError, match="File too large"), no_room():
        journal.write("second", text="x" * 5000)
    assert (tmp_path / "journal.jsonl").read_bytes() == before
    journal.write("third", number=3)
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["first", "third"]
