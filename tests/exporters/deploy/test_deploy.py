import re

import pytest

from compactor_exporters.deploy import TARGETS, deploy
from compactor_runtimes.errors import IntegrityError, UsageError
from tests.command_line import compactor
from tests.exporters.deploy.web_stand_ins import vendor_nothing
from tests.file_modes import EXPECTED, modes, umask

HOSTS = re.compile(rb"pypi\.org|pythonhosted|registry\.npmjs|jsdelivr|unpkg")


@pytest.fixture
def offline(no_index, monkeypatch):
    vendor_nothing(monkeypatch)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("mask", EXPECTED)
def test_a_folder_is_written_under_the_umask_and_names_neither_this_machine_nor_an_index(
    target, mask, images, tmp_path, offline
):
    with umask(mask):
        done = deploy(images, target, output=tmp_path / "out")
    assert sorted(done.files) == sorted(
        path.relative_to(tmp_path / "out").as_posix()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    )
    assert modes(tmp_path / "out") == EXPECTED[mask]
    assert not list(tmp_path.glob("*.partial"))
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.suffix != ".whl":
            content = path.read_bytes()
            assert str(tmp_path).encode() not in content, path
            assert not HOSTS.search(content), path


@pytest.mark.parametrize("target", TARGETS)
def test_an_empty_folder_is_filled_and_another_is_left_as_it_was(target, images, tmp_path, offline):
    (tmp_path / "empty").mkdir()
    assert deploy(images, target, output=tmp_path / "empty").folder == tmp_path / "empty"
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        deploy(images, target, output=tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    with pytest.raises(UsageError, match="is no folder"):
        deploy(images, target, output=tmp_path / "full/mine")


@pytest.mark.parametrize("target", TARGETS)
def test_what_fails_leaves_nothing(target, images, tmp_path, offline, monkeypatch):
    def fails(name, /, **values):
        raise RuntimeError("in between")

    for module in ("docker", "systemd", "triton", "web"):
        monkeypatch.setattr(f"compactor_exporters.deploy.{module}.template", fails)
    with pytest.raises(RuntimeError, match="in between"):
        deploy(images, target, output=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_damaged_bundle_is_deployed_nowhere(images, tmp_path, offline):
    (images / "artifacts/fp32.onnx").write_bytes(b"no graph")
    with pytest.raises(IntegrityError):
        deploy(images, "triton", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", "-a", "1a", "a" * 64, "a\n"])
def test_a_name_that_is_none_everywhere_is_refused(name, images, tmp_path):
    with pytest.raises(UsageError, match="small letter"):
        deploy(images, "triton", output=tmp_path / "out", name=name)


@pytest.mark.parametrize(
    ("bundle", "expected"),
    [
        ("colours", "colours"),
        ("MobileNet V3/large", "mobilenet-v3-large"),
        ("3d", "model-3d"),
        ("Ä", "model"),
    ],
)
def test_a_bundles_name_becomes_one_that_all_targets_take(bundle, expected, tmp_path, monkeypatch):
    from tests.runtimes.conftest import write_bundle

    write_bundle(tmp_path / "bundle").replace(name=bundle)
    monkeypatch.chdir(tmp_path)
    done = deploy("bundle", "triton")
    assert (done.name, str(done.folder)) == (expected, f"{expected}-triton")


def test_the_command_says_where_it_wrote_and_which_targets_there_are(images, tmp_path):
    done = compactor("deploy", str(images), "--to", "triton", "--name", "toy", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"written: toy-triton \(\d+ files\); how to use it: toy-triton/README.md\n", done.stdout
    )
    unknown = compactor("deploy", str(images), "--to", "tritn", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "did you mean 'triton'? known: docker, systemd, triton, web" in unknown.stderr
