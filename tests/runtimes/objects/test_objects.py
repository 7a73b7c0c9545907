"""Folders in object stores: whole or absent, whatever breaks on the way, and never over something else."""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from compactor.locate import locate
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError
from compactor_runtimes.objects import is_address, local_copy, store
from compactor_runtimes.objects.fetch import SIZE, fetched
from compactor_runtimes.objects.listing import BEGUN, LISTING, Listed, Listing
from compactor_runtimes.objects.publish import publish

ADDRESS = "memory://team/labels"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, an empty store, no waiting."""
    monkeypatch.setenv("COMPACTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "WAIT_S", 0.0)
    memory().store.clear()
    memory().pseudo_dirs[:] = [""]


def memory() -> Any:
    return fsspec.filesystem("memory")


def folder(tmp_path: Path, name: str = "store", **more: bytes) -> Path:
    """A folder as a store's: files, one of them in a folder, and hidden ones that stay."""
    made = tmp_path / name
    (made / "parts").mkdir(parents=True)
    files = {"store.json": b"{}", "train-00000.npy": bytes(range(256)) * 999, "parts/x.npy": b"", **more}
    for path, content in files.items():
        (made / path).write_bytes(content)
    (made / ".lock").write_bytes(b"")
    return made


def contents(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_what_is_published_is_fetched_as_it_was_and_hidden_files_stay(tmp_path: Path) -> None:
    made = folder(tmp_path)
    found = publish(made, ADDRESS)
    assert (found.files, found.sent, found.bytes) == (3, 3, 2 + 256 * 999)
    assert publish(made, ADDRESS + "/").sent == 0
    assert sorted(memory().find("/team")) == [
        f"/team/labels/{name}" for name in ("parts/x.npy", LISTING, "store.json", "train-00000.npy")
    ]
    copy = locate(ADDRESS, tmp_path, what="labels.store")
    assert contents(copy) == contents(made)
    memory().store["/team/labels/store.json"] = memory().store.pop("/team/labels/parts/x.npy")
    assert fetched(ADDRESS, what="x") == copy  # found again by its hashes, nothing is read but the listing


def test_a_file_of_a_published_folder_brings_what_lies_around_it(tmp_path: Path) -> None:
    made = folder(tmp_path)
    publish(made, ADDRESS)
    file = locate(f"{ADDRESS}/store.json", None, what="data.also")
    assert file.read_bytes() == b"{}"
    assert contents(file.parent) == contents(made)


def test_bundles_are_opened_by_their_address_also_where_a_path_took_a_slash(tmp_path: Path) -> None:
    made = folder(tmp_path)
    publish(made, ADDRESS)
    for name in (ADDRESS, Path(ADDRESS), str(Path(ADDRESS))):
        assert contents(local_copy(name, what="bundle")) == contents(made)
    assert local_copy(made, what="bundle") == made
    assert local_copy("no/such", what="bundle") == Path("no/such")
    publish(made, f"file://{tmp_path}/shared/x")
    assert contents(local_copy(Path(f"file://{tmp_path}/shared/x"), what="bundle")) == contents(made)


def test_nothing_is_published_over_something_else(tmp_path: Path) -> None:
    publish(folder(tmp_path), ADDRESS)
    other = folder(tmp_path, "other", more=b"1")
    with pytest.raises(
        UsageError, match=r"something else is published there \(3 files.*give another address"
    ):
        publish(other, ADDRESS)
    assert contents(fetched(ADDRESS, what="x")) == contents(tmp_path / "store")


def test_what_is_half_published_is_refused_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, sent = folder(tmp_path), list[str]()
    put = type(memory()).put_file

    def breaking(self: Any, local: str, path: str, **more: Any) -> None:
        if path.endswith("train-00000.npy"):
            raise ConnectionResetError("gone")
        sent.append(path)
        put(self, local, path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(type(memory()), "put_file", breaking)
        with pytest.raises(UnfitEnvironmentError, match=r"train-00000\.npy: cannot be reached after 4"):
            publish(made, ADDRESS)
    with pytest.raises(UsageError, match=r"labels\.store: memory://team/labels was not published to its end"):
        fetched(ADDRESS, what="labels.store")
    with pytest.raises(UsageError, match="something else is on its way there"):
        publish(folder(tmp_path, "other", more=b"1"), ADDRESS)
    assert publish(made, ADDRESS).sent == 3 - len(sent)
    assert not memory().exists(f"/team/labels/{BEGUN}")
    assert contents(fetched(ADDRESS, what="x")) == contents(made)


@pytest.mark.parametrize("seed", range(100))
def test_a_connection_that_breaks_anywhere_leaves_the_whole_or_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call to the store fails with probability 1/3, also in the middle of a file."""
    chance = random.Random(seed)
    kind = type(memory())

    def broken(name: str) -> Callable[..., Any]:
        plain = getattr(kind, name)

        def call(self: Any, *args: Any, **more: Any) -> Any:
            if chance.random() < 1 / 3:
                raise ConnectionResetError(name)
            return plain(self, *args, **more)

        return call

    made, outcomes = folder(tmp_path), list[str]()
    monkeypatch.setattr(store, "TRIES", 2)
    for _ in range(20):
        with monkeypatch.context() as patch:
            for name in ("put_file", "pipe_file", "cat_file", "info", "open", "find", "rm_file"):
                patch.setattr(kind, name, broken(name))
            try:
                publish(made, ADDRESS)
                outcomes.append("published")
            except UnfitEnvironmentError:
                outcomes.append("broken")
            try:
                assert contents(fetched(ADDRESS, what="x")) == contents(made)
            except UnfitEnvironmentError:
                pass
            except UsageError:
                outcomes.append("not published")
        assert outcomes[-1] != "not published" or "published" not in outcomes
        copies = [path.parent for path in (tmp_path / "cache" / "objects").glob(f"*/{SIZE}")]
        assert all(contents(copy) == contents(made) for copy in copies)
        if "published" in outcomes:
            break
    assert publish(made, ADDRESS).files == 3
    assert contents(fetched(ADDRESS, what="x")) == contents(made)


def test_other_bytes_than_were_published_are_refused(tmp_path: Path) -> None:
    publish(folder(tmp_path), ADDRESS)
    memory().pipe_file("/team/labels/store.json", b"[]")
    with pytest.raises(IntegrityError, match=r"store\.json: other bytes than were published"):
        fetched(ADDRESS, what="x")
    assert not list((tmp_path / "cache" / "objects").iterdir())


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", ".hidden", "a/./b", "a\\b", "", "a//b"])
def test_a_listing_cannot_name_what_lies_outside_its_folder(path: str) -> None:
    memory().pipe_file(f"/team/labels/{LISTING}", Listing([Listed(path, 1, "0" * 64)]).encoded())
    with pytest.raises(IntegrityError, match="leaves the folder or is hidden"):
        fetched(ADDRESS, what="x")


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"files": [{"path": "a"}]}', b'{"files": [], "format": 2}', b'{"files": [], "more": 1}'],
)
def test_a_damaged_listing_is_one_sentence(content: bytes) -> None:
    memory().pipe_file(f"/team/labels/{LISTING}", content)
    with pytest.raises(IntegrityError, match=r"memory://team/labels/published\.json: .*; publish"):
        fetched(ADDRESS, what="x")


def test_files_that_nobody_published_are_fetched_too_and_again_when_they_change(tmp_path: Path) -> None:
    memory().pipe_file("/data/a.csv", b"text,label\n")
    memory().pipe_file("/data/more/b.csv", b"1")
    whole = fetched("memory://data", what="data.dataset")
    assert contents(whole) == {"a.csv": b"text,label\n", "more/b.csv": b"1"}
    alone = fetched("memory://data/a.csv", what="data.dataset")
    assert (alone.name, alone.read_bytes()) == ("a.csv", b"text,label\n")
    memory().pipe_file("/data/a.csv", b"text,label\n1,2\n")
    assert fetched("memory://data/a.csv", what="data.dataset").read_bytes() == b"text,label\n1,2\n"


def test_nothing_there_and_credentials_in_an_address_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.dataset: nothing lies at memory://none; correct"):
        fetched("memory://none", what="data.dataset")
    with pytest.raises(UsageError, match=r"s3://\.\.\.@bucket/x: holds credentials") as refused:
        publish(folder(tmp_path), "s3://key:secret@bucket/x")
    assert "secret" not in str(refused.value)
    with pytest.raises(UsageError, match=r"address nope://x: .*expected e\.g\. s3://bucket/folder"):
        fetched("nope://x", what="x")
    with pytest.raises(UsageError, match="is no folder"):
        publish(tmp_path / "none", ADDRESS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no files"):
        publish(tmp_path / "empty", ADDRESS)


def test_copies_are_kept_within_a_bound_and_none_that_was_used_today_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        memory().pipe_file(f"/data/{name}", bytes(400))
    monkeypatch.setenv("COMPACTOR_CACHE_GB", "1e-6")  # 1,000 bytes: two copies
    first, second = (fetched(f"memory://data/{name}", what="x") for name in "ab")
    with pytest.raises(UnfitEnvironmentError, match=r"400 B are to be fetched, .*_CACHE_GB leaves 200 B"):
        fetched("memory://data/c", what="x")
    yesterday = time.time() - 25 * 3600
    for copy in (first, second):
        os.utime(copy.parent / SIZE, (yesterday, yesterday))
    assert fetched("memory://data/b", what="x") == second  # is used now
    assert fetched("memory://data/c", what="x").is_file()
    assert second.is_file()
    assert not first.exists()


def test_paths_and_models_are_no_addresses() -> None:
    assert is_address("s3://bucket/x")
    assert is_address("file:///x")
    assert not any(map(is_address, ("hf:owner/name", "C:/x", "a/b", "bundle:x", "//x", "S3://x")))


def test_an_outcome_is_plain_json(tmp_path: Path) -> None:
    publish(folder(tmp_path), ADDRESS)
    told = json.loads(memory().cat_file(f"/team/labels/{LISTING}"))
    assert [one["path"] for one in told["files"]] == ["parts/x.npy", "store.json", "train-00000.npy"]
