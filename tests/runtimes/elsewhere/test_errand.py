"""What must be installed for an errand, and what is refused before anything is sent."""

import pytest

from compactor_runtimes.elsewhere.errand import Errand
from compactor_runtimes.elsewhere.target import measure_there
from compactor_runtimes.errors import IntegrityError, UnfitEnvironmentError, UsageError
from tests.runtimes.conftest import write_bundle
from tests.runtimes.text_bundles import write_text_bundle


@pytest.mark.parametrize(
    ("runtimes", "expected"),
    [
        ((), (["image"], [])),
        (("ort-cpu",), (["image"], [])),
        (("ort-cpu", "openvino", "openvino-bf16"), (["image", "openvino"], [])),
        (("ort-cpu", "ort-cuda"), (["ort-gpu"], ["pillow"])),  # both builds of ONNX Runtime break each other
        (("tensorrt-rtx",), (["image", "tensorrt-rtx"], [])),
    ],
)
def test_extras_are_those_of_the_input_and_of_the_runtimes(bundle, runtimes, expected):
    assert Errand([bundle.path], runtimes=runtimes).requirements() == expected


def test_texts_need_their_own_extra(tmp_path):
    path = write_text_bundle(tmp_path / "texts").path
    assert Errand([path]).requirements() == (["text"], [])
    assert Errand([path], runtimes=["ort-cuda"]).requirements() == (["ort-gpu"], ["tokenizers"])


def test_what_cannot_be_used_is_refused_here(bundle, tmp_path):
    with pytest.raises(UsageError, match="--wheels .*: no wheel found"):
        Errand([bundle.path], wheels=tmp_path).wheel_files()
    with pytest.raises(UsageError, match="--samples missing: no such file"):
        Errand([bundle.path], samples=[tmp_path.relative_to(tmp_path) / "missing"]).requirements()
    with pytest.raises(UsageError, match="--ssh-config .*: no such file"):
        measure_there("ssh://pi", Errand([bundle.path], ssh_config=tmp_path / "missing"))
    (bundle.path / "artifacts/fp32.onnx").write_bytes(b"damaged")
    with pytest.raises(IntegrityError, match=r"fp32\.onnx"):
        Errand([bundle.path]).requirements()


def test_without_a_client_the_way_is_closed(bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnfitEnvironmentError, match="no program ssh found here"):
        measure_there("ssh://pi", Errand([bundle.path]))


def test_what_a_manifest_does_not_list_stays_here_links_to_private_files_too(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    (tmp_path / "secret").write_text("mine")
    (bundle.path / "extra").symlink_to(tmp_path / "secret")
    (bundle.path / "loop").symlink_to(bundle.path)
    names = [name for name, _ in Errand([bundle.path]).bundle_files()]
    assert names[0] == "bundles/0/manifest.json"
    assert "bundles/0/artifacts/fp32.onnx" in names
    assert not any("extra" in name or "loop" in name for name in names)
    assert all(path.is_relative_to(bundle.path.resolve()) for _, path in Errand([bundle.path]).bundle_files())
