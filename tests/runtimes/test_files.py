"""Files appear whole, with the permissions of the umask, or not at all."""

import errno
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from compactor_runtimes.errors import CompactorError, UnfitEnvironmentError, UsageError
from compactor_runtimes.files import new_folder, write_whole, writing, written_whole
from compactor_runtimes.stats.predictions import Predictions, write_predictions
from tests.file_modes import EXPECTED, modes, umask
from tests.full_disk import no_room


@pytest.mark.parametrize("mask", EXPECTED)
def test_modes_are_those_of_a_new_file_whoever_writes_it(tmp_path: Path, mask: int) -> None:
    """The writer of safetensors makes 0600 whatever the umask: the reason for this mechanism."""
    with umask(mask):
        write_whole(tmp_path / "out/plain", b"content")
        with written_whole(tmp_path / "out/tensors") as partial:
            save_file({"a": np.ones(3)}, partial)
        write_predictions(
            Predictions("digest", np.arange(2), np.arange(2), {"a": np.arange(2)}, {}), tmp_path / "out"
        )
        filled = new_folder(tmp_path / "out", ".filling.")
        write_whole(filled / "deep/file", b"")
        filled.rename(tmp_path / "out/folder")
    assert modes(tmp_path / "out") == EXPECTED[mask]
    assert (tmp_path / "out/plain").read_bytes() == b"content"
    assert load_file(tmp_path / "out/tensors")["a"].tolist() == [1, 1, 1]


def test_an_error_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"old")

    def fail() -> None:
        with written_whole(path) as partial:
            partial.write_bytes(b"half of the ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert os.listdir(tmp_path) == ["kept"]
    assert path.read_bytes() == b"old"


def test_two_folders_of_one_prefix_are_two(tmp_path: Path) -> None:
    first, second = new_folder(tmp_path, ".x."), new_folder(tmp_path, ".x.")
    assert first != second
    assert first.name.startswith(".x.")
    assert first.suffix == ".partial"


def torch_save(path: Path) -> None:
    import torch

    with path.open("wb") as file:
        torch.save({"a": torch.ones(5000)}, file)


def onnx_save(path: Path) -> None:
    import onnx

    held = onnx.numpy_helper.from_array(np.ones(5000, np.float32), "a")
    graph = onnx.helper.make_graph([], "g", [], [], [held])
    onnx.save_model(onnx.helper.make_model(graph), path)


def parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": np.random.default_rng(0).random(5000)}), path)


def figure(path: Path) -> None:
    from matplotlib.figure import Figure

    Figure().savefig(path, format="svg")


def image(path: Path) -> None:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, format="PNG")


def optimised(path: Path) -> None:
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    held = numpy_helper.from_array(np.random.default_rng(0).random((50, 50)).astype(np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 50]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [held]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(path)
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


WRITERS: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: path.write_bytes(b"x" * 5000),
    "text": lambda path: path.write_text("x" * 5000),
    "numpy": lambda path: np.ones(5000).tofile(path),
    "safetensors": lambda path: save_file({"a": np.ones(5000)}, path),
    "torch": torch_save,
    "onnx": onnx_save,
    "onnxruntime": optimised,
    "parquet": parquet,
    "matplotlib": figure,
    "pillow": image,
    "copy": lambda path: shutil.copyfile(sys.executable, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_whoever_meets_a_full_disk_says_so_in_one_way_and_keeps_the_old_file(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    WRITERS[name](tmp_path / "warm")  # what a library writes on first use, its caches, is no subject here
    (tmp_path / "warm").unlink()
    with pytest.raises(UnfitEnvironmentError) as told, no_room(), written_whole(path) as partial:
        WRITERS[name](partial)
    assert told.value.exit_code == 6
    assert str(told.value).startswith(f"{path}: ")
    assert re.search(r"File too large|only a part of it could be written", str(told.value))
    assert str(told.value).endswith("and start again; what was finished is kept")
    assert os.listdir(tmp_path) == ["kept"]
    assert path.read_bytes() == b"old"


def test_a_device_without_room_is_written_to_itself() -> None:
    with pytest.raises(UnfitEnvironmentError, match="/dev/full: No space left on device; make room"):
        write_whole(Path("/dev/full"), b"content")
    assert Path("/dev/full").is_char_device()


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "give another place"),
        (errno.EACCES, "give another place"),
        (errno.EIO, "check the disk"),
    ],
)
def test_each_refusal_names_the_file_the_reason_and_what_to_do(number: int, remedy: str) -> None:
    reason = os.strerror(number)
    shapes = [
        OSError(number, reason),
        RuntimeError(f"Error while serializing: I/O error: {reason} (os error {number})"),
        shutil.Error([("a", "b", f"[Errno {number}] {reason}: 'b'")]),
    ]
    for error in shapes:
        with pytest.raises(UnfitEnvironmentError, match=f"^some/file: {reason}; .*{remedy}"):
            write_at("some/file", error)


def write_at(path: str, error: Exception, *instead: str) -> None:
    with writing(Path(path), *instead):
        raise error


def test_what_is_no_refusal_of_the_machine_passes_as_it_is() -> None:
    for error in (ValueError("wrong"), FileNotFoundError(errno.ENOENT, "gone"), UsageError("typed wrongly")):
        with pytest.raises(type(error)) as told:
            write_at("some/file", error)
        assert told.value is error
        assert not isinstance(told.value, UnfitEnvironmentError)


def key_error_in_a_handler() -> None:
    try:
        raise PermissionError(errno.EACCES, "denied")
    except PermissionError:
        raise KeyError("our own bug")  # noqa: B904  # what is tested


def value_error_from_none() -> None:
    try:
        raise PermissionError(errno.EACCES, "denied")
    except PermissionError:
        raise ValueError("wrong") from None


def runtime_error_from_none() -> None:
    try:
        raise PermissionError(errno.EACCES, "denied")
    except PermissionError:
        raise RuntimeError("wrong") from None


def number_in_a_text() -> None:
    raise ValueError("label 'errno 28' or (os error 28) is none; 5 requested and 3 written")


def broken_pipe() -> None:
    raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize(
    "bug",
    [key_error_in_a_handler, value_error_from_none, runtime_error_from_none, number_in_a_text, broken_pipe],
)
def test_our_own_bug_is_not_called_the_machine(bug: Callable[[], None]) -> None:
    with pytest.raises((KeyError, ValueError, RuntimeError, BrokenPipeError)) as told, writing(Path("x")):
        bug()
    assert not isinstance(told.value, CompactorError)


def test_what_a_library_or_a_cause_says_of_the_machine_is_found() -> None:
    def of_torch() -> None:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904  # as torch does

    def of_ours() -> None:
        raise ValueError("not saved") from OSError(errno.ENOSPC, "full")

    def of_tokenizers() -> None:
        raise Exception("No space left on device (os error 28)")

    for fail in (of_torch, of_ours, of_tokenizers):
        with pytest.raises(UnfitEnvironmentError, match="x: No space left"), writing(Path("x")):
            fail()


@pytest.mark.parametrize("name", ["folder", "file/below", "n" * 256])
def test_a_place_that_can_hold_no_file_is_a_wrong_argument(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(UsageError, match=f"{name}: cannot be written: .*; give another place"):
        write_whole(tmp_path / name, b"content")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert os.listdir(tmp_path / "folder") == []


@pytest.mark.parametrize("name", ["n" * 250, "é" * 125])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, b"content")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"old")
    path.chmod(mode)
    with umask(0o022), written_whole(path) as partial:
        assert stat.S_IMODE(partial.stat().st_mode) == mode | stat.S_IWUSR
        partial.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_file_in_a_folder_that_takes_no_new_one_is_written_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"old")
    before, opened = path.stat().st_ino, Path.open

    def refuse(self: Path, mode: str = "r", *words: Any, **options: Any) -> Any:
        if "x" in mode:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return opened(self, mode, *words, **options)

    monkeypatch.setattr(Path, "open", refuse)
    write_whole(path, b"new")
    assert (path.read_bytes(), path.stat().st_ino) == (b"new", before)
    with pytest.raises(UnfitEnvironmentError, match="other.toml: Permission denied"):
        write_whole(tmp_path / "other.toml", b"new")


def test_another_remedy_can_be_named() -> None:
    with pytest.raises(UnfitEnvironmentError, match=r"x: No space left on device; set \$Y; what was"):
        write_at("x", OSError(errno.ENOSPC, "full"), "set $Y")
