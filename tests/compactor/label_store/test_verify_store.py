"""Every rule that a record must keep: one broken value is found and named though all hashes are right."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from compactor.cache.digest import file_digest
from compactor.cli.store_command import command
from compactor.label_store import verify_store as module
from compactor.label_store.header import STORE_FILE, Payload
from compactor.label_store.verify_store import verify_store
from compactor_runtimes.errors import IntegrityError
from tests.compactor import label_toys


def rewrite(folder: Path, file: str, change: Callable[[Any], None]) -> None:
    """Change a shard or the ids, and let the header state the hash of what lies there now."""
    values = np.load(folder / file)
    change(values)
    np.save(folder / file, values)
    header = json.loads((folder / STORE_FILE).read_text())
    for part in header["parts"]:
        if part["ids"] == file:
            part["ids_sha256"] = file_digest(folder / file)
        for shard in part["shards"]:
            if shard["file"] == file:
                shard["sha256"] = file_digest(folder / file)
    (folder / STORE_FILE).write_text(json.dumps(header))


def put(field: str, at: tuple[Any, ...], value: Any) -> Callable[[Any], None]:
    def change(records: Any) -> None:
        records[field][at] = value

    return change


def test_a_good_store_passes_and_says_how_much_was_checked(whole: Path) -> None:
    """24 samples of 6 views and 6 of one: 150 records in 5 + 2 shards of at most 5 rows, k = 5."""
    assert verify_store(whole).counts == {
        "header": (1, "file (store.json, format 1)"),
        "hashes": (9, "files"),
        "sample ids ascending, each once": (30, "samples"),
        "layout of records": (150, "records"),
        "boxes inside their frame": (150, "boxes"),
        "flips as the transform has them": (150, "flips"),
        "class ids below the number of classes": (750, "ids"),
        "no class twice in a label": (150, "labels"),
        "probabilities within [0, 1]": (750, "numbers"),
        "tail at least 0": (150, "labels"),
        "head descending": (150, "labels"),
        "recovered labels sum to 1": (150, "labels"),
    }


@pytest.mark.parametrize(
    ("payload", "changes"),
    [
        (Payload(kind="full"), {}),
        (Payload(kind="hard"), {}),
        (Payload(kind="top-k", k=1), {"augment": label_toys.RESIZED}),
        (Payload(kind="top-k", k=10), {"augment": label_toys.RESIZED, "boxes": "relative"}),
        (Payload(kind="top-k", k=3, probabilities="float32"), {"boxes": "relative"}),
    ],
)
def test_every_payload_and_box_of_the_writer_passes(
    payload: Payload, changes: dict[str, Any], tmp_path: Path
) -> None:
    label_toys.make(tmp_path, label_toys.header(payload=payload, **changes))
    counts = verify_store(tmp_path).counts
    assert counts["boxes inside their frame"][0] == 150
    assert ("recovered labels sum to 1" in counts) == (payload.kind != "hard")
    assert ("class ids below the number of classes" in counts) == (payload.kind != "full")


BROKEN = {
    "a class that is none": (
        "train-00002",
        put("label.ids", (3, 4, 2), 10),
        "row 3, view 4, place 2: class id",
    ),
    "a class twice": (
        "train-00000",
        put("label.ids", (1, 0), [1, 2, 3, 4, 1]),
        "row 1, view 0: class ids [1, 2, 3",
    ),
    "no number": ("train-00000", put("label.p", (1, 2, 3), np.nan), "row 1, view 2, place 3: probability"),
    "a negative tail": ("train-00000", put("label.p", (1, 2, 0), -0.5), "place 0: probability of label -0.5"),
    "above 1": ("train-00000", put("label.p", (1, 2, 4), 1.5), "place 4: probability of label 1.5 found"),
    "rising places": (
        "train-00000",
        put("label.p", (4, 5), [0, 0.125, 0.25, 0, 0]),
        "row 4, view 5: head of label [0.625, 0.125, 0.25, 0.0, 0.0]",
    ),
    "more than there is": (  # 0.375 in place 2 leaves 0.125 to place 1, which cannot be less
        "train-00000",
        put("label.p", (0, 0), [0.5, 0.375, 0, 0, 0]),
        "row 0, view 0: recovered label of label: sum 1.25",
    ),
    "shifted too far": (
        "train-00004",
        put("box", (3, 5), [3, 0, 8, 8]),
        "row 3, view 5: box (top, left, height, width) [3.0, 0.0, 8.0, 8.0] found, expected one inside 8",
    ),
    "no area": ("train-00004", put("box", (0, 1), [0, 0, 0, 8]), "row 0, view 1: box"),
    "select is whole": ("select-00001", put("box", (0, 0), [1, 0, 8, 8]), "row 0, view 0: box"),
    "select is not mirrored": ("select-00001", put("flip", (0, 0), True), "row 0, view 0: flip True found"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_value_is_named(damaged: Path, what: str) -> None:
    name, change, said = BROKEN[what]
    rewrite(damaged, f"{name}.npy", change)
    with pytest.raises(IntegrityError, match=f"{name}.npy: .*{re.escape(said)}"):
        verify_store(damaged)


def test_random_parts_must_lie_inside_the_image(tmp_path: Path) -> None:
    label_toys.make(tmp_path, label_toys.header(augment=label_toys.RESIZED))
    rewrite(tmp_path, "train-00001.npy", put("box", (2, 3), [2, 0, 7, 4]))  # rows 2 to 8 of 0 to 7
    with pytest.raises(IntegrityError, match=r"row 2, view 3: box .* expected one inside 8 x 8;"):
        verify_store(tmp_path)


def test_relative_boxes_are_judged_in_pixels(tmp_path: Path) -> None:
    label_toys.make(tmp_path, label_toys.header(augment=label_toys.RESIZED, boxes="relative"))
    rewrite(
        tmp_path, "train-00001.npy", put("box", (2, 3), [0.5, 0, 0.5 + 1e-5, 0.25])
    )  # within its rounding
    verify_store(tmp_path)
    rewrite(tmp_path, "train-00001.npy", put("box", (2, 3), [0.5, 0, np.nan, 0.25]))
    with pytest.raises(IntegrityError, match=r"row 2, view 3: box"):
        verify_store(tmp_path)


def test_a_label_must_sum_to_one(tmp_path: Path) -> None:
    full, all_classes = tmp_path / "full", tmp_path / "all"
    label_toys.make(full, label_toys.header(payload=Payload(kind="full")))
    rewrite(full, "train-00001.npy", put("label.p", (2, 3), [0.5, 0.25] + [0] * 8))
    with pytest.raises(
        IntegrityError, match=r"row 2, view 3: recovered label of label: sum 0.75 found, expected 1"
    ):
        verify_store(full)
    # where all classes have a place of their own, none is left that could carry a tail
    label_toys.make(all_classes, label_toys.header(payload=Payload(kind="top-k", k=10)))
    rewrite(all_classes, "train-00001.npy", put("label.p", (2, 3), [0.25, 0.125] + [0] * 8))
    with pytest.raises(IntegrityError, match=r"row 2, view 3: recovered label of label: sum 0.75 found"):
        verify_store(all_classes)


def test_a_tie_of_two_classes_is_no_damage(damaged: Path) -> None:
    """0.5, 0.5, 0, ... keeps its zeros as 2^-24 each, which place 1 pays for."""
    least = 2.0**-24
    rewrite(damaged, "train-00000.npy", put("label.p", (0, 0), [least, 0.5, least, least, least]))
    verify_store(damaged)


def test_ids_must_ascend(damaged: Path) -> None:
    rewrite(damaged, "train-ids.npy", lambda ids: ids.__setitem__(slice(3, 5), [8, 8]))
    with pytest.raises(IntegrityError, match=r"train-ids.npy: row 4: sample id 8 found \(8 before it\)"):
        verify_store(damaged)
    rewrite(damaged, "train-ids.npy", lambda ids: ids.__setitem__(0, -1))
    with pytest.raises(IntegrityError, match=r"train-ids.npy: row 0: sample id -1 found \(the first\)"):
        verify_store(damaged)


def test_chunks_change_neither_counts_nor_rows(
    whole: Path, damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = verify_store(whole).counts
    monkeypatch.setattr(module, "CHUNK_VALUES", 2 * 6 * 5)  # two rows
    assert verify_store(whole).counts == expected
    rewrite(damaged, "train-00002.npy", put("label.ids", (3, 4, 2), 10))
    with pytest.raises(IntegrityError, match=r"train-00002.npy: row 3, view 4"):
        verify_store(damaged)


def test_a_wrong_hash_and_an_unfinished_store_end_it(damaged: Path, tmp_path: Path) -> None:
    with (damaged / "train-00003.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(IntegrityError, match=r"train-00003.npy: is damaged"):
        verify_store(damaged)
    label_toys.make(tmp_path / "part", share=(1, 3))
    with pytest.raises(
        IntegrityError, match=r"is not finished, 3 of 7 shards are there \(missing: train 1-2,"
    ):
        verify_store(tmp_path / "part")


def test_the_command_prints_one_line_a_check(whole: Path) -> None:
    run = CliRunner()
    lines = run.invoke(command, ["verify", str(whole), "--quiet"], catch_exceptions=False).output.splitlines()
    assert len(lines) == 12
    assert lines[1].split() == ["hashes", "ok", "9", "files"]
    found = json.loads(run.invoke(command, ["verify", str(whole), "--quiet", "--json"]).output)
    assert found["passed"]
    assert found["checks"]["head descending"] == {"count": 150, "unit": "labels"}
    assert found["folder"] == str(whole)
