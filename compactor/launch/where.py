"""What `--on` says: the launcher, how many workers, what each of them gets."""

import os
import re
from typing import Any

from msgspec import Struct

from compactor.launch import LAUNCHERS
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

OWN = ("workers", "threads", "shards", "processes")  # what every launcher knows
FORMS = "local:N, ray[:ADDRESS] or slurm:KEY=VALUE,..."


class Where(Struct, frozen=True):
    """A launcher by name; `workers` processes of `threads` each; `shards` to cut a label store into.

    A worker trains a stage in `processes` by torchrun, each with `threads`.

    `address` is that of a Ray cluster, empty for one of this machine alone; `options` are the launcher's own.
    """

    launcher: str
    workers: int
    threads: int
    shards: int | None = None
    address: str = ""
    options: dict[str, str] = {}
    processes: int = 1

    @property
    def processors(self) -> int:
        """What a worker takes."""
        return self.threads * self.processes

    @property
    def text(self) -> str:
        """As the user would write it."""
        words = [self.address] if self.address else []
        words += [f"workers={self.workers}", f"threads={self.threads}"]
        words += [] if self.shards is None else [f"shards={self.shards}"]
        words += [] if self.processes == 1 else [f"processes={self.processes}"]
        words += [f"{key}={value}" for key, value in self.options.items()]
        return f"{self.launcher}:{','.join(words)}"


def parse_where(text: str) -> Where:
    """Read `local:2`, `ray:10.0.0.1:6379,workers=8,gpus=1` or `slurm:workers=4,partition=long`.

    Raises:
        UsageError: an unknown launcher or option, or a number that is none.
    """
    launcher, _, rest = text.partition(":")
    if launcher not in LAUNCHERS:
        raise UsageError(f"--on: got {text!r}, expected {FORMS}; {nearest(launcher, list(LAUNCHERS))}")
    first, _, others = rest.partition(",")
    plain, rest = ([], rest) if not first or "=" in first else ([first], others)
    options = parse_options(rest, f"--on {launcher}")
    own = {key: _number(key, options.pop(key)) for key in OWN if key in options}
    address = ""
    if launcher == "local" and plain:
        own["workers"] = _number("local", plain.pop(0))
    elif launcher == "ray" and plain:
        address = plain.pop(0)
    if plain:
        raise UsageError(f"--on: got {plain[0]!r} in {text!r}, expected {FORMS}")
    workers = own.get("workers", 1)
    processes = own.get("processes", 1)
    here = max(1, len(os.sched_getaffinity(0)) // (workers * processes)) if launcher == "local" else 1
    threads, shards = own.get("threads", here), own.get("shards")
    return Where(launcher, workers, threads, shards, address, _known(launcher, options), processes)


def _known(launcher: str, options: dict[str, str]) -> dict[str, str]:
    known: dict[str, tuple[str, ...]] = {"local": (), "ray": ("gpus", "memory_gb")}
    if launcher in known:
        for key in options:
            if key not in known[launcher]:
                allowed = [*OWN, *known[launcher]]
                raise UsageError(f"--on {launcher}: option {key!r} is not known; {nearest(key, allowed)}")
    for key, value in options.items() if launcher == "ray" else ():
        if not re.fullmatch(r"\d+(\.\d+)?", value) or not float(value):
            raise UsageError(f"--on ray: {key} got {value!r}, expected a number above 0")
    return options  # slurm's are submitit's, which checks them


def _number(key: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--on: {key} got {text!r}, expected a whole number from 1 on")
    return int(text)


def option_value(text: str) -> Any:
    """A number where the text is one."""
    return int(text) if text.isdecimal() else text


def parse_options(text: str, option: str) -> dict[str, str]:
    """Read `a=1,b=2`.

    Raises:
        UsageError: a word without `=`, or a key that comes twice.
    """
    found: dict[str, str] = {}
    for word in filter(None, text.split(",")):
        key, equals, value = (part.strip() for part in word.partition("="))
        if not equals or not key or key in found:
            raise UsageError(f"{option}: got {word!r}, expected KEY=VALUE, each key once")
        found[key] = value
    return found
