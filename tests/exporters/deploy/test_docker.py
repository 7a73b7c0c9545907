"""The Dockerfile says what it should, and its steps and command run here, without a container."""

import json
import shutil
import subprocess
import sys

import pytest

from compactor_exporters.deploy import deploy
from tests.exporters.deploy.served_here import (
    clean_environment,
    free_port,
    metadata_of_the_source,
    needs_serve,
    run,
    serving,
)
from tests.runtimes.conftest import write_bundle


def instructions(text):
    """(word, rest) of each instruction, continued lines joined."""
    lines = text.replace("\\\n", "").splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]


def commands(text, word):
    return [json.loads(rest) for each, rest in instructions(text) if each == word]


@pytest.fixture
def written(images, tmp_path, no_index):
    return deploy(images, "docker", output=tmp_path / "out").folder


def test_the_image_is_slim_runs_as_nobody_and_starts_the_server_itself(written):
    text = (written / "Dockerfile").read_text()
    words = dict(instructions(text))
    assert words["FROM"] == f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    assert words["USER"] == "65532:65532"
    assert commands(text, "CMD") == [
        ["compactor", "serve", "/bundle", "--host", "0.0.0.0", "--port", "8000"],  # the list: no shell
    ]
    assert ("COPY", "--chown=0:0 --chmod=0555 bundle /bundle") in instructions(text)
    assert words["HEALTHCHECK"].count("http://127.0.0.1:8000/v2/health/ready") == 1


def test_only_what_is_needed_is_sent_to_the_build(written):
    assert (written / ".dockerignore").read_text().split() == ["*", "!requirements.txt", "!*.whl", "!bundle"]
    (wheel,) = written.glob("*.whl")
    assert f"./{wheel.name} --hash=sha256:" in (written / "requirements.txt").read_text()


def test_a_text_bundle_asks_for_the_text_extra(texts, tmp_path, no_index):
    deploy(texts, "docker", output=tmp_path / "out")
    assert no_index == [["text", "serve"]]


def test_a_signature_goes_along_and_what_is_not_listed_does_not(images, tmp_path, no_index):
    (images / "manifest.json.sig").write_text("{}")
    (images / "private.txt").write_text("mine")
    done = deploy(images, "docker", output=tmp_path / "out")
    assert "bundle/manifest.json.sig" in done.files
    assert "bundle/private.txt" not in done.files


def test_the_readme_has_two_commands(written):
    fenced = (written / "README.md").read_text().split("```")[1].removeprefix("sh\n").splitlines()
    assert [line.split()[:2] for line in fenced] == [["docker", "build"], ["docker", "run"]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder, and what its RUN instructions made: programs and the variables to run them with."""
    place = tmp_path_factory.mktemp("docker")
    for name in ("metadata", "install"):
        (place / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(metadata_of_the_source(place / "metadata"))
        folder = deploy(write_bundle(place / "bundle").path, "docker", output=place / "out").folder
    programs, env = clean_environment(place / "venv")
    for path in (folder / "requirements.txt", *folder.glob("*.whl")):
        shutil.copy(path, place / "install")
    for command in commands((folder / "Dockerfile").read_text(), "RUN"):
        run([str(programs / command[0]), *command[1:]], cwd=place / "install", env=env)
    return folder, programs, env


@pytest.mark.heavy
def test_the_steps_install_what_verifies_the_bundle_without_torch(installed, tmp_path):
    folder, programs, env = installed
    listed = run(
        [str(programs / "python"), "-m", "pip", "list", "--format=freeze"], cwd=tmp_path, env=env
    ).lower()
    assert "uvicorn==" in listed
    assert "torch" not in listed
    out = run([str(programs / "compactor"), "verify", str(folder / "bundle")], cwd=tmp_path, env=env)
    assert "passed" in out


@pytest.mark.heavy
@needs_serve
def test_the_command_serves_and_the_healthcheck_passes(installed, tmp_path):
    folder, programs, env = installed
    text, port = (folder / "Dockerfile").read_text(), free_port()

    def here(word):
        return word.replace("/bundle", str(folder / "bundle")).replace("8000", str(port))

    (command,) = [[here(word) for word in each] for each in commands(text, "CMD")]
    check = dict(instructions(text))["HEALTHCHECK"]
    probe = [here(word) for word in json.loads(check[check.index("[") :])]
    with serving([str(programs / command[0]), *command[1:]], port, env=env):
        run([str(programs / probe[0]), *probe[1:]], cwd=tmp_path, env=env)


@pytest.mark.heavy
def test_a_package_whose_hash_is_another_is_not_installed(images, tmp_path, no_index):
    folder = deploy(images, "docker", output=tmp_path / "out").folder
    (wheel,) = folder.glob("*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    (folder / "requirements.txt").write_text((folder / "requirements.txt").read_text().split("click")[0])
    (command, _) = commands((folder / "Dockerfile").read_text(), "RUN")
    command = [sys.executable, *command[1:], "--target", str(tmp_path / "none")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
