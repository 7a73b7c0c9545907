"""Measure on another machine by the OpenSSH client: a program goes there, a profile comes back.

What is sent and said is in `conversation.py`; here the client is started, ended, and its refusals are told.
"""

import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from compactor_runtimes.elsewhere.conversation import Conversation, End
from compactor_runtimes.elsewhere.errand import Errand
from compactor_runtimes.elsewhere.remote_command import remote_command
from compactor_runtimes.elsewhere.target import Target
from compactor_runtimes.elsewhere.wheel import pack_wheel
from compactor_runtimes.errors import (
    AccuracyGateError,
    CompactorError,
    IntegrityError,
    InterruptedRun,
    NumericGateError,
    PerformanceGateError,
    UnfitEnvironmentError,
    UsageError,
)
from compactor_runtimes.files import writing
from compactor_runtimes.measure.machine_profile import MachineProfile
from compactor_runtimes.measure.profile_file import decode_profile

CONNECT_S = 20
END_S = 20.0  # time for the other side to clean up after Ctrl-C
OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    f"ConnectTimeout={CONNECT_S}",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "ControlMaster=no",  # a master that stays would hold the pipes open
    "LogLevel=INFO",  # a quiet one would not say why it refuses
    "RemoteCommand=none",
)
_KINDS: dict[int, type[CompactorError]] = {
    kind.exit_code: kind
    for kind in (
        UsageError,
        NumericGateError,
        AccuracyGateError,
        PerformanceGateError,
        UnfitEnvironmentError,
        IntegrityError,
        InterruptedRun,
    )
}
_WITH_PROFILE = (0, NumericGateError.exit_code, InterruptedRun.exit_code)  # the profile itself says why


def measure_over_ssh(target: Target, errand: Errand, *, note: Callable[[str], None]) -> MachineProfile:
    """Measure where `ssh` leads; arguments and errors as in `target.measure_there`."""
    client = shutil.which("ssh")
    if client is None:
        raise UnfitEnvironmentError("--on: no program ssh found here; install the OpenSSH client")
    if errand.ssh_config is not None and not errand.ssh_config.is_file():
        raise UsageError(f"--ssh-config {errand.ssh_config}: no such file; give one as `man ssh_config` says")
    extras, packages = errand.requirements()
    marker = f"compactor-{secrets.token_hex(8)}"
    with writing(Path("temporary files")):
        scratch = tempfile.TemporaryDirectory(prefix="compactor-wheel-")
    with scratch as folder:
        wheel = pack_wheel(Path(folder))
        conversation = Conversation(errand, wheel, extras, packages, marker=marker, note=note)
        words = [client, *_options(target, errand), "--", target.host, remote_command(marker)]
        end, status = _talk(words, conversation, str(target), errand)
    if end is None:
        raise _unreached(target, errand, conversation, status)
    left = ""
    if end.left:
        what = "kept on" if errand.keep else "could not be removed from"
        left = f"{what} {target}: {end.left}; remove it with: {_removal(target, errand, end.left)}"
        note(left)
    if conversation.profile is None or end.code not in _WITH_PROFILE:
        raise _said(target, errand, conversation, end)
    found = decode_profile(conversation.local(conversation.profile), where=f"profile of {target}")
    notes = [*found.notes, left] if left else found.notes
    return replace(found, target=str(target), command=errand.command, notes=notes)


def _options(target: Target, errand: Errand) -> list[str]:
    words = ["-T", *(word for option in OPTIONS for word in ("-o", option))]
    words += ["-F", str(errand.ssh_config.absolute())] if errand.ssh_config else []
    words += ["-l", target.user] if target.user else []
    return words + (["-p", str(target.port)] if target.port else [])


def _talk(words: list[str], conversation: Conversation, where: str, errand: Errand) -> tuple[End | None, int]:
    """Run the client until the other side is done; return what it said last, and the client's exit code."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is ours to pass on: the other side cleans up first
    )
    try:
        end = conversation.hold(process)
    except KeyboardInterrupt as error:
        conversation.hang_up(process)
        try:
            process.wait(END_S)
            rest = "nothing is left there" if not errand.keep else f"{conversation.folder} is left there"
        except subprocess.TimeoutExpired:
            rest = "the other side ends by itself"
        raise InterruptedRun(f"{where}: stopped, {rest}; measure again with: {errand.command}") from error
    finally:
        conversation.hang_up(process)
        if process.poll() is None:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        conversation.close(process)
    return end, process.returncode


def _said(target: Target, errand: Errand, conversation: Conversation, end: End) -> CompactorError:
    """The error of that machine, as one of ours."""
    message = conversation.local(end.message.encode()).decode()
    kind = _KINDS.get(end.code)
    if kind is InterruptedRun:
        return kind(f"{target}: {message or 'stopped there'}; measure again with: {errand.command}")
    if kind is None:
        return CompactorError(f"{target}: the measurement failed there with code {end.code}: {message}")
    return kind(f"{target}: {message or 'no profile came back; measure again'}")


def _unreached(target: Target, errand: Errand, conversation: Conversation, status: int) -> CompactorError:
    """What ssh says of a connection that did not come about or was lost."""
    said = "\n".join(conversation.words)
    last = conversation.words[-1] if conversation.words else f"ssh ended with code {status}"
    if conversation.no_python is not None:
        return UnfitEnvironmentError(
            f"{target}: found {conversation.no_python or 'no Python'}, expected Python 3.11 or newer with "
            "venv; install it there (Debian: python3 and python3-venv)"
        )
    if conversation.folder:
        return UnfitEnvironmentError(
            f"{target}: the connection was lost ({last}); what ran there ends by itself; measure again with: "
            f"{errand.command}"
        )
    if "HOST IDENTIFICATION HAS CHANGED" in said:
        return UnfitEnvironmentError(
            f"{target}: shows another host key than the known one, so it may be another machine; if you know "
            f"why it changed, forget the old one with: ssh-keygen -R '{_known_as(target)}', then connect "
            f"once by hand, compare the fingerprint and accept it: ssh {_by_hand(target, errand)}"
        )
    if re.search(r"No .* host key is known|Host key verification failed", said):
        return UnfitEnvironmentError(
            f"{target}: its host key is not known here; connect once by hand, compare the fingerprint and "
            f"accept it: ssh {_by_hand(target, errand)}"
        )
    if "Permission denied" in said:
        return UnfitEnvironmentError(
            f"{target}: refuses this user ({last}); let a key do it, without a question: ssh-copy-id "
            f"{_by_hand(target, errand)}"
        )
    return UnfitEnvironmentError(
        f"{target}: cannot be reached ({last}); see whether this works: ssh {_by_hand(target, errand)}"
    )


def _known_as(target: Target) -> str:
    return target.host if target.port in (None, 22) else f"[{target.host}]:{target.port}"


def _by_hand(target: Target, errand: Errand) -> str:
    config = f"-F {shlex.quote(str(errand.ssh_config))} " if errand.ssh_config else ""
    port = f"-p {target.port} " if target.port else ""
    return f"{config}{port}{target.user + '@' if target.user else ''}{target.host}"


def _removal(target: Target, errand: Errand, folder: str) -> str:
    return f"ssh {_by_hand(target, errand)} {shlex.quote(shlex.join(['rm', '-rf', folder]))}"
