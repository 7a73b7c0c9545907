"""Opening a bundle for predicting: what is read and when, what is held against the graph, whom to trust."""

import os
import pickle
import subprocess
import threading
import time
from importlib import metadata
from zipfile import ZipFile, ZipInfo

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compactor_runtimes import IntegrityError, Limits, NumericGateError, TimeLimitError, UsageError, load
from compactor_runtimes.backends import open_runtime
from compactor_runtimes.bundle import opening
from compactor_runtimes.bundle.manifest import FileEntry
from compactor_runtimes.bundle.open import file_entry, open_bundle

BLUE = np.zeros((4, 4, 3), np.uint8)
BLUE[:, :, 2] = 51


def test_loading_reads_what_it_uses_and_verifying_reads_all(bundle):
    (bundle.path / "golden/case-0.png").write_bytes(
        b"\0" * (bundle.path / "golden/case-0.png").stat().st_size
    )
    with load(bundle.path, threads=1) as model:
        assert model.predict(BLUE).label == "blue"
    for whole in (lambda: load(bundle.path, verify=True), lambda: open_bundle(bundle.path)):
        with pytest.raises(IntegrityError, match=r"case-0\.png: damaged"):
            whole()
    (bundle.path / "golden/case-0.png").unlink()
    with pytest.raises(IntegrityError, match=r"case-0\.png: listed in the manifest but missing"):
        load(bundle.path)


@pytest.mark.parametrize("runtime", ["ort-cpu", "openvino"])
def test_what_was_hashed_is_what_is_opened(bundle, make_classifier, monkeypatch, runtime):
    """Someone replaces the file after it was read: the checked bytes are opened, whoever reads files."""
    other = make_classifier(np.roll(np.repeat(np.eye(3, dtype=np.float32), 16, axis=0), 1, axis=1))
    opened = opening.open_files

    def replacing(artifact, place, *, read, **options):
        def read_then_replaced(name):
            content = read(name)
            onnx.save(other, bundle.path / name)
            return content

        return opened(artifact, place, read=read_then_replaced, **options)

    monkeypatch.setattr(opening, "open_files", replacing)
    with load(bundle.path, runtime=runtime, threads=1) as model:
        assert model.predict(BLUE).label == "blue"
    with pytest.raises(IntegrityError, match=r"fp32\.onnx"):
        load(bundle.path, runtime=runtime)


def external(bundle, *, listed):
    """Move the weights of the bundle's graph into a file of their own beside it."""
    path = bundle.path / "artifacts/fp32.onnx"
    model = onnx.load(path)
    onnx.save_model(
        model, path, save_as_external_data=True, location="w.bin", size_threshold=100, convert_attribute=False
    )
    files = [file_entry(bundle.path, "artifacts/fp32.onnx")]
    files += [file_entry(bundle.path, "artifacts/w.bin")] if listed else []
    bundle.replace_artifact(files=files)


@pytest.mark.parametrize("runtime", ["ort-cpu", "openvino"])
def test_external_data_are_found_if_they_are_listed(bundle, runtime, tmp_path, monkeypatch):
    external(bundle, listed=True)
    with load(bundle.path, runtime=runtime, threads=1) as model:
        assert model.predict(BLUE).label == "blue"
    external(bundle, listed=False)
    monkeypatch.chdir(bundle.path / "artifacts")  # where a careless reader would find it
    with pytest.raises(IntegrityError, match=r"fp32\.onnx.*cannot read it as a model"):
        load(bundle.path, runtime=runtime, threads=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": "float16"}, "images are float32"),
        ({"max": [-5, 3, 4, 4]}, "Expected `int` >= 1"),
        ({"max": [8, 3, 4]}, "expected bounds of each axis"),
        ({"min": [9, 3, 4, 4]}, "expected bounds of each axis"),
        ({"axes": []}, "length >= 1"),
        (
            {"axes": ["batch", 4, 4, 4], "min": [1, 4, 4, 4], "max": [8, 4, 4, 4]},
            "has 'pixel_values' as float32",
        ),
    ],
)
def test_every_number_of_a_port_is_held_against_the_graph(bundle, change, words):
    bundle.replace_main(inputs=[msgspec.structs.replace(bundle.manifest.main.inputs[0], **change)])
    with pytest.raises(IntegrityError, match=words):
        load(bundle.path, threads=1)


def test_outputs_are_held_against_the_graph(bundle):
    output = bundle.manifest.main.outputs[0]
    for change in ({"dtype": "int64"}, {"axes": ["batch"]}, {"axes": ["batch", 3, 1], "labels": None}):
        bundle.replace_main(outputs=[msgspec.structs.replace(output, **change)])
        with pytest.raises(
            IntegrityError, match="has 'logits' as float32 with axes any, 3, the manifest says"
        ):
            load(bundle.path, threads=1)


def test_nan_is_an_error_and_never_a_label(bundle, make_classifier):
    weight = np.repeat(np.eye(3, dtype=np.float32), 16, axis=0)
    weight[0, 0] = np.nan
    onnx.save(make_classifier(weight), bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    with load(bundle.path, threads=1) as model, pytest.raises(IntegrityError, match="NaN or infinity found"):
        model.predict(BLUE)


def test_a_graph_that_fails_on_its_own_inputs_is_the_bundles_fault(bundle):
    model = onnx.load(bundle.path / "artifacts/fp32.onnx")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([7, -1], np.int64), "shape"))
    onnx.save(model, bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    with load(bundle.path, threads=1) as opened:
        with pytest.raises(IntegrityError, match="artifact 'fp32' fails on what the manifest says it takes"):
            opened.predict(BLUE)
        with pytest.raises(IntegrityError, match="fails on what the manifest"):
            opened.predict([BLUE, BLUE])


def test_auto_takes_the_first_artifact_whose_golden_cases_pass_here(bundle, make_classifier):
    assert load(bundle.path, runtime="auto", threads=1).artifact.name == "fp32"
    good = bundle.manifest.main.artifacts[0]
    swapped = np.roll(np.repeat(np.eye(3, dtype=np.float32), 16, axis=0), 1, axis=1)
    onnx.save(make_classifier(swapped), bundle.path / "artifacts/bad.onnx")
    bad = msgspec.structs.replace(good, name="bad", files=[file_entry(bundle.path, "artifacts/bad.onnx")])
    bundle.replace_main(artifacts=[bad, good])
    bundle.replace(default_artifact="bad")
    with load(bundle.path, runtime="auto", threads=1) as model:
        assert model.artifact.name == "fp32"
    with pytest.raises(NumericGateError, match="artifact 'bad', output logits"):
        load(bundle.path, artifact="bad", runtime="auto", threads=1)
    with pytest.raises(NumericGateError, match="artifact 'bad', output logits"):
        load(bundle.path, verify=True, threads=1)
    assert load(bundle.path, threads=1).predict(BLUE).label != "blue"  # who asks for nothing gets no check


def endless(path):
    """A graph of the bundle's ports that loops until somebody stops it."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["held"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("held", TensorProto.FLOAT, ["batch", 3]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["batch", 3]),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["pixel_values", "axes"], ["sums"], keepdims=0),
            helper.make_node("Loop", ["", "true", "sums"], ["logits"], body=body),
        ],
        "endless",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
            numpy_helper.from_array(np.array(True), "true"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def test_a_graph_that_never_ends_is_stopped(bundle):
    endless(bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    with load(bundle.path, threads=1, limits=Limits(seconds=0.1)) as model:
        for _ in range(2):  # it goes on working
            begin = time.monotonic()
            with pytest.raises(TimeLimitError, match=r"fp32\.onnx: stopped, 0\.1 s allowed"):
                model.predict(BLUE)
            assert time.monotonic() - begin < 5
    with load(bundle.path, threads=1, limits=Limits(seconds=60)) as model:
        threading.Timer(0.1, model.cancel).start()
        with pytest.raises(TimeLimitError):
            model.predict(BLUE)


def test_a_limit_of_time_needs_a_runtime_that_can_be_stopped(bundle):
    with pytest.raises(UsageError, match=r"limits\.seconds: OpenVINO .* cannot be stopped"):
        load(bundle.path, runtime="openvino", limits=Limits(seconds=1))
    with load(bundle.path, limits=Limits(seconds=5), threads=1) as model:
        assert model.predict(BLUE).label == "blue"


def test_a_model_is_pickled_by_its_path(bundle, monkeypatch):
    monkeypatch.chdir(bundle.path.parent)
    with load(bundle.path.name, threads=1, formats=["BMP"]) as model:
        monkeypatch.chdir("/")
        with pickle.loads(pickle.dumps(model)) as other:
            assert other.predict(BLUE).label == "blue"
            assert other.limits == model.limits
        assert "'colours'" in repr(model)
        assert "fp32 on CPUExecutionProvider" in repr(model)
        by_hand = type(model)(model.bundle, model.artifact, model._runtime)
        with pytest.raises(UsageError, match="was not made by load"):
            pickle.dumps(by_hand)


def test_a_model_can_be_warmed_up(bundle):
    with load(bundle.path, threads=1) as model:
        model.warm_up()
        model.warm_up(8)
        with pytest.raises(UsageError, match="batch: got 9, expected 1 to 8"):
            model.warm_up(9)


@pytest.mark.parametrize("path", [None, b"bytes", 7, ["list"]])
def test_what_is_no_path_is_said(path):
    with pytest.raises(UsageError, match="expected the path of its folder"):
        load(path)


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "a\r\nb" * 100])
def test_a_path_that_can_be_none_is_one_short_line(path):
    with pytest.raises((UsageError, IntegrityError)) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 10**10])
def test_threads_that_are_none_are_said(bundle, threads):
    with pytest.raises(UsageError, match="threads: got"):
        load(bundle.path, threads=threads)


def test_a_file_that_is_listed_twice_is_one_file(bundle):
    entry = bundle.manifest.main.artifacts[0].files[0]
    bundle.replace_artifact(files=[entry, entry])
    assert load(bundle.path, threads=1).predict(BLUE).label == "blue"
    bundle.replace_artifact(files=[entry, FileEntry(path=entry.path, sha256="0" * 64, bytes=entry.bytes)])
    with pytest.raises(IntegrityError, match="twice with different digests"):
        load(bundle.path)


def keys(folder, name):
    key, public = folder / f"{name}.pem", folder / f"{name}.pub"
    subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True
    )
    subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    return key, public


@pytest.mark.slow
def test_a_signed_bundle_is_taken_by_its_makers_key_alone(bundle, tmp_path):
    from compactor_runtimes.bundle.signature import SIGNATURE, sign

    (key, public), (_, other) = keys(tmp_path, "mine"), keys(tmp_path, "other")
    with pytest.raises(IntegrityError, match=r"is not signed \(no manifest\.json\.sig\)"):
        load(bundle.path, trusted_keys=[public])
    old = os.umask(0o077)
    try:
        sign((bundle.path / "manifest.json").read_bytes(), bundle.path / SIGNATURE, key=key)
    finally:
        os.umask(old)
    assert (bundle.path / SIGNATURE).stat().st_mode & 0o777 == 0o600
    with load(bundle.path, trusted_keys=[other, public], threads=1) as model:
        assert model.predict(BLUE).label == "blue"
        assert pickle.loads(pickle.dumps(model)).predict(BLUE).label == "blue"
    assert load(bundle.path, threads=1).predict(BLUE).label == "blue"
    with pytest.raises(IntegrityError, match="its signature is of none of the trusted keys"):
        load(bundle.path, trusted_keys=[other])
    with pytest.raises(UsageError, match="cannot be read as a public key"):
        load(bundle.path, trusted_keys=[tmp_path / "none.pub"])
    bundle.replace(name="another")
    with pytest.raises(IntegrityError, match="Signature mismatch"):
        load(bundle.path, trusted_keys=[public])
    (bundle.path / SIGNATURE).write_bytes(b"{}")
    with pytest.raises(IntegrityError, match="its signature is of none"):
        load(bundle.path, trusted_keys=[public])
    with pytest.raises(UsageError, match="cannot be read as a private key"):
        sign(b"{}", bundle.path / SIGNATURE, key=public)


def test_a_graph_alone_is_opened_from_its_path(bundle):
    runtime = open_runtime("ort-cpu", bundle.path / "artifacts/fp32.onnx", threads=1)
    assert runtime.ports["pixel_values"].axes == [None, 3, 4, 4]
    assert (runtime.ports["logits"].dtype, runtime.ports["logits"].axes) == ("float32", [None, 3])


@pytest.mark.heavy
def test_sixteen_threads_answer_ten_thousand_times_each_as_one_does(bundle):
    images = [np.full((4, 4, 3), value, np.uint8) for value in range(0, 250, 10)]
    for index, image in enumerate(images):
        image[:, :, index % 3] = 255
    with load(bundle.path, threads=1) as model:
        expected = [model.predict(image).probabilities.tobytes() for image in images]
        wrong = []

        def ask(first):
            for number in range(first, first + 10_000):
                place = number % len(images)
                if model.predict(images[place]).probabilities.tobytes() != expected[place]:
                    wrong.append(place)

        threads = [threading.Thread(target=ask, args=(first,)) for first in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def zipped(folder, target, inside=""):
    with ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{inside}{path.relative_to(folder).as_posix()}")
    return target


@pytest.mark.parametrize("inside", ["", "colours-1/"])
def test_a_bundle_is_loaded_from_a_zip_file_and_nothing_of_it_is_left(bundle, tmp_path, monkeypatch, inside):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    path = zipped(bundle.path, tmp_path / "colours.zip", inside)
    with load(path, threads=1, verify=True) as model:
        assert list((tmp_path / "scratch").iterdir()) == []
        assert model.predict(BLUE).label == "blue"
        assert model.bundle.path == path
        assert pickle.loads(pickle.dumps(model)).predict(BLUE).label == "blue"


@pytest.mark.parametrize("name", ["../out.txt", "/abs.txt", "a/../../b", "a\\b"])
def test_a_zip_file_that_leaves_its_folder_is_refused(bundle, tmp_path, name):
    path = zipped(bundle.path, tmp_path / "b.zip")
    with ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(IntegrityError, match="expected files inside it, each once"):
        load(path)


def test_a_zip_file_with_a_link_damage_or_too_much_is_refused(bundle, tmp_path, monkeypatch):
    path = zipped(bundle.path, tmp_path / "b.zip")
    content = bytearray(path.read_bytes())
    with ZipFile(path, "a") as archive:
        link = ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(IntegrityError, match="expected files inside it"):
        load(path)
    for position in (30, len(content) // 2, len(content) - 30):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError):
            load(path, verify=True)
    path.write_bytes(b"no zip")
    with pytest.raises(IntegrityError, match="cannot be read as a zip file"):
        load(path)
    path.write_bytes(content)
    monkeypatch.setattr("compactor_runtimes.bundle.archive.MOST_BYTES", 100)
    with pytest.raises(IntegrityError, match="at most .* of 100 expected; unpack it yourself"):
        load(path)


def test_calls_are_told_to_whoever_observes_them(bundle, caplog):
    told = []
    with (
        caplog.at_level("INFO", logger="compactor_runtimes"),
        load(bundle.path, threads=1, observe=told.append) as model,
    ):
        model.predict(BLUE)
        model.predict([BLUE] * 5)
        with pytest.raises(UsageError):
            model.predict(b"nothing")
    assert [(call.inputs, call.error) for call in told] == [(1, ""), (5, ""), (1, "UsageError")]
    assert all(0 < call.seconds < 5 for call in told)
    assert "loaded <Model 'colours': fp32" in caplog.text


def test_the_version_is_the_installed_one():
    import compactor_runtimes

    assert compactor_runtimes.__version__ == metadata.version("compactor-toolkit")


def test_spinning_reaches_the_session_and_is_refused_where_it_means_nothing(bundle):
    for spinning in (True, False):
        with load(bundle.path, spinning=spinning) as model:
            options = model._runtime._session.get_session_options()
            said = options.get_session_config_entry("session.intra_op.allow_spinning")
            assert said == str(int(spinning))
    load(bundle.path, runtime="openvino", spinning=False).close()
    with pytest.raises(UsageError, match="spinning: threads of runtime 'openvino' have no such setting"):
        load(bundle.path, runtime="openvino", spinning=True)
