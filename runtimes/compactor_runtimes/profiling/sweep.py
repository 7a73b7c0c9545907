"""Settings to try: `threads=1,2,4`, `batch=1,8,32`, `spinning=on,off`."""

from collections.abc import Sequence
from itertools import product

from msgspec import Struct

from compactor_runtimes.backends.refusals import check_threads
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

KEYS = ("threads", "batch", "spinning")
MOST_BATCH = 4096
MOST_SETTINGS = 64  # each is a process of its own that stays alive
_SWITCH = {"on": True, "off": False}


class Setting(Struct, frozen=True):
    """How a runtime is opened: None leaves it to the runtime."""

    threads: int | None = None
    spinning: bool | None = None

    @property
    def words(self) -> str:
        """What is set, for a name: `threads 2, spinning off`."""
        parts = [] if self.threads is None else [f"threads {self.threads}"]
        parts += [] if self.spinning is None else [f"spinning {'on' if self.spinning else 'off'}"]
        return ", ".join(parts)


class Sweep(Struct, frozen=True):
    """The values to try of each setting; an empty list leaves it as it is."""

    threads: list[int] = []
    batch: list[int] = []
    spinning: list[bool] = []

    def settings(self, *, threads: int | None, spins: bool) -> list[Setting]:
        """Every combination for a runtime, which `spins` or knows of no such thing."""
        counts: Sequence[int | None] = self.threads or [threads]
        spinning: Sequence[bool | None] = (self.spinning if spins else []) or [None]
        return [Setting(count, spin) for count, spin in product(counts, spinning)]

    @property
    def plain(self) -> dict[str, list[int | str]]:
        """What was swept, as it was said."""
        said: dict[str, list[int | str]] = {"threads": [*self.threads], "batch": [*self.batch]}
        said["spinning"] = ["on" if one else "off" for one in self.spinning]
        return {key: values for key, values in said.items() if values}


def parse_sweep(texts: Sequence[str]) -> Sweep:
    """Read `KEY=VALUE,VALUE` of each text.

    Raises:
        UsageError: an unknown key, one said twice, no value, one twice or one out of range.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        key, _, said = text.partition("=")
        key, values = key.strip(), [value.strip() for value in said.split(",") if value.strip()]
        if key not in KEYS:
            raise UsageError(f"--sweep {text!r}: unknown setting {key!r}; {nearest(key, list(KEYS))}")
        if key in found:
            raise UsageError(f"--sweep {text!r}: {key} is swept twice, expected once with all its values")
        if not values or len(set(values)) != len(values):
            raise UsageError(f"--sweep {text!r}: expected one or more values, each once, as in {key}=1,2")
        found[key] = values
    threads = [_count("threads", value) for value in found.get("threads", [])]
    for count in threads:
        check_threads(count)
    batch = [_count("batch", value) for value in found.get("batch", [])]
    spinning = [_switch(value) for value in found.get("spinning", [])]
    combinations = max(len(threads), 1) * max(len(spinning), 1)
    if combinations > MOST_SETTINGS:
        raise UsageError(
            f"--sweep: {combinations} combinations of threads and spinning found, at most "
            f"{MOST_SETTINGS} expected, because each is a process that stays alive; sweep fewer values"
        )
    return Sweep(threads, batch, spinning)


def _count(key: str, value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= MOST_BATCH:
        raise UsageError(f"--sweep {key}: got {value!r}, expected a whole number from 1 to {MOST_BATCH}")
    return int(value)


def _switch(value: str) -> bool:
    if value not in _SWITCH:
        raise UsageError(f"--sweep spinning: got {value!r}, expected on or off")
    return _SWITCH[value]
