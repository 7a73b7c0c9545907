"""Files that several processes make together: each once, those of others waited for or taken over."""

import os
import time
from pathlib import Path

import pytest

from compactor.cache import claims
from compactor.cache.claims import claimed


def files(folder: Path, count: int) -> dict[int, Path]:
    return {number: folder / f"{number}.txt" for number in range(count)}


def test_what_is_missing_is_made_in_order_and_what_is_there_stays(tmp_path: Path) -> None:
    wanted = files(tmp_path, 4)
    wanted[1].write_text("there")
    made = []
    for number in claimed(tmp_path, wanted):
        made.append(number)
        wanted[number].write_text("made")
    assert made == [0, 2, 3]
    assert wanted[1].read_text() == "there"
    assert list(claimed(tmp_path, wanted)) == []


@pytest.mark.slow
def test_another_process_keeps_its_file_until_it_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child holds file 0 and dies without making it; here file 1 is made first, then file 0."""
    monkeypatch.setattr(claims, "POLL_S", 0.02)
    wanted = files(tmp_path, 2)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        held = claimed(tmp_path, wanted)  # a lock ends with its generator
        next(held)
        os.write(writer, b"x")
        time.sleep(0.5)
        os._exit(0)
    os.read(reader, 1)
    made = []
    for number in claimed(tmp_path, wanted):
        made.append(number)
        wanted[number].write_text("made")
    os.waitpid(child, 0)
    assert made == [1, 0]
