"""What a profile recommends for a bundle: read it back, and say where it may not hold."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compactor_runtimes.bundle.open import Bundle
from compactor_runtimes.environment import describe
from compactor_runtimes.errors import UsageError
from compactor_runtimes.measure.profile_file import read_profile
from compactor_runtimes.profiling.digests import bundle_digest

MACHINE = ("cpu", "arch", "usable_cores", "gpus")


@dataclass(frozen=True)
class Recommended:
    """What to load and how; `doubts` say in what this machine is not the one that was measured."""

    artifact: str
    runtime: str
    threads: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


def recommended(bundle: Bundle, path: Path) -> Recommended:
    """Read what the profile in `path` recommends for a bundle.

    Raises:
        UsageError: no such file, it recommends nothing, or not this bundle.
        IntegrityError: it is damaged.
    """
    profile = read_profile(path)
    chosen = profile.recommendation.subject
    row = next((one for one in profile.subjects if one.name == chosen), None)
    if row is None:
        why = profile.recommendation.why or "nothing that could be measured"
        raise UsageError(f"{path}: recommends nothing ({why}); measure again, or load without a profile")
    if row.bundle_digest != bundle_digest(bundle.path):
        raise UsageError(
            f"{path}: recommends {row.name} of another bundle than {bundle.path}; measure this one with: "
            f"compactor measure {bundle.path}"
        )
    here = describe()
    other = [
        f"{key} {here.get(key)!r} here, {profile.environment.get(key)!r} there"
        for key in MACHINE
        if here.get(key) != profile.environment.get(key)
    ]
    doubts = []
    if other:
        doubts = [
            f"{path}: was measured on another machine ({'; '.join(other)}), so other settings may be better "
            f"here; measure with: compactor measure {bundle.path}"
        ]
    options = {} if row.spinning is None else {"spinning": row.spinning}
    return Recommended(row.artifact, row.runtime, row.threads, options, doubts)
