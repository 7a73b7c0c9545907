import os
import subprocess
import sys

import msgspec
import pytest

from compactor_runtimes.bundle.manifest import FileEntry, Golden, SoftmaxPost
from compactor_runtimes.bundle.open import file_entry, open_bundle, read_cases
from compactor_runtimes.errors import IntegrityError, UsageError


def test_a_valid_bundle_opens_and_names_its_files(bundle):
    opened = open_bundle(str(bundle.path))
    assert opened.manifest == bundle.manifest
    assert opened.file("artifacts/fp32.onnx") == bundle.path / "artifacts/fp32.onnx"
    assert [case.id for case in read_cases(opened)] == ["case-0", "case-1"]
    with pytest.raises(IntegrityError, match=r"lists no file 'manifest.json'"):
        opened.file("manifest.json")


def test_file_entry_states_size_and_digest(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/abc.txt").write_bytes(b"abc")
    entry = file_entry(tmp_path, "a/abc.txt")
    # The digest of "abc" is the first example of FIPS 180-2.
    assert entry.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (entry.path, entry.bytes) == ("a/abc.txt", 3)
    with pytest.raises(IntegrityError, match="no such file"):
        file_entry(tmp_path, "a/none.txt")
    with pytest.raises(IntegrityError, match=r"without '\.\.'"):
        file_entry(tmp_path / "a", "../a/abc.txt")


@pytest.mark.parametrize("name", ["artifacts/fp32.onnx", "golden/case-0.png", "golden/cases.json"])
def test_one_flipped_byte_is_found(bundle, name):
    path = bundle.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{name}: damaged") as caught:
        open_bundle(bundle.path)
    assert caught.value.exit_code == 7


def test_truncated_and_missing_files_are_found(bundle):
    path = bundle.path / "artifacts/fp32.onnx"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=f"fp32.onnx: {size - 1} bytes found, {size} expected"):
        open_bundle(bundle.path)
    path.unlink()
    with pytest.raises(IntegrityError, match=r"fp32.onnx: listed in the manifest but missing"):
        open_bundle(bundle.path)


@pytest.mark.parametrize("outside", ["../secret", "golden/../../secret", "/etc/hostname", "", "a\0b", ".."])
@pytest.mark.parametrize("place", ["files", "artifact"])
def test_a_path_out_of_the_folder_is_refused(bundle, outside, place):
    (bundle.path.parent / "secret").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    entry = FileEntry(path=outside, sha256=digest, bytes=3)
    if place == "files":
        bundle.replace(files=[*bundle.manifest.files, entry])
    else:
        bundle.replace_artifact(files=[entry])
    with pytest.raises(IntegrityError, match="inside the bundle") as caught:
        open_bundle(bundle.path)
    assert repr(outside) in str(caught.value)


def test_links_may_not_leave_the_folder(bundle):
    model, elsewhere = bundle.path / "artifacts/fp32.onnx", bundle.path.parent / "elsewhere.onnx"
    model.rename(elsewhere)
    model.symlink_to(elsewhere)
    with pytest.raises(IntegrityError, match=r"fp32.onnx: leads to .*elsewhere.onnx, outside the bundle"):
        open_bundle(bundle.path)
    elsewhere.rename(bundle.path / "inside.onnx")
    model.unlink()
    model.symlink_to("../inside.onnx")
    assert open_bundle(bundle.path).path == bundle.path


def test_a_linked_folder_or_manifest_may_not_leave_either(bundle):
    (bundle.path / "golden").rename(bundle.path.parent / "golden")
    (bundle.path / "golden").symlink_to(bundle.path.parent / "golden")
    with pytest.raises(IntegrityError, match="outside the bundle"):
        open_bundle(bundle.path)
    (bundle.path / "manifest.json").rename(bundle.path.parent / "manifest.json")
    (bundle.path / "manifest.json").symlink_to(bundle.path.parent / "manifest.json")
    with pytest.raises(IntegrityError, match=r"manifest.json: leads to .* outside the bundle"):
        open_bundle(bundle.path)


def test_a_loop_of_links_and_a_pipe_are_refused(bundle):
    model = bundle.path / "artifacts/fp32.onnx"
    model.unlink()
    model.symlink_to("fp32.onnx")
    with pytest.raises(
        IntegrityError, match=r"fp32.onnx: (cannot be followed|listed in the manifest but missing)"
    ):
        open_bundle(bundle.path)
    model.unlink()
    os.mkfifo(model)
    with pytest.raises(IntegrityError, match="missing"):
        open_bundle(bundle.path)


def test_what_is_no_bundle_is_said_to_be_none(bundle, tmp_path):
    with pytest.raises(UsageError, match=r"nowhere: does not exist; give a bundle"):
        open_bundle(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"manifest.json: is a file; give a bundle"):
        open_bundle(bundle.path / "manifest.json")
    (bundle.path / "manifest.json").unlink()
    with pytest.raises(IntegrityError, match=r"holds no manifest.json"):
        open_bundle(bundle.path)


def test_another_schema_version_is_refused_by_name(bundle):
    bundle.replace(schema_version=6)
    with pytest.raises(IntegrityError, match="schema version 6 found, this release reads 1 to 5"):
        open_bundle(bundle.path)


@pytest.mark.parametrize("text", [b"", b"[]", b'{"schema_version": 1}', b"{", b'{"schema_version": "\xff"}'])
def test_a_damaged_manifest_is_refused(bundle, text):
    (bundle.path / "manifest.json").write_bytes(text)
    with pytest.raises(IntegrityError, match=r"manifest.json"):
        open_bundle(bundle.path)


def test_references_must_be_listed(bundle):
    good = bundle.manifest
    bundle.replace(golden=Golden(cases="golden/other.json", tensors=good.golden.tensors))
    with pytest.raises(IntegrityError, match=r"lists no file 'golden/other.json'"):
        open_bundle(bundle.path)
    bundle.replace(golden=Golden(cases=good.golden.cases, tensors="/etc/hostname"))
    with pytest.raises(IntegrityError, match=r"lists no file '/etc/hostname'"):
        open_bundle(bundle.path)
    bundle.replace(
        golden=good.golden, files=[each for each in good.files if each.path != "golden/case-1.png"]
    )
    with pytest.raises(IntegrityError, match=r"lists no file 'golden/case-1.png'"):
        open_bundle(bundle.path)
    bundle.replace(files=good.files, default_artifact="int8")
    with pytest.raises(IntegrityError, match="default artifact 'int8' is not in the manifest"):
        open_bundle(bundle.path)
    bundle.replace(default_artifact="fp32", post=[SoftmaxPost(output="logits", labels="slot")])
    with pytest.raises(IntegrityError, match="label list 'slot' is not in the manifest"):
        open_bundle(bundle.path)
    bundle.replace(post=good.post, labels={"label": ["red", "green"]})
    with pytest.raises(IntegrityError, match="'logits' has 3 classes, its label list 'label' 2"):
        open_bundle(bundle.path)


def test_one_file_may_not_have_two_digests(bundle):
    entry = msgspec.structs.replace(bundle.manifest.main.artifacts[0].files[0], sha256="0" * 64)
    bundle.replace(files=[*bundle.manifest.files, entry])
    with pytest.raises(IntegrityError, match=r"lists 'artifacts/fp32.onnx' twice"):
        open_bundle(bundle.path)


@pytest.mark.parametrize(
    ("text", "message"), [(b"[]", "no golden case"), (b"{}", "not a list"), (b'["\xff"]', "not a")]
)
def test_golden_cases_must_be_readable(bundle, text, message):
    (bundle.path / "golden/cases.json").write_bytes(text)
    bundle.rehash()
    with pytest.raises(IntegrityError, match=message):
        open_bundle(bundle.path)


def test_golden_cases_have_ids_of_their_own(bundle):
    path = bundle.path / "golden/cases.json"
    path.write_bytes(path.read_bytes().replace(b'"id":"case-1"', b'"id":"case-0"'))
    bundle.rehash()
    with pytest.raises(IntegrityError, match="same id"):
        open_bundle(bundle.path)


def test_the_package_imports_without_numpy_and_loads_lazily():
    script = """
import sys
for name in ("numpy", "torch", "onnx", "onnxruntime", "PIL", "safetensors"):
    sys.modules[name] = None
import compactor_runtimes
assert "msgspec" not in sys.modules
assert issubclass(compactor_runtimes.UsageError, compactor_runtimes.CompactorError)
for name in compactor_runtimes.__all__:
    assert getattr(compactor_runtimes, name).__name__ == name, name
import compactor_runtimes.backends.ort
try:
    compactor_runtimes.nothing
except AttributeError:
    print("done")
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == "done\n"
