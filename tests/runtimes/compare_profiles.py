"""Small profiles of a machine to compare: one subject or two, whose times are given block by block."""

from compactor_runtimes.compare.profile_files import Given
from compactor_runtimes.measure.machine_profile import MachineProfile, ProfileSubject, Recommendation
from compactor_runtimes.measure.measurement import Settings
from tests.runtimes.compare_runs import ENVIRONMENT
from tests.runtimes.toy_measurement import blocks_of

FLAT = (1000,) * 8  # µs of eight blocks, the fewest that an interval of pairs needs


def subject(name="onnx fp32", **changes):
    fields = {
        "bundle": "bundle",
        "bundle_digest": "d",
        "artifact": "fp32",
        "runtime": "ort-cpu",
        "precision": "fp32",
        "size_bytes": 1000,
        "task": "image-classification",
        "metric": "accuracy",
        "value": 0.9,
        "low": 0.88,
        "high": 0.92,
        "n": 100,
    }
    return ProfileSubject(name=name, **fields | changes)


def profile(blocks_us=FLAT, *, subjects=None, measurements=None, settings=None, **changes):
    """One subject, or some that all have the same times."""
    rows = [subject()] if subjects is None else subjects
    timed = [blocks_of(row.name, *blocks_us) for row in rows if not row.not_run]
    fields = {
        "title": "toy",
        "command": "compactor measure bundle",
        "created": "2026-01-01",
        "tool_version": "0",
        "environment": ENVIRONMENT,
        "settings": settings or Settings(),
        "subjects": rows,
        "measurements": timed if measurements is None else measurements,
        "recommendation": Recommendation(policy="latency", subject="", why=""),
    }
    return MachineProfile(**fields | changes)


def given(path, one, name=""):
    return Given(path=path, profile=one, subject=name)
