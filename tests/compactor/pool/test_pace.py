"""The pace of a pass: told once, in units that people read."""

from pathlib import Path

import pytest

from compactor.pool.pace import Pace, span
from compactor.progress import SilentReporter
from compactor.trainer.interrupt import StopWish


class Heard(SilentReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2.0 min"), (7199, "120.0 min"), (9000, "2.5 h")],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_the_first_shard_tells_how_long_the_rest_takes() -> None:
    heard = Heard()
    with heard.bar("", 30) as bar:
        pace = Pace("scores", 30, bar, heard, StopWish(), Path())
        for _ in range(3):
            pace.tick(10)
            pace.shard_done()
    [note] = heard.notes
    assert "images/s, 20 images are left: about 0 s" in note


def test_a_pass_of_one_shard_has_nothing_left_to_tell() -> None:
    heard = Heard()
    with heard.bar("", 10) as bar:
        pace = Pace("scores", 10, bar, heard, StopWish(), Path())
        pace.tick(10)
        pace.shard_done()
    assert heard.notes == []
