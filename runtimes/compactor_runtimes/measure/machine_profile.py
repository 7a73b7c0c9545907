"""The file that `compactor measure` writes: how bundles run on one machine, raw samples included.

`write_profile` and `read_profile` keep samples compressed; everything else is plain JSON (`compactor schema
profile`).
"""

from typing import Any

from compactor_runtimes.bundle.manifest import Check, Record
from compactor_runtimes.measure.anatomy import Anatomy, Peaks
from compactor_runtimes.measure.measurement import Measurement, Settings
from compactor_runtimes.measure.wish import Policy

PROFILE_VERSION = 1


class ProfileSubject(Record, frozen=True):
    """One row of a profile: an artifact of a bundle on a runtime with its settings.

    `name` is what measurements and anatomies call it. `bundle_digest` is the SHA-256 of the manifest.
    `golden` are the golden cases as they were run here, and what else was checked before it was timed;
    `not_run` says why it was not measured, empty where it was. `metric` to `n` are what the bundle's manifest
    says of it on the report split, None where it does not. `runtime_precision` is the number type that was
    asked of the runtime by name, empty for the artifact's own.
    """

    name: str
    bundle: str
    bundle_digest: str
    artifact: str
    runtime: str
    precision: str
    size_bytes: int
    artifact_sha256: str = ""
    threads: int | None = None
    spinning: bool | None = None
    runtime_precision: str = ""
    golden: list[Check] = []
    not_run: str = ""
    is_default: bool = False
    task: str = ""
    metric: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Recommendation(Record, frozen=True):
    """Which subject to load on this machine, with which batch where many samples wait, and why.

    `subject` is empty where nothing can be recommended. `front` names the subjects that no other beats in
    latency, size and memory at once.
    """

    policy: Policy
    subject: str
    why: str
    batch: int | None = None
    front: list[str] = []


class MachineProfile(Record, frozen=True):
    """Everything one `compactor measure` found out; `notes` say what was left out and whence samples are.

    `target` is the machine that was asked for by `--on`, empty for this one. `stopped` says that and where it
    was stopped by hand.
    """

    title: str
    command: str
    created: str
    tool_version: str
    environment: dict[str, Any]
    settings: Settings
    subjects: list[ProfileSubject]
    measurements: list[Measurement]
    recommendation: Recommendation
    anatomies: list[Anatomy] = []
    peaks: Peaks | None = None
    sweep: dict[str, list[int | str]] = {}
    notes: list[str] = []
    target: str = ""
    stopped: str = ""
    schema_version: int = PROFILE_VERSION
