"""Gates as JUnit's XML, which every CI reads: one test case for each gate and pair."""

import re
from xml.etree import ElementTree

from compactor_runtimes.compare.comparison import Comparison

SUITE = "compactor compare"
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # all but Char of XML 1.0


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
            suite, "testcase", classname=_clean(f"{SUITE} {one.pair}"), name=_clean(one.gate.text)
        )
        if one.outcome == "passed":
            ElementTree.SubElement(case, "system-out").text = _clean(one.sentence)
            continue
        kind = "skipped" if one.outcome == "undecided" and allow_undecided else "failure"
        element = ElementTree.SubElement(case, kind, message=_clean(one.sentence))
        if kind == "failure":
            element.set("type", one.outcome)
            element.text = _clean("\n".join([one.sentence, *_sides(comparison)]))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _sides(comparison: Comparison) -> list[str]:
    """Which letter is what."""
    return list(dict.fromkeys(f"{side.letter}: {side.path}" for side in comparison.sides))


def _clean(text: str) -> str:
    """Replace what XML cannot hold: control characters, lone surrogates."""
    return _NO_XML.sub("\ufffd", text)
