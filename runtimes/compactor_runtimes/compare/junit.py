"""Gates as JUnit's XML, which every CI reads: one test case for each gate and pair."""

from xml.etree import ElementTree

from compactor_runtimes.compare.comparison import Comparison
from compactor_runtimes.compare.words import clean

SUITE = "compactor compare"


def junit_xml(comparison: Comparison, *, allow_undecided: bool = False) -> bytes:
    """Return the document: a failed gate is a failure, an undecided one too, or skipped if it is allowed."""
    failed = [one for one in comparison.gates if one.outcome == "failed"]
    undecided = [one for one in comparison.gates if one.outcome == "undecided"]
    suite = ElementTree.Element(
        "testsuite",
        name=SUITE,
        tests=str(len(comparison.gates)),
        failures=str(len(failed) + (0 if allow_undecided else len(undecided))),
        errors="0",
        skipped=str(len(undecided) if allow_undecided else 0),
    )
    for one in comparison.gates:
        case = ElementTree.SubElement(
            suite, "testcase", classname=clean(f"{SUITE} {one.pair}"), name=clean(one.gate.text)
        )
        if one.outcome == "passed":
            ElementTree.SubElement(case, "system-out").text = clean(one.sentence)
            continue
        kind = "skipped" if one.outcome == "undecided" and allow_undecided else "failure"
        element = ElementTree.SubElement(case, kind, message=clean(one.sentence))
        if kind == "failure":
            element.set("type", one.outcome)
            element.text = clean("\n".join([one.sentence, *_sides(comparison)]))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _sides(comparison: Comparison) -> list[str]:
    """Which letter is what."""
    return list(dict.fromkeys(f"{side.letter}: {side.path}" for side in comparison.sides))
