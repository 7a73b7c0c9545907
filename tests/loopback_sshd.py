"""A real sshd on loopback for a test: its own host key, one user's key, and a client's configuration."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

import pytest

SERVER = "/usr/sbin/sshd"
SEPARATION = Path("/run/sshd")  # root's sshd refuses to start without it


@dataclass(frozen=True)
class Loopback:
    """A running server: what `--on` and `--ssh-config` say, and where temporary files are made there."""

    port: int
    config: Path
    known_hosts: Path
    temporary: Path
    process: "subprocess.Popen[bytes]"

    @property
    def target(self) -> str:
        """The machine."""
        return f"ssh://127.0.0.1:{self.port}"

    def left(self) -> list[Path]:
        """What lies there and was not there before."""
        return sorted(self.temporary.iterdir())


def missing() -> str:
    """Say why there can be no such server here; empty where there can."""
    if not Path(SERVER).is_file():
        return f"no {SERVER}"
    return "" if shutil.which("ssh") and shutil.which("ssh-keygen") else "no OpenSSH client"


@contextmanager
def loopback_sshd(folder: Path, *, path: str | None = None) -> Iterator[Loopback]:
    """Start a server in an empty folder as this user, and end it.

    Args:
        folder: for its files.
        path: the remote PATH; None finds this Python first.
    """
    if reason := missing():
        pytest.skip(reason)
    if os.geteuid() == 0:
        SEPARATION.mkdir(mode=0o755, exist_ok=True)
    for name in ("host_key", "user_key"):
        make_key(folder / name)
    (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
    (folder / "authorized_keys").chmod(0o600)
    temporary = folder / "remote tmp"  # a blank: whatever is not quoted shows
    temporary.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = path or f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin"
    (folder / "sshd_config").write_text(
        f"""Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin yes
SetEnv PATH={path} "TMPDIR={temporary}"
"""
    )
    known_hosts = folder / "known_hosts"
    know(known_hosts, port, folder / "host_key.pub")
    config = folder / "client config"
    config.write_text(
        f"""Host *
  User {getuser()}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile "{known_hosts}"
  GlobalKnownHostsFile /dev/null
"""
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SERVER, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        wait_for(port, process, folder / "log")
        yield Loopback(port, config, known_hosts, temporary, process)
    finally:
        process.terminate()
        process.wait(10)


def make_key(path: Path) -> None:
    """Make a pair of keys without a passphrase."""
    command = f"ssh-keygen -q -t ed25519 -N '' -f {shlex.quote(str(path))}"
    subprocess.run(shlex.split(command), check=True, stdin=subprocess.DEVNULL)


def know(known_hosts: Path, port: int, key: Path) -> None:
    """Let a client know one host key."""
    known_hosts.write_text(f"[127.0.0.1]:{port} {key.read_text()}")


def wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the server answers."""
    for _ in range(100):
        if process.poll() is not None:
            pytest.skip(f"sshd does not start here: {log.read_text().strip()}")
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"sshd does not answer: {log.read_text()}")
