"""How the numbers of a report are written, alike in the terminal, in Markdown and in HTML."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compactor_runtimes.bundle.manifest import Artifact, Check
from compactor_runtimes.units import scaled

if TYPE_CHECKING:
    from compactor_runtimes.measure.measurement import Measurement
    from compactor_runtimes.report.contents import AccuracyRow, PairedRow, Report, ScoreRow

RANK_CORRELATION = "rank correlation"
MAP = "mAP"
UNPAIRED = (RANK_CORRELATION, MAP)  # of which no sample by itself is right or wrong
NO_VALUE = "-"
OVERRIDDEN = "OVERRIDDEN"
VERDICT_WORDS = {"noise": "inside the noise", "better": "better", "worse": "worse"}
ONNX_PROVIDER = "ExecutionProvider"  # how ONNX Runtime ends the name of each of its providers
CALLED_BY_TORCH = " called by torch"  # what a provider's name ends with where torch stands before it
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
SHOWN_PACKAGES = ("torch", "onnxruntime", "onnxruntime-gpu")


def share(value: float, row: "AccuracyRow") -> str:
    """A score of `row`: rank correlations as they are, shares in percent (without the sign)."""
    return f"{value:.4f}" if row.metric == RANK_CORRELATION else f"{100 * value:.2f}"


def interval(row: "AccuracyRow") -> str:
    """The 95% interval of a row's score: `[95.66, 98.87]`."""
    return f"[{share(row.low, row)}, {share(row.high, row)}]"


def unit(row: "AccuracyRow") -> str:
    """The sign after a score: a percent sign, or nothing for a rank correlation."""
    return "" if row.metric == RANK_CORRELATION else "%"


def agreement_words(rows: "Iterable[AccuracyRow]") -> str:
    """What `agreement_with_teacher` is in these rows."""
    return "mean cosine" if any(row.metric == RANK_CORRELATION for row in rows) else "agreement"


def change(row: "PairedRow") -> str:
    """A difference: `-0.56 points`."""
    return f"{_signed(row.difference_points)} points"


def change_interval(row: "PairedRow") -> str:
    """The 95% interval of a difference in points: `[-1.67, +0.56]`."""
    return f"[{_signed(row.low)}, {_signed(row.high)}]"


def error_change(row: "ScoreRow") -> str:
    """A relative change of errors in percent: `-12.5%`, or nothing where there is none."""
    change = row.relative_error_change
    return "" if change is None else f"{_percent(change, 1)}%"


def error_change_interval(row: "ScoreRow") -> str:
    """Its 95% interval in percent, open where the teacher errs too rarely: `[-20, +3]`, `[-20, ∞]`."""
    assert row.relative_low is not None
    high = "∞" if row.relative_high is None else _percent(row.relative_high)
    return f"[{_percent(row.relative_low)}, {high}]"


def p_value(p: float | None) -> str:
    """A probability of chance, three decimals; a dash where no test was made."""
    if p is None:
        return NO_VALUE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def times(ratio: float) -> str:
    """A ratio with two or three digits: `4.1`, `21`, `0.82`."""
    return f"{ratio:.2f}" if ratio < 0.995 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:,.0f}"


def runtime_name(one: "Measurement") -> str:
    """The runtime that computed, with its device: `torch`, `ONNX Runtime CPU`; not who called it."""
    parts = one.provider.removesuffix(CALLED_BY_TORCH).split(" and ")  # teachers may be of two runtimes
    return " and ".join(
        f"ONNX Runtime {part.removesuffix(ONNX_PROVIDER)}" if part.endswith(ONNX_PROVIDER) else part
        for part in parts
    )


def runtime_words(one: "Measurement") -> str:
    """The same with its version, as far as that is known, and who called it: `torch 2.9.1 CPU`."""
    name, versions = runtime_name(one), one.environment.get("packages", {})
    caller = CALLED_BY_TORCH if one.provider.endswith(CALLED_BY_TORCH) else ""
    if name == "torch":
        version = versions.get("torch")
        name = f"torch {version.partition('+')[0]} CPU" if version else "torch on CPU"  # it uses no other
    elif name.startswith("ONNX Runtime "):
        version = versions.get("onnxruntime") or versions.get("onnxruntime-gpu")
        name = name.replace("Runtime", f"Runtime {version}") if version else name
    return name + caller


def provider_words(one: "Measurement") -> str:
    """What a narrow table has room for: `torch`, `CPU`."""
    return one.provider.replace(ONNX_PROVIDER, "")


def subjects_by_runtime(measurements: "Iterable[Measurement]") -> str:
    """Who was measured in which runtime: `all in torch`, or `A, B in torch; C in ONNX Runtime CPU`."""
    found: dict[str, list[str]] = {}
    for one in measurements:
        found.setdefault(runtime_name(one), []).append(one.subject)
    if len(found) == 1:
        return f"all in {next(iter(found))}"
    return "; ".join(f"{unique(subjects)} in {runtime}" for runtime, subjects in found.items())


def artifact_name(artifact: Artifact) -> str:
    """An artifact's name as a subject, in the rows of accuracy and cost."""
    return f"onnx {artifact.name}" if artifact.spec.format == "onnx" else artifact.name


def artifact_bytes(artifact: Artifact) -> int:
    """Size of all its files."""
    return sum(entry.bytes for entry in artifact.files)


def overridden(report: "Report") -> dict[str, str]:
    """The subjects that ship although a gate failed, and why."""
    return {artifact_name(one): one.reason for one in report.artifacts if one.status == "overridden"}


def overridden_notes(report: "Report") -> list[str]:
    """A line for each of them, to stand below whatever shows its numbers."""
    return [f"{OVERRIDDEN} {subject}: {reason}" for subject, reason in overridden(report).items()]


def marked(subject: str, report: "Report") -> str:
    """A subject's name, marked where it ships although a gate failed."""
    return f"{subject} ({OVERRIDDEN})" if subject in overridden(report) else subject


def gate_numbers(gate: Check) -> str:
    """Value, limit and count of a check: `: value 1.2, limit 2, n 359; detail`, or nothing."""
    numbers = [
        "" if gate.value is None else f"value {gate.value:.6g}",
        "" if gate.limit is None else f"limit {gate.limit:.6g}",
        "" if gate.n is None else f"n {gate.n:,}",
    ]
    shown = ", ".join(number for number in numbers if number)
    return (f": {shown}" if shown else "") + (f"; {gate.detail}" if gate.detail else "")


def machine(environment: dict[str, Any]) -> str:
    """One line of the environment: what a reader needs to compare numbers at all."""
    versions = environment.get("packages", {})
    known = [f"{name} {versions[name]}" for name in SHOWN_PACKAGES if name in versions]
    ram = environment.get("ram_bytes")
    parts = [
        environment.get("cpu"),
        environment.get("arch"),
        " ".join(environment.get("isa", [])),
        f"{environment.get('usable_cores', '?')} usable cores",
        f"{scaled(ram, 'B')} RAM" if ram else "",
        *environment.get("gpus", []),
        environment.get("os"),
        environment.get("python"),
        *known,
    ]
    return ", ".join(str(part) for part in parts if part)


def is_unlabelled(report: "Report") -> bool:
    """Whether classes were judged without any label; embeddings need none."""
    return not report.labelled and any(row.metric != RANK_CORRELATION for row in report.accuracy)


def unique(values: Iterable[str]) -> str:
    """The different values, in order, with commas."""
    return ", ".join(dict.fromkeys(values))


@dataclass(frozen=True)
class Invalid:
    """One kind of reason why measurements are INVALID: a line with its count, and which ones it concerns."""

    line: str
    details: list[str]


def invalid_reasons(measurements: "list[Measurement]") -> list[Invalid]:
    """One line for each kind of reason, alike but for its numbers; the worst of these numbers is told."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for one in measurements:
        batch = f" of {one.batch}" if one.scenario == "offline" else ""
        what = one.scope if one.scenario == "once" else f"{one.scope} {one.scenario}{batch}"
        for reason in one.reasons:
            kinds.setdefault(_NUMBER.sub("#", reason), []).append((reason, f"{one.subject}, {what}"))
    found = []
    for told in kinds.values():
        worst = max((reason for reason, _ in told), key=_first_number)
        more = "" if len({reason for reason, _ in told}) == 1 else "at worst "
        line = f"{len(told)} of {len(measurements)} measurements: {more}{worst}"
        found.append(Invalid(line, [f"{where}: {reason}" for reason, where in told]))
    return found


def _first_number(reason: str) -> float:
    found = _NUMBER.search(reason)
    return abs(float(found[0].replace(",", ""))) if found else 0.0


def _signed(value: float) -> str:
    """Two decimals with a sign, and none where they are all zero."""
    return f"{value:+.2f}" if abs(value) >= 0.005 else "0.00"


def _percent(share: float, digits: int = 0) -> str:
    """A share in percent with its sign, and none where it is 0 after rounding."""
    shown = f"{100 * share:+.{digits}f}"
    return shown if float(shown) else shown[1:]
