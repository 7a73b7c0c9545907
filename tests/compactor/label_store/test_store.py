"""Reading a store: the layout of records by hand, what was written comes back, and every damage is named."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from compactor.label_store.header import STORE_FILE, Head, Header, Payload, read_header, record_dtype
from compactor.label_store.quantization import compress
from compactor.label_store.store import LabelStore, open_store, read_shard
from compactor.label_store.write import StoreWriter
from compactor_runtimes.errors import IntegrityError, UsageError
from tests.compactor import label_toys

TOP5 = Payload(kind="top-k", k=5)


@pytest.mark.parametrize(
    ("payload", "boxes", "classes", "size_bytes"),
    [
        (TOP5, "pixels", 10, 4 * 2 + 1 + 5 * 1 + 5 * 2),
        (TOP5, "relative", 10, 4 * 4 + 1 + 5 * 1 + 5 * 2),
        (TOP5, "relative", 256, 32),
        (TOP5, "relative", 257, 37),
        (TOP5, "relative", 1000, 4 * 4 + 1 + 5 * 2 + 5 * 2),
        (TOP5, "pixels", 65536, 29),
        (TOP5, "pixels", 65537, 39),
        (Payload(kind="top-k", k=5, probabilities="float32"), "pixels", 10, 34),
        (TOP5, "none", 1000, 20),
        (Payload(kind="hard"), "pixels", 1000, 4 * 2 + 1 + 2),
        (Payload(kind="full"), "pixels", 1000, 4 * 2 + 1 + 4 * 1000),
    ],
)
def test_bytes_of_a_record(payload: Payload, boxes: str, classes: int, size_bytes: int) -> None:
    """Box, flip, ids, probabilities, packed; FKD's own files take 16 + 1 + 40 = 57 for the second row."""
    header = label_toys.header(payload=payload, boxes=boxes, heads=[Head(name="label", num_classes=classes)])
    assert record_dtype(header).itemsize == size_bytes


def test_layout_of_a_record() -> None:
    """Byte by byte: little-endian int16 box, flip, uint8 ids, float16 probabilities."""
    dtype = record_dtype(label_toys.header(payload=Payload(kind="top-k", k=2)))
    record = np.zeros(1, dtype)
    record["box"], record["flip"] = [-2, 3, 8, 8], True
    record["label.ids"], record["label.p"] = [7, 1], [0.25, 0.5]
    expected = b"\xfe\xff\x03\x00\x08\x00\x08\x00" + b"\x01" + b"\x07\x01" + b"\x00\x34\x00\x38"
    assert record.tobytes() == expected
    tokens = [Head(name="intent", num_classes=3), Head(name="slot", num_classes=300, positions=4)]
    dtype = record_dtype(label_toys.header(payload=Payload(kind="top-k", k=2), heads=tokens, boxes="none"))
    assert [(name, dtype[name].shape) for name in dtype.names or ()] == [
        ("intent.ids", (2,)),
        ("intent.p", (2,)),
        ("slot.ids", (4, 2)),
        ("slot.p", (4, 2)),
    ]
    assert dtype.itemsize == 2 + 4 + 4 * 2 * 2 + 4 * 2 * 2


def written(folder: Path, header: Header) -> tuple[LabelStore, dict[str, np.ndarray]]:
    """A store of random bytes (but true flips), and what was put into each part."""
    data, rng = label_toys.splits(), np.random.default_rng(0)
    writer = StoreWriter(folder, header, {name: split.rows for name, split in data.items()})
    said: dict[str, list[np.ndarray]] = {"train": [], "select": []}
    for job in writer.claim():
        records = writer.empty(job)
        raw = rng.integers(0, 100, records.nbytes, dtype=np.uint8).view(records.dtype).reshape(records.shape)
        records[...] = raw
        if "flip" in (records.dtype.names or ()):
            records["flip"] = rng.random(records.shape) < 0.5
        writer.write(job, records)
        said[job.part.split].append(records)
    assert writer.finish() is not None
    return open_store(folder), {name: np.concatenate(parts) for name, parts in said.items()}


def test_what_was_written_comes_back_in_any_order(tmp_path: Path) -> None:
    """Rows of several shards, unordered and repeated, any view."""
    store, said = written(tmp_path, label_toys.header())
    rng = np.random.default_rng(1)
    for name, part in store.parts.items():
        rows = rng.integers(0, len(part.ids), 40)
        view = rng.integers(0, part.views, 40)
        assert len(set(rows // label_toys.SHARD_ROWS)) == len(part.shards)
        found = part.records(part.ids[rows], view)
        assert found.tobytes() == said[name][rows, view].tobytes()
        assert np.array_equal(part.column("label.ids"), said[name]["label.ids"])
        assert part.records(part.ids[:0], view[:0]).shape == (0,)
    assert store.records == 24 * 6 + 6
    assert store.size_bytes == sum(len(content) for content in label_toys.contents(tmp_path).values())


def test_heads_of_token_positions_come_back(tmp_path: Path) -> None:
    """[L, C] a sample, for token tasks."""
    payload = Payload(kind="top-k", k=2, probabilities="float32")
    heads = [Head(name="slot", num_classes=6, positions=4)]
    header = label_toys.header(
        views=1, payload=payload, heads=heads, boxes="none", classes={"slot": list("abcdef")}
    )
    data = label_toys.splits()
    p = torch.randn(24, 4, 6, generator=torch.Generator().manual_seed(0)).softmax(-1)
    writer = StoreWriter(tmp_path, header, {name: split.rows for name, split in data.items()})
    for job in writer.claim():
        records = writer.empty(job)
        for name, values in compress(p[job.first : job.first + job.rows], payload).items():
            records[f"slot.{name}"][:, 0] = values
        writer.write(job, records)
    writer.finish()
    part = open_store(tmp_path).train
    rows = np.array([20, 3, 11])
    soft = part.soft(part.records(part.ids[rows], np.zeros(3, np.int64)), "slot", "marginal-smoothing", 2)
    assert soft.ids is not None
    assert soft.ids.shape == (3, 4, 2)
    head = p[torch.from_numpy(rows)].topk(2).values
    assert soft.p is not None
    # place 1 is 1 minus the others: one rounding of each of 6 classes
    torch.testing.assert_close(soft.p, head, atol=6 * 2.0**-24, rtol=0)
    with pytest.raises(UsageError, match="holds whole samples, no views to replay"):
        part.crops(part.records(part.ids, np.zeros(24, np.int64)), np.zeros(24, np.int64))


def test_a_sample_that_was_not_labelled_is_refused(whole: Path) -> None:
    train = open_store(whole).train
    for ids in ([0, 1, 2], [0, 999, 2], [-1, 0, 2]):
        number = next(one for one in ids if one not in (0, 2))
        with pytest.raises(
            UsageError, match=rf"1 of 3 samples of train are missing, such as number {number};"
        ):
            train.records(np.array(ids), np.zeros(3, np.int64))


def test_shards_are_mapped_not_read(whole: Path) -> None:
    assert all(isinstance(shard, np.memmap) for shard in open_store(whole).train.shards)


def refused(folder: Path, *says: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        open_store(folder)
    for word in (*says, str(folder)):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_named(damaged: Path) -> None:
    for name in ("train-00003.npy", "select-ids.npy"):
        path = damaged / name
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        refused(
            damaged, name, "is damaged", "delete it and run `compactor label` again, it makes that one alone"
        )
        path.write_bytes(content)
    open_store(damaged)


def test_a_flipped_bit_is_named(damaged: Path) -> None:
    path = damaged / "select-00001.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    refused(damaged, "select-00001.npy", "is damaged", hashlib.sha256(content).hexdigest()[:12])


def test_a_missing_file_is_named(damaged: Path) -> None:
    (damaged / "train-00000.npy").unlink()
    refused(damaged, "train-00000.npy is missing", "it makes what is missing")


def rewrite(folder: Path, old: str, new: str, *, count: int = 1) -> None:
    text = (folder / STORE_FILE).read_text()
    assert text.count(old) == count, text.count(old)
    (folder / STORE_FILE).write_text(text.replace(old, new))


def test_a_path_that_leaves_the_folder_is_refused(damaged: Path) -> None:
    outside = damaged.parent / "outside.npy"
    (damaged / "train-00000.npy").rename(outside)
    for name in ("../outside.npy", str(outside)):
        header = (damaged / STORE_FILE).read_text()
        rewrite(damaged, '"train-00000.npy"', f'"{name}"')
        refused(damaged, "outside.npy lies outside the store")
        (damaged / STORE_FILE).write_text(header)
    (damaged / "train-00000.npy").symlink_to(outside)
    refused(damaged, "train-00000.npy lies outside the store")


def with_right_hash(folder: Path, name: str, content: bytes) -> None:
    """Put other content in a file's place and make the header's hash of it right."""
    old = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / name).write_bytes(content)
    rewrite(folder, old, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((5, 6), dtype=[("box", "<i2", (4,))]),
        np.zeros((4, 6), dtype=record_dtype(label_toys.header())),
        np.zeros((5, 5), dtype=record_dtype(label_toys.header())),
        np.zeros((5, 6), dtype=record_dtype(label_toys.header(boxes="relative"))),
    ],
)
def test_a_shard_of_another_layout_is_refused(damaged: Path, values: np.ndarray) -> None:
    np.save(damaged / "other.npy", values)
    with_right_hash(damaged, "train-00001.npy", (damaged / "other.npy").read_bytes())
    refused(damaged, "train-00001.npy", "another layout")


def test_a_shard_that_is_no_array_is_refused(damaged: Path) -> None:
    """Behind right hashes: garbage, a pickle (which is not run), an archive, nothing at all."""
    np.save(damaged / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(damaged / "archive.npz", a=np.zeros(1))
    original = (damaged / "train-00001.npy").read_bytes()
    for content in (
        b"garbage",
        (damaged / "pickle.npy").read_bytes(),
        (damaged / "archive.npz").read_bytes(),
        original[:-1],
        b"",
    ):
        with_right_hash(damaged, "train-00001.npy", content)
        refused(damaged, "train-00001.npy")


def test_other_ids_behind_a_right_hash_are_refused(damaged: Path) -> None:
    np.save(damaged / "ids.npy", np.arange(5))
    with_right_hash(damaged, "select-ids.npy", (damaged / "ids.npy").read_bytes())
    refused(damaged, "select-ids.npy", "holds other numbers")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"format": 1', '"format": 2', "format 2 found, expected 1"),
        ('"format": 1', '"form": 1', "format None found, expected 1"),
        ('"seed": 0', '"seed": "no"', "is damaged (Expected `int`"),
        ('"seed": 0,', '"seed": 0, "colour": 1,', "unknown field"),
        ('"precision": "fp32"', '"precision": "fp64"', "Invalid enum value"),
        ('"first": 20', '"first": 25', "part train lists 5 shards, expected 5"),
        ('"rows": 24', '"rows": 25', "part train lists"),
        ('"rows": 24', '"rows": 30', "part train lists 5 shards, expected 6"),
        ("{", "[", "is damaged"),
    ],
)
def test_a_foreign_or_damaged_header_is_refused(damaged: Path, old: str, new: str, says: str) -> None:
    text = (damaged / STORE_FILE).read_text()
    assert old in text
    (damaged / STORE_FILE).write_text(text.replace(old, new, 1))
    refused(damaged, STORE_FILE, says)


def test_a_header_with_shards_of_no_rows_is_refused(damaged: Path) -> None:
    text = (damaged / STORE_FILE).read_text()
    (damaged / STORE_FILE).write_text(text.replace('"shard_rows": 5', '"shard_rows": 0'))
    refused(damaged, STORE_FILE, "shard_rows")


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    refused(tmp_path, "has no store.json, so it was never finished", "run `compactor label` again")
    (tmp_path / STORE_FILE).write_text("[]")
    refused(tmp_path, "format None found")


def test_a_shard_can_be_read_alone(whole: Path) -> None:
    header = read_header(whole)
    part = header.parts[0]
    assert read_shard(whole, header, part, part.shards[-1]).shape == (4, 6)
    assert header.views == 6
    assert [shard.first for shard in part.shards] == [0, 5, 10, 15, 20]
    assert msgspec.json.decode((whole / STORE_FILE).read_bytes())["format"] == 1
