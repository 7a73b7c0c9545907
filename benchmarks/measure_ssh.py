"""What `compactor measure --on` finds over a loopback sshd against the same measurement here."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measure_models import bundle_of
from tests.loopback_sshd import loopback_sshd

THREADS = 2
MODEL = "resnet20"


def ssh_against_local() -> dict[str, Any]:
    """Medians of compute of single samples, fp32 on ONNX Runtime, first there and then here.

    Returns:
        `there_ns` and `here_ns`, nanoseconds; `valid`, whether both measurements were; `reasons` of those
        that were not.
    """
    from compactor_runtimes.elsewhere.errand import Errand
    from compactor_runtimes.elsewhere.target import measure_there
    from compactor_runtimes.measure.measurement import Settings
    from compactor_runtimes.profiling.profile import profile_bundles
    from compactor_runtimes.profiling.subjects import Wanted

    bundle = bundle_of(MODEL)
    words = ["--artifact=fp32", "--runtime=ort-cpu", "--scenario=single-stream", "--profile=quick"]
    words += [f"--threads={THREADS}"]
    with TemporaryDirectory() as folder, loopback_sshd(Path(folder)) as far:
        errand = Errand([bundle], words, runtimes=["ort-cpu"], ssh_config=far.config)
        there = measure_there(far.target, errand, note=lambda line: print(line, file=sys.stderr))
    here = profile_bundles(
        [bundle],
        Wanted(["ort-cpu"], ["fp32"], THREADS),
        Settings(scenarios=["single-stream"], profile="quick", threads=THREADS, dissect=True),
        again=1,
    )
    found = [_single(there), _single(here)]
    return {
        "there_ns": found[0].median_ns,
        "here_ns": found[1].median_ns,
        "valid": all(one.valid for one in found),
        "reasons": [reason for one in found for reason in one.reasons],
    }


def _single(profile: Any) -> Any:
    """The one measurement of compute of single samples."""
    (found,) = [
        one for one in profile.measurements if (one.scope, one.scenario) == ("compute", "single-stream")
    ]
    return found
