"""How much a student's numbers move when nothing that matters changes, and the limit made of that.

What is compared under that limit is `artifact.py`'s.
"""

import os
from contextlib import closing
from copy import deepcopy
from itertools import zip_longest
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from compactor_exporters.source import ExportSource, forward
from compactor_exporters.verify.findings import Finding, gap
from compactor_runtimes.backends import open_runtime
from compactor_runtimes.bundle.manifest import Check
from compactor_runtimes.errors import needs_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compactor_exporters.verify.findings import Arrays

MARGIN = 8.0
NOISE_SAMPLES = 16  # more of them move the largest by little, and cost six runs each

# A noise above this share of the largest output is not rounding: something (a wrong fusion, an unstable
# layer) makes the student disagree with itself, and a limit built on it would let anything pass.
LARGEST_NOISE = 1e-3


def measure_noise(
    source: ExportSource, path: Path, feeds: "list[Arrays]", answered: "Sequence[Arrays | None]" = ()
) -> dict[str, dict[str, float]]:
    """Rule 5: how much each output moves when nothing that matters is changed, by kind of change.

    `answered` are torch's answers, by as many threads as it now has, as far as they are known.

    The difference that is judged, torch against ONNX Runtime, does not enter: a wrong weight would raise its
    own limit. Torch is compared with torch, and the graph with itself.
    """
    with needs_extra("export"):
        import torch

    many, before = max(2, os.cpu_count() or 2), torch.get_num_threads()
    known = answered if before == many else ()
    try:
        torch.set_num_threads(1)
        alone = [forward(source, batch) for batch in feeds]
        torch.set_num_threads(many)
        together = [
            forward(source, batch) if said is None else said for batch, said in zip_longest(feeds, known)
        ]
        exact = _in_float64(source, feeds)
    finally:
        torch.set_num_threads(before)
    # One session after the other: threads of an idle session still spin, and take the cores from the next.
    single, threaded = _run(path, feeds, threads=1), _run(path, feeds, threads=many)
    plain = _run(path, feeds, threads=many, optimization="none")
    pairs: dict[str, tuple[list[Arrays], Sequence[Arrays | None]]] = {
        "torch float32 vs float64": (alone, exact),
        "torch 1 thread vs many": (alone, together),
        "graph 1 thread vs many": (single, threaded),
        "graph optimised vs not": (threaded, plain),
    }
    return {
        port.name: {
            kind: max(
                gap(one[port.name], other[port.name])
                for one, other in zip(ones, others, strict=True)
                if other is not None
            )
            for kind, (ones, others) in pairs.items()
            if any(other is not None for other in others)
        }
        for port in source.outputs
    }


def _in_float64(source: ExportSource, feeds: "list[Arrays]") -> "list[Arrays | None]":
    """Run a copy of the student in float64; None where its forward casts to float32 by itself.

    The limit is then the tighter.
    """
    double = deepcopy(source.module).double()
    outputs: list[Arrays | None] = []
    for batch in feeds:
        try:
            outputs.append(forward(source, batch, module=double, double=True))
        except RuntimeError:
            outputs.append(None)
    return outputs


def _run(
    path: Path, feeds: "list[Arrays]", *, threads: int, optimization: Literal["all", "none"] = "all"
) -> "list[Arrays]":
    with closing(open_runtime("ort-cpu", path, threads=threads, optimization=optimization)) as runtime:
        return [runtime.run(batch) for batch in feeds]


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
