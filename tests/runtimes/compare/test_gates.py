"""What a gate's text means, and that a bad one is one sentence with the nearest figure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compactor_runtimes.compare.gates import EXAMPLES, GateResult, parse_gate
from compactor_runtimes.errors import UsageError


@pytest.mark.parametrize(
    ("text", "figure", "scope", "scenario", "limit", "relative"),
    [
        ("p90>+5%", "p90", "compute", "single-stream", 0.05, True),
        ("p99.9>+0%", "p99.9", "compute", "single-stream", 0, True),
        ("end-to-end.p99.9>+2ms", "p99.9", "end-to-end", "single-stream", 2e6, False),
        ("single-stream.median<-10us", "median", "compute", "single-stream", -1e4, False),
        ("cold-start.median>+1s", "median", "cold-start", "once", 1e9, False),
        ("throughput<-5%", "throughput", "compute", "offline", -0.05, True),
        ("end-to-end.offline.throughput<-100/s", "throughput", "end-to-end", "offline", -100, False),
        ("offline.end-to-end.p50>+1.5µs", "p50", "end-to-end", "offline", 1500, False),
        ("cpu>+10%", "cpu", "compute", "single-stream", 0.1, True),
        ("load>+100ms", "load", "", "", 1e8, False),
        ("rss>+1MB", "rss", "", "", 1e6, False),
        ("pss>+1MiB", "pss", "", "", 2**20, False),
        ("size>+0", "size", "", "", 0, False),
        ("size>+512", "size", "", "", 512, False),
        ("accuracy<-0.5", "accuracy", "", "", -0.5, False),
        (" agreement < -0.5points ", "agreement", "", "", -0.5, False),
    ],
)
def test_a_gate_is_a_figure_a_sign_and_a_change(text, figure, scope, scenario, limit, relative):
    gate = parse_gate(text)
    assert (gate.figure, gate.scope, gate.scenario) == (figure, scope, scenario)
    assert (gate.limit, gate.relative, gate.sign) == (limit, relative, "<" if "<" in text else ">")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("p91>+5%", r"names no figure that is known \(did you mean 'p9\d'\? known: median, p50"),
        ("endtoend.p90>+5%", "did you mean 'end-to-end.p90'"),
        ("acuracy<-1", "did you mean 'accuracy'"),
        ("p90>5%", "has '5%' where a signed number is expected"),
        ("p90>+5", "has no unit for p90, and one of %, ns, us, µs, ms, s is expected"),
        ("size>+5ms", "has the unit 'ms' for size, and one of %, B, k"),
        ("agreement<-1%", "gives agreement in percent, and a change of it is in points"),
        ("median<-100%", "asks for a change that nothing can reach"),
        ("end-to-end.size>+0", "has a prefix, and size is of the whole"),
        ("compute.end-to-end.p90>+1%", "prefixes that exclude each other"),
        ("cold-start.offline.p90>+1%", "prefixes that exclude each other"),
        ("cold-start.throughput<-1%", "offline batches alone"),
        ("p90", "is not FIGURE, > or <, and a signed change"),
        ("p90>>+1%", "has '>\\+1%' where a signed number"),
        ("p90>+nan%", "has '\\+nan%' where a signed number"),
        ("", "gate '' is not FIGURE"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_examples(text, why):
    with pytest.raises(UsageError, match=why) as error:
        parse_gate(text)
    assert str(error.value).endswith(f"; write it like {EXAMPLES}")
    assert "\n" not in str(error.value)


PARTS = st.sampled_from(
    ["p90", "p99.9", "size", "accuracy", "end-to-end.", "offline.", ".", ">", "<", "+", "-", "5", "1e9", "%",
     "ms", "MB", " ", "\n", "\x00", "٣", "inf", "nan", "9" * 400]
)  # fmt: skip


@given(st.one_of(st.text(max_size=20), st.lists(PARTS, max_size=8).map("".join)))
def test_no_text_does_anything_but_parse_or_be_refused(text):
    try:
        gate = parse_gate(text)
    except UsageError:
        return
    assert abs(gate.limit) < 1e30
    assert parse_gate(gate.text) == gate


@pytest.mark.parametrize(
    ("text", "low", "high", "outcome"),
    [
        ("p90>+5%", 0.051, 0.2, "failed"),
        ("p90>+5%", 0.05, 0.2, "undecided"),  # the near end is on the limit, not beyond
        ("p90>+5%", -0.1, 0.05, "passed"),
        ("p90>+5%", -0.1, 0.051, "undecided"),
        ("accuracy<-0.5", -2, -0.51, "failed"),
        ("accuracy<-0.5", -2, -0.5, "undecided"),
        ("accuracy<-0.5", -0.5, 3, "passed"),
        ("accuracy<-0.5", -0.51, 3, "undecided"),
        ("size>+0", 0, 0, "passed"),
        ("size>+0", 1, 1, "failed"),
    ],
)
def test_a_gate_is_decided_where_both_ends_of_the_interval_agree(text, low, high, outcome):
    assert parse_gate(text).outcome(low, high) == outcome


@pytest.mark.parametrize(
    ("text", "value", "written"),
    [
        ("p90>+5%", 0.071, "+7.10%"),
        ("accuracy<-1", -0.5, "-0.50 points"),
        ("p90>+1ms", -2_100_000, "-2.10 ms"),
        ("size>+0", 1_270_000, "+1.27 MB"),
        ("throughput<-1", -272, "-272/s"),
    ],
)
def test_a_change_is_written_in_the_unit_of_its_limit(text, value, written):
    assert parse_gate(text).written(value) == written


def test_a_result_says_all_of_it_in_one_sentence():
    result = GateResult(
        gate=parse_gate("p90>+5%"), a="A", b="B", subjects=("x", "y"), outcome="failed",
        value=0.07, low=0.06, high=0.08, confidence=0.99, how="12 blocks",
    )  # fmt: skip
    assert result.sentence == (
        "p90>+5% of B y against A x: +7.00% [+6.00%, +8.00%], failed (99% interval, 12 blocks)"
    )
