"""What a survey says of images before anything is decoded."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from compactor.data.spec import DataSpec
from compactor.data.survey import survey
from compactor.records import IMAGES
from compactor_runtimes.errors import UsageError


@pytest.fixture
def root(tmp_path):
    for name, first in (("a", 0), ("b", 100)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for row in range(12):
            Image.new("L", (6, 4), first + row).save(tmp_path / "set" / name / f"{row}.png")
    return tmp_path / "set"


def look(path, **settings):
    return survey(DataSpec(dataset=str(path), **settings), base=None, task=IMAGES)


def test_good_images_have_no_problem(root):
    found = look(root)
    assert (found.sizes, found.problems) == ((4, 6, 4, 6), [])


def save_deep(path):
    Image.new("I;16", (6, 4)).save(path)


def save_bomb(path):
    # one row of it is enough for the header
    header = b"P5 20000 10000 255\n"
    path.write_bytes(header + bytes(20_000))


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("bomb.pgm", save_bomb, "too large an image to be safe"),
        ("deep.png", save_deep, "expected 8 bits a channel); scale its values"),
        ("empty.jpg", lambda path: path.touch(), "(it is empty)"),
        ("page.jpg", lambda path: path.write_text("<html>"), "(its content is of no known format"),
        ("gone.png", lambda path: path.symlink_to("nowhere"), "(["),
    ],
)
def test_one_bad_file_is_a_problem_with_its_name_and_reason(name, make, said, root):
    make(root / "a" / name)
    (problem,) = look(root).problems
    assert problem.startswith("1 of the 25 images looked at cannot be read, and a run stops at the first: ")
    assert f"set/a/{name}: " in problem
    assert said in problem


def test_nothing_but_bad_files_is_refused_with_the_first_reason(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for row in range(3):
            (tmp_path / "set" / name / f"{row}.png").touch()
    with pytest.raises(UsageError, match=r"set: holds no readable image \(.*it is empty"):
        look(tmp_path / "set")


def test_sizes_are_upright(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (4, 6), 9).save(
        root / "a" / "turned.jpg", exif=exif
    )  # 4 x 6 when upright, like the others
    assert look(root).problems == []
    Image.new("L", (6, 4), 9).save(root / "a" / "turned.jpg", exif=exif)
    (problem,) = look(root).problems
    assert problem.startswith("images differ in size (4 x 4 to 6 x 6")


def test_left_out_files_and_frames_are_said(root):
    (root / "a" / "x.heic").touch()
    frames = [Image.new("L", (6, 4), value) for value in (1, 2)]
    frames[0].save(root / "a" / "x.gif", save_all=True, append_images=frames[1:])
    assert look(root).problems == [
        "train: 1 files are left out, as their suffix is no image's (.heic: set/a/x.heic)",
        "1 of the 25 images looked at are GIF: training reads them, a bundle only where it is asked to "
        "(load(..., formats=['GIF']), --format GIF)",
        "1 of the 25 images looked at have several frames; the first is read",
    ]


def test_copies_are_counted_within_a_set_and_across_splits(root):
    content = (root / "a" / "3.png").read_bytes()
    (root / "b" / "copy.png").write_bytes(content)
    assert look(root).problems == [
        "1 of 25 images repeat earlier ones: copies may fall into train and report",
        "1 images occur with two labels or more",
    ]
    (root / "b" / "copy.png").unlink()
    root.rename(root.parent / "train")
    split = root.parent / "both"
    split.mkdir()
    (root.parent / "train").rename(split / "train")
    for name in ("a", "b"):
        (split / "test" / name).mkdir(parents=True)
        Image.new("L", (6, 4), 200).save(split / "test" / name / f"{name}.png")
    (split / "test" / "a" / "copy.png").write_bytes(content)
    assert "1 of 3 report images are in train or select too" in look(split).problems


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_where_too_much_would_be_read_that_is_said(kind, root, tmp_path, monkeypatch):
    path = root
    if kind == "table":
        content = (root / "a" / "3.png").read_bytes()
        pq.write_table(pa.table({"image": [content] * 12, "label": [0, 1] * 6}), tmp_path / "t.parquet")
        path = tmp_path / "t.parquet"
    monkeypatch.setattr("compactor.data.survey_images.LARGEST_HASHED_BYTES", 100)
    assert any(
        problem.startswith("copies are not looked for before the run") for problem in look(path).problems
    )


def test_copies_in_tables_are_counted(tmp_path):
    def png(value):
        stream = io.BytesIO()
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(stream, "PNG")
        return stream.getvalue()

    values = [*range(12), 3]
    table = pa.table({"image": [png(value) for value in values], "label": [value % 2 for value in range(13)]})
    pq.write_table(table, tmp_path / "t.parquet")
    problems = look(tmp_path / "t.parquet").problems
    assert "1 of 13 images repeat earlier ones: copies may fall into train and report" in problems
    assert "1 images occur with two labels or more" in problems
