import json
import platform

import pytest

from compactor_exporters.deploy import requirements
from compactor_exporters.deploy.requirements import Pin, check_extras, machine, put_requirements, read_report
from compactor_runtimes.errors import UnfitEnvironmentError
from tests.exporters.deploy.conftest import PINS


def entry(name, version, sha256):
    found = {"archive_info": {"hashes": {"sha256": sha256}}, "url": "https://index.example/files/x.whl"}
    return {"metadata": {"name": name, "version": version}, "download_info": found}


def test_a_report_gives_names_versions_and_hashes_without_our_own_wheel():
    entries = [entry("PyYAML", "6.0.4", "a" * 64), entry("click", "8.5.1", "b" * 64)]
    entries.append(entry("compactor-toolkit", "0.1.0", "c" * 64))
    assert read_report(json.dumps({"install": entries}).encode()) == [
        Pin("click", "8.5.1", "b" * 64),
        Pin("pyyaml", "6.0.4", "a" * 64),
    ]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"install": [{"metadata": {}}]}', b"[]", b'{"install": 1}']
)
def test_a_report_that_lacks_something_is_refused(content):
    with pytest.raises(UnfitEnvironmentError, match="its report lacks"):
        read_report(content)


def test_every_line_has_a_hash_and_our_wheel_is_named_by_its_place(tmp_path, no_index):
    wheel, name = put_requirements(tmp_path, ["image", "serve"])
    head, own, *others = (tmp_path / name).read_text().splitlines()
    assert head.startswith("# Python 3.")
    assert own.startswith(f"./{wheel} --hash=sha256:")
    assert others == [f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}" for pin in PINS]
    assert no_index == [["image", "serve"]]


def test_an_extra_that_this_release_does_not_know_is_refused_before_pip_leaves_it_out():
    with pytest.raises(UnfitEnvironmentError, match="no extra nonesuch; install this release again"):
        check_extras(["image", "nonesuch"])


def test_other_processors_are_refused(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(UnfitEnvironmentError, match="riscv64"):
        machine()


def test_what_pip_refuses_is_told_in_its_words(tmp_path, monkeypatch):
    class Done:
        returncode, stderr = 1, "WARNING: x\nERROR: no matching distribution\n"

    monkeypatch.setattr(requirements.subprocess, "run", lambda *words, **options: Done)
    with pytest.raises(UnfitEnvironmentError, match=r"\(ERROR: no matching distribution\)"):
        requirements.closure(tmp_path / "x.whl", ["image"])
