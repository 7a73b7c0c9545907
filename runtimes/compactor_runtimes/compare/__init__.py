"""Compare what runs or bundles ship, or profiles of a machine: accuracy on the same samples, and cost ratios.

The first one is the baseline of every pair. Costs of two machines or plans are shown, never divided. Gates
judge how figures changed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compactor_runtimes.compare.changes import Evidence, apart
from compactor_runtimes.compare.comparison import Comparison
from compactor_runtimes.compare.gates import Gate, parse_gate
from compactor_runtimes.compare.judge import gate_error, judge
from compactor_runtimes.compare.junit import junit_xml
from compactor_runtimes.compare.markdown import comparison_markdown
from compactor_runtimes.compare.pairs import pair_of
from compactor_runtimes.compare.profile_files import is_profile, open_profile
from compactor_runtimes.compare.profiles import compare_profiles
from compactor_runtimes.compare.sides import side_of
from compactor_runtimes.compare.sources import (
    Source,
    machine_difference,
    open_source,
    plan_difference,
    require_comparable,
)
from compactor_runtimes.compare.terminal import render_comparison
from compactor_runtimes.errors import UsageError
from compactor_runtimes.report.format import MAP, RANK_CORRELATION, UNPAIRED

__all__ = [
    "Comparison",
    "Gate",
    "compare",
    "comparison_markdown",
    "gate_error",
    "junit_xml",
    "parse_gate",
    "render_comparison",
]


def compare(
    paths: Sequence[str | Path],
    *,
    across_machines: bool = False,
    across_plans: bool = False,
    gates: Sequence[Gate] = (),
) -> Comparison:
    """Compare each run folder, bundle or folder of seeds, or each profile of a machine, with the first one.

    Args:
        paths: two or more; profiles (file or folder, `#NAME` for one subject in it) beside profiles alone.
        across_machines: compare accuracy although machines differ; then no cost ratio is given.
        across_plans: the same where the measurement plans differ.
        gates: what is judged for every pair, see `parse_gate` and `gate_error`.

    Raises:
        UsageError: fewer than two paths, runs beside profiles, other samples, or another machine or plan
            without leave.
        IntegrityError: a file is damaged or missing.
    """
    if len(paths) < 2:
        raise UsageError(f"compare: got {len(paths)} run, expected two or more")
    profiles = [path for path in map(Path, paths) if is_profile(path)]
    if len(profiles) == len(paths):
        return compare_profiles(
            [open_profile(path) for path in profiles],
            across_machines=across_machines,
            across_plans=across_plans,
            gates=gates,
        )
    if profiles:
        raise UsageError(
            f"{profiles[0]}: is a profile, or a file that can be nothing else; give profiles alone, or run "
            "folders, bundles and seeds folders alone"
        )
    sources = [open_source(Path(path)) for path in paths]
    baseline = sources[0].first
    for source in sources:
        for run in source.runs:
            require_comparable(baseline, run)
    machines = [_first_difference(source, sources[0], machine_difference) for source in sources]
    plans = [_first_difference(source, sources[0], plan_difference) for source in sources]
    for source, machine, plan in zip(sources, machines, plans, strict=True):
        if machine and not across_machines:
            raise UsageError(
                f"{source.path}: was measured on another machine than {baseline.path} ({machine}); measure "
                "both on one machine, or give --across-machines to compare their accuracy alone"
            )
        if plan and not across_plans:
            raise UsageError(
                f"{source.path}: was measured by another plan than {baseline.path} ({plan}); measure both by "
                "one plan, or give --across-plans to compare their accuracy alone"
            )
    sides = [
        side_of(_letter(number), source, machine=machine, plan=plan)
        for number, (source, machine, plan) in enumerate(zip(sources, machines, plans, strict=True))
    ]
    pairs = [
        pair_of(sides[0], side, sources[0], source)
        for side, source in zip(sides[1:], sources[1:], strict=True)
    ]
    evidence = [
        Evidence(
            name=side.letter,
            runs=[run.measurements for run in source.runs],
            sizes=[size for run in source.runs if (size := run.shipped.size_bytes) is not None],
            apart=apart(side.letter, side.other_machine, side.other_plan),
        )
        for side, source in zip(sides, sources, strict=True)
    ]
    return Comparison(
        task=baseline.report.task,
        metric=baseline.shipped.metric,
        samples=baseline.samples,
        sides=sides,
        pairs=pairs,
        notes=_notes(sources),
        gates=[
            result
            for pair, one in zip(pairs, evidence[1:], strict=True)
            for result in judge(gates, pair, evidence[0], one)
        ],
    )


def _first_difference(source: Source, baseline: Source, difference: Any) -> str:
    found = (difference(baseline.first, run) for run in source.runs)
    return next((each for each in found if each), "")


def _notes(sources: list[Source]) -> list[str]:
    """What a reader must know to read the pairs rightly."""
    notes, metric = [], sources[0].first.shipped.metric
    teachers = {row.subject if (row := source.first.row("teacher")) else "" for source in sources}
    if metric == RANK_CORRELATION:
        notes.append("embeddings: the values of the reports are compared, samples are not paired")
    elif metric == MAP:
        notes.append("mAP: the values of the reports are compared, samples are not paired")
    elif not sources[0].first.report.labelled:
        notes.append("no labels: only the agreement between the two is compared")
    if (metric == RANK_CORRELATION or not sources[0].first.report.labelled) and len(teachers) > 1:
        notes.append(f"the {metric} of each is with its own teachers, and these differ")
    if len({len(source.runs) for source in sources} | {1}) == 1 and metric not in UNPAIRED:
        notes.append("one seed each: this compares these models, not the recipes that made them")
    notes.append("costs come from runs at different times, which did not take turns")
    return notes


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"R{number + 1}"
