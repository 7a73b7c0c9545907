"""Inspecting: every hash is checked, the numbers are those of pool.json, and pictures show what they say."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compactor.data.pool_file import read_pool
from tests.compactor import pool_toys


@pytest.fixture(scope="module")
def shown(built: Path) -> str:
    done = pool_toys.inspect(built)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_steps_classes_and_matches_are_shown(built: Path, shown: str) -> None:
    record = read_pool(built / "runs/toy/pool").record
    rows = {
        " ".join(line.split()[:-2]): line.split()[-2] for line in shown.splitlines() if line.endswith("%")
    }
    assert rows["candidates"] == f"{record.candidates:,}"
    assert rows["passed over"] == f"{record.passed_over:,}"
    assert rows["in the pool"] == f"{record.kept:,}"
    for one in record.removed:
        assert rows[f"copies of {one.against} ({one.check})"] == f"{one.images:,}"
    assert "by score, at most 20 of each class" in shown
    assert "all hashes are right" in shown
    assert "cifar:resnet8" in shown
    for name, count in zip(record.classes, record.histogram, strict=True):
        assert any(line.split()[:2] == [name, str(count)] for line in shown.splitlines())


def test_json_says_the_same(built: Path) -> None:
    found = json.loads(pool_toys.inspect(built, "--json").stdout)
    record = read_pool(built / "runs/toy/pool").record
    assert (found["kept"], found["histogram"]) == (record.kept, record.histogram)
    assert found["size_bytes"] > sum(one.bytes for one in record.files.values())
    assert "files" not in found


@pytest.mark.parametrize("what", ["features-00000.npy", "train-00000.npy", "rows-00.npy", "removed.jsonl"])
def test_a_damaged_file_is_named(own: Path, what: str) -> None:
    [path] = (own / "runs/toy/pool").rglob(what)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    done = pool_toys.inspect(own)
    assert done.returncode == 7
    assert what in done.stderr
    assert "damaged" in done.stderr


@pytest.mark.slow
def test_the_plot_is_the_same_whenever_it_is_drawn(built: Path, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "a.png"):
        done = pool_toys.inspect(built, "--plot", str(tmp_path / name))
        assert done.stdout.splitlines()[-1] == f"plot: {tmp_path / name}"
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "in the pool" in (tmp_path / "a.svg").read_text() or (tmp_path / "a.svg").stat().st_size > 10_000
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (1500, 1050)


def test_the_sheet_shows_removed_images_beside_their_match(built: Path, tmp_path: Path) -> None:
    done = pool_toys.inspect(built, "--sheet", str(tmp_path / "s.png"))
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "s.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.shape[1] == 8 * 78 + 6
    # in the last row of pairs, the left image of the first is much like its match on the right
    bottom = pixels.shape[0] - 6 - 26 - 72
    left, right = pixels[bottom : bottom + 72, 6:78], pixels[bottom : bottom + 72, 79:151]
    assert left.std() > 10
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "a.pdf"], "expected a name that ends with .png or .svg"),
        (["--sheet", "a.jpg"], "with .png"),
    ],
)
def test_other_kinds_of_pictures_are_refused(built: Path, arguments: list[str], message: str) -> None:
    done = pool_toys.inspect(built, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_sheet_of_images_that_changed_is_refused(own: Path) -> None:
    pool_toys.build(own)
    shutil.rmtree(own / "images")
    pool_toys.write_png(own / "images" / "a.png", np.zeros((8, 8, 1), dtype=np.uint8))
    record = (own / "runs/toy/pool/pool.json").read_text()
    (own / "runs/toy/pool/pool.json").write_text(
        json.dumps(json.loads(record) | {"sources": _moved(json.loads(record), own)})
    )
    done = pool_toys.inspect(own, "--sheet", "s.png")
    assert done.returncode == 2
    assert "holds other images than when the pool was built" in done.stderr


def _moved(record: dict, own: Path) -> list[dict]:
    return [
        one | ({"dataset": str(own / "images")} if "/" in one["dataset"] else {}) for one in record["sources"]
    ]


def test_no_pool_is_answered_with_how_to_make_one(tmp_path: Path) -> None:
    done = pool_toys.inspect(tmp_path)
    assert done.returncode == 2
    assert "a pool is made by `compactor pool build RECIPE`" in done.stderr
