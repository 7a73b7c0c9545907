"""Files appear whole, with the permissions of the umask, or not at all."""

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from compactor_runtimes.errors import UnfitEnvironmentError, UsageError
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


def test_another_remedy_can_be_named() -> None:
    with pytest.raises(UnfitEnvironmentError, match=r"x: No space left on device; set \$Y; what was"):
        write_at("x", OSError(errno.ENOSPC, "full"), "set $Y")
