"""How much a student's numbers move when nothing that matters changes, and the limit made of that.

What is compared under that limit is `verify.py`'s.
"""

import os
from contextlib import ExitStack, closing, suppress
from copy import deepcopy
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compactor_exporters.findings import Finding, gap
from compactor_exporters.source import ExportSource, forward
from compactor_runtimes.backends.ort import open_runtime
from compactor_runtimes.errors import needs_extra
from compactor_runtimes.manifest import Check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

MARGIN = 8.0
NOISE_SAMPLES = 64

# A noise above this share of the largest output is not rounding: something (a wrong fusion, an unstable
# layer) makes the student disagree with itself, and a limit built on it would let anything pass.
LARGEST_NOISE = 1e-3


def measure_noise(source: ExportSource, path: Path, feeds: "list[Arrays]") -> dict[str, dict[str, float]]:
    """Rule 5: how much each output moves when nothing that matters is changed, by kind of change.

    The difference that is judged, torch against ONNX Runtime, does not enter: a wrong weight would raise its
    own limit. Torch is compared with torch, and the graph with itself.
    """
    with needs_extra("export"):
        import torch

    many, before = max(2, os.cpu_count() or 2), torch.get_num_threads()
    double = deepcopy(source.module).double()
    noise: dict[str, dict[str, float]] = {port.name: {} for port in source.outputs}

    def note(kind: str, one: "Arrays", other: "Arrays") -> None:
        for name, kinds in noise.items():
            kinds[kind] = max(kinds.get(kind, 0.0), gap(one[name], other[name]))

    with ExitStack() as stack:
        single = stack.enter_context(closing(open_runtime(path, threads=1)))
        threaded = stack.enter_context(closing(open_runtime(path, threads=many)))
        plain = stack.enter_context(closing(open_runtime(path, threads=1, optimization="none")))
        stack.callback(torch.set_num_threads, before)
        for batch in feeds:
            torch.set_num_threads(1)
            reference = forward(source, batch)
            # A forward that casts to float32 by itself cannot run in float64; the limit is then the tighter.
            with suppress(RuntimeError):
                note(
                    "torch float32 vs float64", reference, forward(source, batch, module=double, double=True)
                )
            torch.set_num_threads(many)
            note("torch 1 thread vs many", reference, forward(source, batch))
            graph = single.run(batch)
            note("graph 1 thread vs many", graph, threaded.run(batch))
            note("graph optimised vs not", graph, plain.run(batch))
    return noise


def judge_noise(
    noise: dict[str, dict[str, float]], limits: dict[str, float], scales: dict[str, float]
) -> Check:
    """Refuse a limit that is too wide to mean anything, and record what it is made of."""
    findings = [
        Finding(
            max(kinds.values()),
            LARGEST_NOISE * scales[name],
            f"output {name!r}: "
            + ", ".join(f"{kind} {value:.3g}" for kind, value in kinds.items())
            + f"; limit {limits[name]:.3g} at outputs up to {scales[name]:.3g}",
        )
        for name, kinds in noise.items()
    ]
    worst = max(findings, key=lambda finding: finding.severity)
    passed = all(finding.passed for finding in findings)
    return Check(
        name="noise-floor",
        passed=passed,
        value=worst.difference if isfinite(worst.difference) else None,
        limit=worst.limit if isfinite(worst.limit) else None,
        detail="; ".join(finding.detail for finding in findings) if passed else worst.detail,
    )


def noise_limit(kinds: dict[str, float], scale: float) -> float:
    """Largest allowed absolute difference of an output whose largest magnitude is `scale`."""
    import numpy as np

    return MARGIN * max(*kinds.values(), float(np.finfo(np.float32).eps) * scale)
