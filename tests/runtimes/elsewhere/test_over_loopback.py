"""Whole measurements over a real sshd on this machine: done, refused, failed, interrupted, cut off."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import onnx
import pytest

from compactor_runtimes.elsewhere.errand import Errand
from compactor_runtimes.elsewhere.target import measure_there
from compactor_runtimes.elsewhere.there import MARK
from compactor_runtimes.errors import UnfitEnvironmentError
from compactor_runtimes.measure.profile_file import read_profile
from tests.command_line import fresh_compactor, start_compactor
from tests.loopback_sshd import know, loopback_sshd, make_key
from tests.made_once import made_once
from tests.runtimes.conftest import WEIGHT, classifier, write_bundle

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[3]
NEEDED = ("numpy", "click", "rich", "msgspec", "pyyaml", "onnxruntime", "safetensors", "pillow")
SHORT = ("--profile", "smoke", "--scenario", "single-stream", "--again", "0")


def download(folder):
    """Wheels of all that a bundle of images needs."""
    constraints = str(ROOT / "constraints.txt")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--only-binary",
        ":all:",
        "--dest",
        str(folder),
    ]
    subprocess.run([*command, "--constraint", constraints, *NEEDED], check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    return made_once(tmp_path_factory, "wheels-elsewhere", download)


@pytest.fixture
def far(tmp_path):
    (tmp_path / "sshd").mkdir()
    with loopback_sshd(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "a bundle; $(touch oh)")


def on(far):
    return ("--on", far.target, "--ssh-config", str(far.config))


def processes_of(far):
    """Numbers of what was started there and still runs."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={far.temporary}/".encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
    return found


def wait_until(condition, what):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(what)


def is_clean(far):
    return not far.left() and not processes_of(far)


def test_measured_there_from_wheels_it_is_a_profile_with_pages_here(far, bundle, wheels, tmp_path):
    samples = tmp_path / "my samples"
    samples.mkdir()
    for number in range(3):
        (samples / f"{number}.png").write_bytes((bundle.path / "golden/case-0.png").read_bytes())
    twin = write_bundle(tmp_path / "twin")  # of the same name, so that paths tell them apart
    words = ["measure", str(bundle.path), str(twin.path), *SHORT, *on(far), "--wheels", str(wheels)]
    done = fresh_compactor(*words, "--samples", str(samples), "--threads", "1", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = read_profile(tmp_path / "out" / "profile.json")
    assert found.target == far.target
    assert found.command.startswith("compactor measure")
    assert f"--on {far.target}" in found.command
    names = [f"{bundle.path}: fp32 @ ort-cpu", f"{twin.path}: fp32 @ ort-cpu"]
    assert [row.name for row in found.subjects] == names
    assert {one.subject for one in found.measurements} == set(names)
    assert {one.threads for one in found.measurements} == {1}
    assert found.settings.profile == "smoke"
    assert "samples: 3 given" in found.notes
    assert "out/profile.json" in done.stdout.split()
    assert is_clean(far)
    assert not (tmp_path / "oh").exists()


def test_an_unknown_and_a_changed_host_key_are_refused(far, bundle, tmp_path):
    errand = Errand([bundle.path], ssh_config=far.config)
    make_key(tmp_path / "other")
    know(far.known_hosts, far.port, tmp_path / "other.pub")
    with pytest.raises(UnfitEnvironmentError, match="shows another host key than the known one") as refused:
        measure_there(far.target, errand)
    assert f"ssh-keygen -R '[127.0.0.1]:{far.port}'" in str(refused.value)
    far.known_hosts.unlink()
    with pytest.raises(UnfitEnvironmentError, match="its host key is not known here") as refused:
        measure_there(far.target, errand)
    assert f"-p {far.port} 127.0.0.1" in str(refused.value)
    assert not far.known_hosts.exists()
    assert is_clean(far)


def test_a_refused_user_and_a_server_that_is_not_there_are_told(far, bundle, tmp_path):
    errand = Errand([bundle.path], ssh_config=far.config)
    (tmp_path / "sshd" / "authorized_keys").write_text("")
    with pytest.raises(UnfitEnvironmentError, match="refuses this user .*ssh-copy-id"):
        measure_there(far.target, errand)
    far.process.terminate()
    far.process.wait(10)
    with pytest.raises(UnfitEnvironmentError, match="cannot be reached .*refused"):
        measure_there(far.target, errand)


def test_what_fails_there_comes_through_and_is_kept_on_demand(far, bundle, wheels, tmp_path):
    wrong = WEIGHT.copy()
    wrong[0, 0] = 3
    onnx.save(classifier(wrong), bundle.path / "artifacts/fp32.onnx")
    bundle.rehash()
    words = ["measure", str(bundle.path), *SHORT, *on(far), "--wheels", str(wheels), "--keep"]
    done = fresh_compactor(*words, "--json", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    said = json.loads(done.stdout)
    assert said["error"] == "NumericGateError"
    assert said["message"].startswith(
        f"{far.target}: measure: nothing may be timed here: fp32 @ ort-cpu: output"
    )
    (folder,) = far.left()
    assert (folder / "bundles/0/manifest.json").is_file()
    told = f"kept on {far.target}: {folder}; remove it with: ssh "
    assert "".join(told.split()) in "".join(done.stderr.split())  # a long path is folded anywhere
    assert not processes_of(far)


def test_wheels_that_do_not_suffice_are_named(far, bundle, tmp_path):
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "other-1-py3-none-any.whl").write_bytes(b"")
    done = fresh_compactor(
        "measure", str(bundle.path), *on(far), "--wheels", str(tmp_path / "few"), cwd=tmp_path
    )
    assert done.returncode == 6
    assert "pip could not install Compactor" in done.stderr
    assert "into the folder of --wheels" in " ".join(done.stderr.split())
    assert is_clean(far)


def test_killed_in_the_middle_nothing_is_left_there(far, bundle, wheels, tmp_path):
    words = ["measure", str(bundle.path), *on(far), "--wheels", str(wheels), "--profile", "long"]
    process = start_compactor(*words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: any("compactor_runtimes.measure.worker" in line_of(one) for one in processes_of(far)),
               "no worker there")  # fmt: skip
    assert far.left()
    process.kill()
    process.wait(10)
    wait_until(lambda: is_clean(far), "something is left there")


def line_of(process):
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().decode()
    return ""


def test_ctrl_c_cleans_up_and_says_how_to_go_on(far, bundle, wheels, tmp_path):
    words = ["measure", str(bundle.path), *on(far), "--wheels", str(wheels)]
    process = start_compactor(*words, cwd=tmp_path, preexec_fn=heed_ctrl_c)
    wait_until(lambda: processes_of(far), "nothing runs there")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    said = " ".join(stderr.split())
    assert (
        f"error: {far.target}: stopped, nothing is left there; measure again with: compactor measure" in said
    )
    assert is_clean(far)


def test_a_lost_connection_is_told_and_nothing_is_left_there(far, bundle, wheels, tmp_path):
    words = ["measure", str(bundle.path), *on(far), "--wheels", str(wheels)]
    process = start_compactor(*words, cwd=tmp_path)
    wait_until(lambda: processes_of(far), "nothing runs there")
    for session in children_of(far.process.pid):
        os.kill(session, signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 6, stderr
    said = " ".join(stderr.split())
    assert "the connection was lost" in said
    assert "measure again with: compactor measure" in said
    wait_until(lambda: is_clean(far), "something is left there")


def heed_ctrl_c():
    """A background job of a shell ignores it, and so would what we start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def children_of(pid):
    """Processes of the server that hold the connection, the youngest first."""
    found = []
    for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [*children_of(int(number)), int(number)] if "sshd" in line_of(number) else []
    return found
