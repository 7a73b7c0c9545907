"""What goes to the other machine and comes back, with a shell of this machine in the place of ssh."""

import json
import os
import signal
import subprocess
import time
from hashlib import sha256

import pytest

from compactor_runtimes.elsewhere.conversation import Conversation
from compactor_runtimes.elsewhere.errand import Errand
from compactor_runtimes.elsewhere.remote_command import remote_command
from compactor_runtimes.errors import IntegrityError, UsageError
from tests.runtimes.conftest import write_bundle

MARKER = "compactor-test"


class Talk:
    """A conversation with a shell command."""

    def __init__(self, tmp_path, errand, command, **environment):
        wheel = tmp_path / "own.whl"
        wheel.write_bytes(b"no wheel")
        self.notes = []
        self.conversation = Conversation(errand, wheel, ["image"], [], marker=MARKER, note=self.notes.append)
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )

    def hold(self):
        try:
            return self.conversation.hold(self.process)
        finally:
            self.conversation.hang_up(self.process)
            self.process.wait(10)
            self.conversation.close(self.process)


def says(tmp_path, *lines):
    """A command that reads nothing and prints lines."""
    (tmp_path / "said").write_bytes(b"".join(lines))
    return f"cat '{tmp_path}/said'; cat > /dev/null"


def line(**fields):
    return f"{MARKER} {json.dumps(fields)}\n".encode()


def profile(content, **fields):
    said = {"kind": "profile", "size": len(content), "sha256": sha256(content).hexdigest(), **fields}
    return line(**said) + content


@pytest.fixture
def errand(tmp_path):
    write_bundle(tmp_path / "a bundle")
    return Errand([tmp_path / "a bundle"], samples=[tmp_path / "own.whl"])


def test_noise_of_a_login_shell_is_passed_over_and_names_become_ours(tmp_path, errand):
    command = says(
        tmp_path,
        b"Welcome!\n",
        line(kind="folder", path="/tmp/x"),
        profile(b'"bundles/0: fp32, bundles/7"\n\n'),
        line(kind="end", code=3, message="/tmp/x/samples/0:\x1b[2J broken"),
    )
    talk = Talk(tmp_path, errand, command)
    end = talk.hold()
    assert (end.code, end.message) == (3, "/tmp/x/samples/0: [2J broken")
    own = talk.conversation.local
    assert own(talk.conversation.profile) == f'"{tmp_path}/a bundle: fp32, bundles/7"\n\n'.encode()
    assert own(end.message.encode()) == f"{tmp_path}/own.whl: [2J broken".encode()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (profile(b"content", sha256="0" * 64), "another profile came"),
        (line(kind="profile", size=1 << 40), "1,099,511,627,776 bytes announced"),
        (line(kind="profile", size=-1), "-1 bytes announced"),
        (f"{MARKER} no json\n".encode(), "malformed"),
        (b"x" * (1 << 20) + b"\n", "let its login shell print nothing"),
    ],
)
def test_what_is_not_as_announced_is_refused(tmp_path, errand, said, why):
    with pytest.raises(IntegrityError, match=why):
        Talk(tmp_path, errand, says(tmp_path, said)).hold()


def test_a_profile_that_is_cut_is_a_lost_connection(tmp_path, errand):
    talk = Talk(tmp_path, errand, f"head -c 200 '{tmp_path}/said'")
    (tmp_path / "said").write_bytes(profile(bytes(1000)))
    assert talk.hold() is None
    assert talk.conversation.profile is None


def test_a_file_that_cannot_be_read_here_is_named(tmp_path, errand):
    missing = Errand([], samples=[tmp_path / "missing"])
    with pytest.raises(UsageError, match="missing: cannot be read here: No such file"):
        Talk(tmp_path, missing, "cat > /dev/null").hold()


def test_a_machine_without_a_python_of_that_age_tells_what_it_has(tmp_path, errand):
    old, none = tmp_path / "old" / "python3", tmp_path / "none"
    for folder in (old.parent, none):
        folder.mkdir()
        (folder / "sh").symlink_to("/bin/sh")
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    for folder, found in ((old.parent, "python3: Python 3.9.2"), (none, "")):
        talk = Talk(tmp_path, errand, remote_command(MARKER), PATH=str(folder))
        assert talk.hold() is None
        assert talk.conversation.no_python == found


@pytest.mark.heavy
def test_the_other_side_fails_in_a_sentence_and_leaves_nothing(tmp_path, errand):
    """What is sent as our wheel is none, so pip refuses it."""
    far = tmp_path / "far"
    far.mkdir()
    talk = Talk(tmp_path, errand, remote_command(MARKER), TMPDIR=str(far))
    end = talk.hold()
    assert end.code == 6
    assert end.message.startswith("pip could not install Compactor: ")
    assert end.left == ""
    assert list(far.iterdir()) == []


@pytest.mark.parametrize("bytes_sent", [0, 3, 400])
def test_an_end_of_the_lifeline_within_the_upload_leaves_nothing(tmp_path, bytes_sent):
    process = subprocess.Popen(
        ["sh", "-c", remote_command(MARKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    job = json.dumps({"keep": False, "padding": "x" * 200}).encode()
    sent = (len(job).to_bytes(4, "big") + job + (1 << 20).to_bytes(4, "big") + bytes(1000))[:bytes_sent]
    stdout, _ = process.communicate(sent, timeout=20)
    last = json.loads(stdout.splitlines()[-1].removeprefix(MARKER.encode()))
    assert (last["code"], last["left"]) == (130, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_there_leaves_nothing(tmp_path, number):
    process = subprocess.Popen(
        ["sh", "-c", remote_command(MARKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    while not list(tmp_path.iterdir()):
        time.sleep(0.01)
    assert [oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == ["0o700"]
    process.send_signal(number)
    process.communicate(timeout=20)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_has_nothing_that_shells_read_in_different_ways():
    command = remote_command(MARKER)
    assert "\n" not in command
    assert "!" not in command
    assert command.count("'") % 2 == 0
    assert "\\" not in command
    assert len(command) < 32_000


def test_a_machine_without_room_for_a_folder_says_so(tmp_path, errand):
    # without quotes, so that it fits into those of the command
    nowhere = "import os, tempfile; tempfile._candidate_tempdir_list = lambda: [os.devnull]; import base64"
    command = remote_command(MARKER)
    assert command.count('"import base64') == 1
    end = Talk(tmp_path, errand, command.replace('"import base64', f'"{nowhere}')).hold()
    assert end.code == 6
    assert "No usable temporary directory" in end.message
