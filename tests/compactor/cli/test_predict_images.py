"""`predict` on images: folders, bad files among good ones, and what is printed where."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

from compactor.cli import cli
from compactor_runtimes.errors import InputError, UsageError
from tests.runtimes.conftest import write_bundle

RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)


@pytest.fixture
def bundle(tmp_path):
    return str(write_bundle(tmp_path / "bundle").path)


@pytest.fixture
def photos(tmp_path):
    """Twelve good images, more than a batch of the graph."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (4, 4), (RED, GREEN, BLUE)[number % 3]).save(folder / f"{number:02}.png")
    return folder


def run(*arguments):
    return CliRunner().invoke(cli, ["predict", *arguments])


def test_a_folder_is_its_images_in_order_at_any_depth(bundle, photos):
    (photos / "more").mkdir()
    Image.new("RGB", (4, 4), BLUE).save(photos / "more" / "a.gif")
    (photos / "readme.txt").touch()
    refused = run(bundle, str(photos))
    assert isinstance(refused.exception, InputError)
    assert "it is GIF, which is read where it is asked for" in str(refused.exception)
    result = run(bundle, str(photos), str(photos / "00.png"), "--format", "gif")
    assert result.exit_code == 0
    rows = [line.split("\t")[:2] for line in result.stdout.splitlines()]
    expected = [[str(photos / f"{n:02}.png"), ("red", "green", "blue")[n % 3]] for n in range(12)]
    assert rows == [*expected, [str(photos / "more" / "a.gif"), "blue"], [str(photos / "00.png"), "red"]]
    assert result.stderr == f"{photos}: 13 images, 1 other files left out\n"
    found = json.loads(run(bundle, str(photos), "--json", "--format", "GIF").stdout)
    assert [one["image"] for one in found] == [row[0] for row in rows[:-1]]


def test_a_folder_without_images_is_refused(bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(bundle, str(tmp_path / "empty"))
    assert isinstance(result.exception, UsageError)
    assert "empty: holds no image" in str(result.exception)


def test_a_bad_file_stops_and_is_named_by_number_and_path(bundle, photos):
    (photos / "10.png").write_bytes(b"")
    result = run(bundle, str(photos))
    assert isinstance(result.exception, InputError)
    assert result.exception.exit_code == 2
    said = f"input number 10 (from 0): {photos}/10.png: cannot be read as an image (it is empty)"
    assert str(result.exception).startswith(said)
    assert result.stdout == ""
    alone = run(bundle, str(photos / "10.png"))
    assert str(alone.exception).startswith(f"{photos}/10.png: cannot be read")


@pytest.mark.parametrize("bad", [[10], [0, 1], list(range(12))])
def test_bad_files_are_skipped_on_request_and_the_exit_code_says_so(bundle, photos, bad):
    for number in bad:
        (photos / f"{number:02}.png").write_bytes(b"no image")
    result = run(bundle, str(photos), "--skip-bad")
    assert result.exit_code == 2
    good = [n for n in range(12) if n not in bad]
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [
        str(photos / f"{n:02}.png") for n in good
    ]
    _, *skipped, last = result.stderr.splitlines()
    assert last == f"{len(bad)} of 12 inputs skipped"
    for number, line in zip(bad, skipped, strict=True):
        assert line.startswith(
            f"skipped: input number {number} (from 0): {photos}/{number:02}.png: cannot be"
        )
    found = json.loads(run(bundle, str(photos), "--skip-bad", "--json").stdout)
    assert [("error" in one, "label" in one) for one in found] == [
        (n in bad, n not in bad) for n in range(12)
    ]


def test_nothing_is_skipped_where_all_is_well(bundle, photos):
    result = run(bundle, str(photos), "--skip-bad")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 12)
