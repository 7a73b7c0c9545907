"""What `compactor doctor` finds out."""

from compactor import doctor
from compactor_runtimes.backends import RUNTIMES


def test_every_runtime_is_usable_or_says_why_not(monkeypatch):
    found = doctor.examine()["runtimes"]
    assert list(found) == list(RUNTIMES)
    assert found["ort-cpu"]["usable"]
    assert found["ort-cpu"]["detail"].startswith("ONNX Runtime ")
    assert all(row["detail"] for row in found.values())


def test_a_package_that_is_there_and_broken_does_not_stop_it(monkeypatch):
    def broken():
        raise OSError("libtoy.so: cannot open\nshared object file")

    monkeypatch.setattr("compactor_runtimes.backends.openvino.probe", broken)
    found = doctor.examine()["runtimes"]["openvino"]
    assert found == {"usable": False, "detail": "libtoy.so: cannot open shared object file"}
