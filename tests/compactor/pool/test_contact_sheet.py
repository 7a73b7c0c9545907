from pathlib import Path

import pytest

from compactor.pool.contact_sheet import Pair, caption, contact_sheet
from compactor.pool.near_duplicates import Match
from tests.compactor.pool.pictures import pictures


def test_a_caption_says_why() -> None:
    assert caption(None) == "kept"
    match = Match(3, "pixels", "flip crop 0.90", 0.9312, 0.8)
    assert caption(match) == "removed: pixels 0.931, flip crop 0.90"


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_pairs_are_drawn(tmp_path: Path, channels: int) -> None:
    from PIL import Image

    images = pictures(3, channels=channels)
    match = Match(1, "pixels", "flip", 0.95, 0.9)
    pairs = [Pair(images[0], "row 0", images[1], match), Pair(images[2], "row 2")]
    path = contact_sheet(pairs, tmp_path / "sheet.png")
    with Image.open(path) as drawn:
        assert drawn.format == "PNG"
        assert drawn.size[0] == 1200
