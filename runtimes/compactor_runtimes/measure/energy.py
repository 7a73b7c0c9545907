"""Energy of the machine's processors, by counters of Linux (RAPL) that few virtual machines have."""

from pathlib import Path

_ROOT = Path("/sys/class/powercap")


class Meter:
    """Joules that the processor packages used since it was opened, whoever used them."""

    def __init__(self, domains: list[Path]) -> None:
        """Start at what the counters of these folders say now.

        Raises:
            OSError: a counter cannot be read.
            ValueError: a counter is no number.
        """
        self._domains = [
            (domain / "energy_uj", _number(domain / "max_energy_range_uj")) for domain in domains
        ]
        self._last = [_number(counter) for counter, _ in self._domains]
        self._used_uj = 0

    def joules(self) -> float:
        """Read the counters.

        They begin again after their range, which takes a busy server about a minute at the least: to be
        called more often than that.

        Raises:
            OSError: a counter cannot be read any more.
        """
        for place, (counter, span) in enumerate(self._domains):
            now = _number(counter)
            passed = now - self._last[place]
            self._used_uj += passed if passed >= 0 else passed + span
            self._last[place] = now
        return self._used_uj / 1e6


def open_meter(root: Path = _ROOT) -> Meter | None:
    """Open the counters of all processor packages; None where there are none, or only root may read them.

    Parts of a package, memory and the whole platform are domains of their own, and would count twice.
    """
    domains = [
        folder
        for folder in sorted(root.glob("intel-rapl:*"))
        if folder.name.count(":") == 1 and _text(folder / "name").startswith("package")
    ]
    if not domains:
        return None
    try:
        return Meter(domains)
    except (OSError, ValueError):
        return None


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
