"""What `clean` says: a table of everything found, a summary, and the command that removes."""

import shlex
import time
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from compactor.clean import DAY_SECONDS, CleanPlan, Limits
from compactor_runtimes.report.draw.result_table import result_table
from compactor_runtimes.units import scaled


def clean_table(plan: CleanPlan, runs: Path, *, now_s: float | None = None) -> Table:
    """Draw everything found, oldest first; paths are relative to `runs` where they lie in it."""
    now_s = time.time() if now_s is None else now_s
    table = result_table()
    table.add_column("what", overflow="fold")
    table.add_column("kind", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    root = runs.resolve()
    for verdict in plan.verdicts:
        item = verdict.item
        inside = item.path.is_relative_to(root)
        word = "remove" if verdict.goes else "keep"
        if verdict.goes and verdict.frees_bytes < item.size_bytes:
            word += " all but the bundle"
        why = f": {verdict.why}" if verdict.why else ""
        table.add_row(
            Text(str(item.path.relative_to(root) if inside else item.path)),  # a name is no markup
            item.kind,
            scaled(item.size_bytes, "B"),
            age(now_s - item.modified_s),
            Text.assemble((word, "red" if verdict.goes else ""), why),
        )
    return table


def summary(plan: CleanPlan, *, freed: int | None, command: str) -> str:
    """Say what is there and what went (`freed`), or what would go and by which command."""
    found = f"found {scaled(plan.total_bytes, 'B')} in {len(plan.verdicts)} folders"
    count = sum(verdict.goes for verdict in plan.verdicts)
    if freed is not None:
        return f"{found}; removed {count}, freed {scaled(freed, 'B')} ({freed:,} bytes)"
    if not plan.limits.any:
        return f"{found}; nothing would go, give --keep N, --older-than DAYS or --max-size SIZE"
    if not count:
        return f"{found}; nothing would go{_beyond(plan)}"
    would = f"would remove {count} and free {scaled(plan.frees_bytes, 'B')}{_beyond(plan)}"
    return f"{found}; {would}\nremove with: {command}"


def command_line(runs: Path, limits: Limits, *, cache: bool, max_size: str | None) -> str:
    """The command that removes what these limits pick."""
    words = ["compactor", "clean"]
    words += [] if runs == Path("runs") else ["--runs", str(runs)]
    words += ["--cache"] if cache else []
    words += [] if limits.keep is None else ["--keep", str(limits.keep)]
    words += [] if limits.older_than_days is None else ["--older-than", f"{limits.older_than_days:g}"]
    words += [] if max_size is None else ["--max-size", max_size]
    words += ["--keep-bundles"] if limits.keep_bundles else []
    return shlex.join([*words, "--yes"])


def to_json(plan: CleanPlan, *, freed: int | None, command: str) -> dict[str, Any]:
    """Plain data for --json; `freed_bytes` is null where nothing was asked to go."""
    return {
        "items": [
            {
                "path": str(verdict.item.path),
                "kind": verdict.item.kind,
                "recipe": verdict.item.group,
                "size_bytes": verdict.item.size_bytes,
                "modified_s": verdict.item.modified_s,
                "goes": verdict.goes,
                "frees_bytes": verdict.frees_bytes if verdict.goes else 0,
                "why": verdict.why,
            }
            for verdict in plan.verdicts
        ],
        "total_bytes": plan.total_bytes,
        "removable_bytes": plan.frees_bytes,
        "freed_bytes": freed,
        "command": command,
    }


def age(seconds: float) -> str:
    """A time span in its largest unit: `12 min`, `5 h`, `3 days`."""
    if seconds < 3600:
        return f"{max(seconds, 0) / 60:.0f} min"
    if seconds < 2 * DAY_SECONDS:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / DAY_SECONDS:.0f} days"


def _beyond(plan: CleanPlan) -> str:
    """Say if the size limit cannot be met, because what stays is protected."""
    limit, rest = plan.limits.max_size_bytes, plan.total_bytes - plan.frees_bytes
    if limit is None or rest <= limit:
        return ""
    return f"; {scaled(rest, 'B')} would stay, more than {scaled(limit, 'B')}, because it may not go"
