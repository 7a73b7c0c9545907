"""Which machine `--on` names, and the table of the ways to get there."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import lookup

if TYPE_CHECKING:
    from compactor_runtimes.elsewhere.errand import Errand
    from compactor_runtimes.measure.machine_profile import MachineProfile

SCHEMES = {"ssh": "compactor_runtimes.elsewhere.ssh:measure_over_ssh"}
"""Scheme -> "module:attr" of `(target, errand, *, note) -> MachineProfile`."""

FORM = "SCHEME://[USER@]HOST[:PORT]"
_SCHEME = re.compile(r"[a-z][a-z0-9+-]*\Z")
_USER = re.compile(r"[\w.+][\w.+-]*\Z")
_HOST = re.compile(r"[\w.][\w.-]*\Z")
_ADDRESS = re.compile(r"\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]\Z")


@dataclass(frozen=True)
class Target:
    """A machine: empty `user` and absent `port` are left to what goes there."""

    scheme: str
    host: str
    user: str = ""
    port: int | None = None

    def __str__(self) -> str:
        """Write it as `parse_target` reads it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{host}{'' if self.port is None else f':{self.port}'}"


def parse_target(text: str) -> Target:
    """Read what `--on` says: SCHEME://[USER@]HOST[:PORT], an IPv6 address in brackets.

    Raises:
        UsageError: another form or scheme, a password, a path, a query, a port that is none, or a name that
            a program could take for an option of its own. What stands in the place of a password is not
            repeated.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or not _SCHEME.match(scheme):
        raise _refused("no SCHEME:// found in front")
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in sorted(SCHEMES))
        raise UsageError(f"--on: unknown scheme {scheme!r}; known: {known}")
    user, at, place = rest.rpartition("@")
    if at and ":" in user:
        raise UsageError(
            "--on: a password found, which others could read in the list of processes; leave it out and use "
            "a key, by an agent or the configuration of ssh"
        )
    if any(mark in rest for mark in "/?#"):
        raise _refused("a path, a query or a fragment found behind the host")
    host, port = _host_and_port(place)
    if at and not _USER.match(user):
        raise _refused(f"user {user!r} found, which is no name")
    return Target(scheme, host, user, port)


def _host_and_port(place: str) -> tuple[str, int | None]:
    head, bracket, tail = place.rpartition("]")
    if bracket:
        host, colon, port = head + bracket, tail[:1], tail[1:]
        if colon not in ("", ":"):
            raise _refused(f"{tail!r} found behind the address")
    else:
        host, colon, port = place.partition(":")
    address = _ADDRESS.match(host)
    if not address and not _HOST.match(host):
        raise _refused(f"host {host!r} found, which is no name of a machine")
    if colon and not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise _refused(f"port {port!r} found, expected 1 to 65535")
    return (address[1] if address else host), int(port) if colon else None


def _refused(what: str) -> UsageError:
    return UsageError(f"--on: {what}; expected {FORM}, such as ssh://pi@192.168.1.7")


def measure_there(
    on: str, errand: "Errand", *, note: Callable[[str], None] = lambda line: None
) -> "MachineProfile":
    """Measure bundles on the machine that `on` names.

    Args:
        on: see `parse_target`.
        errand: what is measured there.
        note: is given each line that is said there, perhaps in another thread.

    Returns:
        The profile, with `on` as its target and this side's command.

    Raises:
        UsageError: `on` names no machine; or what is measured there cannot be used as given.
        UnfitEnvironmentError: that machine cannot be reached, or cannot do it.
        IntegrityError: a bundle is damaged, or what came back.
        InterruptedRun: Ctrl-C.
        CompactorError: of the kind that was raised there.
    """
    target = parse_target(on)
    return cast("MachineProfile", lookup(SCHEMES, target.scheme, "scheme")(target, errand, note=note))
