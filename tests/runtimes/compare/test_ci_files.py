"""What a CI reads: JUnit's XML and a Markdown summary, whatever names and reasons hold."""

from xml.etree import ElementTree

import pytest

from compactor_runtimes.compare import comparison_markdown, junit_xml
from compactor_runtimes.compare.gates import parse_gate
from compactor_runtimes.compare.profiles import compare_profiles
from tests.runtimes.compare_profiles import FLAT, given, profile, subject
from tests.runtimes.toy_measurement import blocks_of

NASTY = "a|b`c<script>\x00\x1b[31m\n\ud800&\ufffe"


@pytest.fixture
def comparison():
    """One gate of each outcome; the reason of the undecided one and the path hold what breaks files."""
    rows = [subject()]
    slower = blocks_of("onnx fp32", *[2 * value for value in FLAT])
    invalid = blocks_of("onnx fp32", *FLAT, scope="end-to-end", reasons=[NASTY])
    a = profile(subjects=rows, measurements=[blocks_of("onnx fp32", *FLAT), invalid])
    b = profile(subjects=rows, measurements=[slower, invalid])
    gates = [parse_gate(text) for text in ("median>+5%", "size>+0", "end-to-end.median>+5%")]
    return compare_profiles([given(f"{NASTY}.json", a), given("b.json", b)], gates=gates)


@pytest.mark.parametrize("allowed", [False, True])
def test_junit_has_a_case_for_each_gate_and_pair(comparison, allowed):
    (suite,) = ElementTree.fromstring(junit_xml(comparison, allow_undecided=allowed))
    counts = {"tests": "3", "failures": "1" if allowed else "2", "skipped": "1" if allowed else "0"}
    assert {key: suite.get(key) for key in counts} == counts
    failed, passed, undecided = suite
    assert failed.get("name") == "median>+5%"
    assert failed.get("classname") == "compactor compare B onnx fp32 against A onnx fp32"
    assert failed.find("failure").get("type") == "failed"
    assert (
        failed.find("failure")
        .get("message")
        .startswith("median>+5% of B onnx fp32 against A onnx fp32: +100.00%")
    )
    assert [child.tag for child in passed] == ["system-out"]
    (mark,) = undecided
    assert mark.tag == ("skipped" if allowed else "failure")
    assert "INVALID: a|b`c<script>\ufffd\ufffd[31m" in mark.get("message")
    assert "A: a|b`c<script>" in failed.find("failure").text


def test_the_summary_says_every_gate_in_tables_that_nothing_breaks(comparison):
    text = comparison_markdown(comparison)
    assert "**Gates:** 1 failed, 1 undecided, 1 passed\n" in text
    assert "allowed" in comparison_markdown(comparison, allow_undecided=True)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == 3
    assert rows[0].startswith("| `median>+5%` | B onnx fp32 against A onnx fp32 | +100.00% \\[+100.00%, ")
    assert rows[0].endswith("\\] | ❌ **failed** | 99% interval, 8 blocks, not in turns |")
    assert [line.replace("\\|", "").count("|") for line in rows] == [6, 6, 6]
    assert "<script>" not in text
    assert "a\\|b\\`c&lt;script&gt;" in text
    assert "| compute single-stream time | × 2.000 [2.000, 2.000] | slower |" in text
    assert "| end-to-end single-stream time | × 1.000 [1.000, 1.000] | INVALID, no verdict |" in text
