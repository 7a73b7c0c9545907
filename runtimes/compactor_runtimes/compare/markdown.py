"""A comparison as Markdown, for the summary of a CI job or a pull request: gates first, then what changed."""

import html
import re
from collections.abc import Iterable

from compactor_runtimes.compare.advice import change
from compactor_runtimes.compare.comparison import Comparison, Pair
from compactor_runtimes.compare.words import clean, time_word, timed_words
from compactor_runtimes.report.format import VERDICT_WORDS

_MARKS = {"passed": "✅ passed", "failed": "❌ **failed**", "undecided": "❔ **undecided**"}


def comparison_markdown(comparison: Comparison, *, allow_undecided: bool = False) -> str:
    """Return the page; undecided gates are told apart from failed ones, `allow_undecided` is said."""
    parts = ["# compactor compare", _who(comparison)]
    if comparison.gates:
        parts += [_verdict(comparison, allow_undecided), _gates(comparison)]
    parts += [_changes(pair, comparison.metric) for pair in comparison.pairs]
    parts += ["\n".join(f"- {_text(note)}" for note in comparison.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _who(comparison: Comparison) -> str:
    seen = dict.fromkeys(
        f"- **{side.letter}** {_text(side.path)}: {_text(side.title)}" for side in comparison.sides
    )
    apart = [
        f"- **{side.letter}** other {word}: {_text(found)}"
        for side in comparison.sides
        for word, found in (("machine", side.other_machine), ("plan", side.other_plan))
        if found
    ]
    return "\n".join([*seen, *dict.fromkeys(apart)])


def _verdict(comparison: Comparison, allow_undecided: bool) -> str:
    counts = {
        outcome: sum(one.outcome == outcome for one in comparison.gates)
        for outcome in ("failed", "undecided", "passed")
    }
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    allowed = " (undecided ones are allowed)" if allow_undecided and counts["undecided"] else ""
    return f"**Gates:** {said}{allowed}"


def _gates(comparison: Comparison) -> str:
    rows = [
        (f"`{one.gate.text}`", _text(one.pair), _text(one.change), _MARKS[one.outcome], _text(one.why))
        for one in comparison.gates
    ]
    return _table(("gate", "pair", "change", "verdict", "how, why"), rows)


def _changes(pair: Pair, metric: str) -> str:
    """One table of what differs between two."""
    rows: list[tuple[str, ...]] = []
    for name, difference in (
        (metric or "accuracy", pair.difference),
        ("agreement with the teacher", pair.teacher_agreement),
    ):
        if difference is not None:
            how = "" if difference.paired else " (not paired)"
            rows.append((_text(name), change(difference, metric), VERDICT_WORDS[difference.verdict] + how))
    for one in pair.times:
        ratio = f"× {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
        rows.append((f"{timed_words(one)} time", ratio, time_word(one)))
    rows += [
        (name, f"× {value:.3f}", "")
        for name, value in (("peak RSS", pair.rss), ("size", pair.size))
        if value is not None
    ]
    subjects = [
        f"{letter} {subject}".rstrip()
        for letter, subject in zip((pair.a, pair.b), pair.subjects, strict=True)
    ]
    parts = [f"## {_text(' → '.join(subjects))}"]
    if rows:
        parts.append(_table(("figure", "change [interval]", "verdict"), rows))
    if pair.recommendation:
        parts.append(f"**Recommendation:** {_text(pair.recommendation)}")
    return "\n\n".join(parts)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(header)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Leave words words: no line break or control character, no HTML, no Markdown."""
    escaped = html.escape(" ".join(clean(text).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escaped)
