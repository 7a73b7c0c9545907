"""The pages of a profile: the recommendation first, nothing claimed of what is INVALID, parts optional."""

import io
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace
from rich.console import Console

from compactor_runtimes.bundle.manifest import Check
from compactor_runtimes.measure.anatomy import (
    Anatomy,
    MemoryPoint,
    MemoryTrace,
    OperatorTime,
    Peaks,
    Placement,
    Roofline,
    Split,
    Work,
)
from compactor_runtimes.measure.machine_profile import Recommendation
from compactor_runtimes.measure.measurement import Bound, Settings
from compactor_runtimes.report.draw.anatomy_figures import memory_words
from compactor_runtimes.report.draw.profile_pages import (
    render_merged_terminal,
    render_profile_html,
    render_profile_markdown,
    render_profile_terminal,
    write_merged_pages,
    write_profile_pages,
)
from tests.runtimes.compare_profiles import profile, subject
from tests.runtimes.toy_measurement import blocks_of, measurement

FAST, SLOW, GONE = "fp32 @ ort-cpu", "fp32 @ openvino", "fused @ openvino"


def anatomy(name, slope=(5.0, -100.0, 100.0)):
    points = [MemoryPoint(seconds=0, stage="start", queries=0, rss_bytes=10_000_000, pss_bytes=9_000_000)]
    points += [
        MemoryPoint(
            seconds=1 + number, stage=stage, queries=number, rss_bytes=50_000_000, pss_bytes=40_000_000
        )
        for number, stage in enumerate(["loaded", "steady", "soak", "soak"])
    ]
    peaks = Peaks(flops_per_s=1e11, bytes_per_s=1e10, threads=2, measured_by="toy")
    work = Work(flops=20_000_000, bytes=1_000_000, counted_by="toy")
    return Anatomy(
        subject=name,
        placement=Placement(asked="toy", share=0.75, precisions={"i8": 0.8, "f32": 0.2}),
        split=Split(
            samples_ns={"decode": [100_000], "copy": [1_000], "compute": [1_000_000], "post": [50_000]}
        ),
        operators=[OperatorTime(name="conv <1>", kind="Conv", provider="toy", precision="f32", ns=700_000.0)],
        work=work,
        roofline=Roofline(work=work, peaks=peaks, floor_ns=200_000.0, bound="compute"),
        memory=MemoryTrace(points=points, slope=slope[0], slope_low=slope[1], slope_high=slope[2]),
        notes=["a note of its own"],
    )


@pytest.fixture
def rich():
    """Two subjects, one INVALID, one that was not run, a sweep, a server, and what is inside."""
    rows = [
        subject(FAST, threads=1),
        subject(SLOW, runtime="openvino", threads=1),
        subject(GONE, runtime="openvino", not_run="runtime openvino does not open onnx fused"),
    ]
    measured = [
        blocks_of(FAST, *[1000] * 8),
        replace(blocks_of(SLOW, *[2000] * 8), valid=False, reasons=["others used 50% of the CPU"]),
        measurement(FAST, "compute", "offline", [8_000_000] * 3, batch=8),
        measurement(FAST, "compute", "offline", [20_000_000] * 3, batch=32),
        measurement(
            FAST,
            "end-to-end",
            "server",
            [3_000_000] * 100,
            rate_per_s=250.0,
            bound=Bound(q=0.9, ns=5_000_000),
        ),
    ]
    return profile(
        subjects=rows,
        measurements=measured,
        settings=Settings(offline_batches=[8, 32]),
        sweep={"threads": [1], "batch": [8, 32]},
        anatomies=[anatomy(FAST), anatomy(SLOW, (5000.0, 4000.0, 6000.0))],
        recommendation=Recommendation(
            policy="latency", subject=FAST, why="2.0 times as fast", batch=32, front=[FAST]
        ),
        notes=["samples: 3 given"],
    )


def printed(renderable, width):
    console = Console(width=width, markup=False, emoji=False, highlight=False, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


class Words(HTMLParser):
    """Text, tags that were left open, and addresses."""

    VOID = {"meta", "br", "img", "link", "use", "path", "rect"}

    def __init__(self):
        super().__init__()
        self.text, self.open, self.addresses = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(page):
    words = Words()
    words.feed(page)
    assert words.open == []
    assert all(address.startswith(("#", "data:")) for address in words.addresses)
    return " ".join(" ".join(words.text).split())


@pytest.mark.slow
def test_the_page_begins_with_what_to_load_and_has_every_part(rich):
    page = render_profile_html(rich)
    text = parsed(page)
    first, load = text.index("Load fp32 @ ort-cpu (latency): 2.0 times as fast."), text.index("profile.json")
    assert first < load < text.index("Subjects Artifacts on runtimes")
    for part in (
        "Sweep",
        "Server",
        "Where an answer's time goes",
        "How far from the floor",
        "Memory over time",
    ):
        assert part in text
    assert "fp32 @ ort-cpu: 5.0 times its floor" in text  # 1 ms over 0.2 ms
    assert "fp32 @ openvino: 10 times its floor (INVALID)" in text
    assert "5.0× *" not in text
    assert "10× *" in text
    assert "1 operator, 700 µs in all. Timing" in text
    assert "load issued by ;" not in text
    assert "does not grow [-100 B, +100 B] a query" in text
    assert "GROWS [+4.00 kB, +6.00 kB] a query" in text
    assert "fused @ openvino was not measured: runtime openvino does not open onnx fused" in text
    assert "1 of 5 measurements: others used 50% of the CPU" in text
    assert "i8 80%, f32 20%" in text
    assert "not available" in text  # energy
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(drawing.replace("xlink:href", "href"))


def test_markdown_has_the_same_in_the_same_order(rich):
    text = render_profile_markdown(rich)
    assert text.startswith("# toy\n\n**load fp32 @ ort-cpu (latency): 2.0 times as fast.")
    assert text.index("## Subjects") < text.index("## Sweep") < text.index("## Server")
    assert "- 1 of 5 measurements: others used 50% of the CPU" in text
    assert "2.00 ms \\*" in text
    assert "250" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_cuts_nothing_and_marks_what_is_invalid(rich, width):
    text = printed(render_profile_terminal(rich), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "2.00 ms *" in text
    assert text.index("Recommendation: load fp32 @ ort-cpu") < text.index("subject")
    assert "samples: 3 given" in text
    assert "fused @ openvino was not measured: " in text


def test_p99_is_marked_where_the_time_is_invalid_and_rss_is_not_called_pss(rich):
    slow = measurement(SLOW, "compute", "single-stream", [2_000_000] * 1000, valid=False, reasons=["noise"])
    noisy = replace(rich, measurements=[replace(slow, pss_bytes=None, rss_bytes=123_000_000)])
    text = printed(render_profile_terminal(noisy), 120)
    line = next(one for one in text.splitlines() if one.startswith(SLOW))
    assert line.count("2.00 ms *") == 2
    assert "123 MB" not in text
    assert "peak RSS 123 MB" in printed(render_merged_terminal([noisy, rich], ["a", "b"]), 120)


def test_golden_cases_that_were_not_run_have_not_passed(rich):
    text = printed(render_profile_terminal(rich), 120)
    assert "passed" not in text
    assert "not run" in text
    passed = replace(
        rich.subjects[0],
        golden=[Check(name="golden", passed=True, value=0.0, limit=1.0, n=1, detail="")],
    )
    assert "passed" in printed(render_profile_terminal(replace(rich, subjects=[passed])), 120)


@pytest.mark.parametrize(
    ("slope", "low", "high", "words"),
    [
        (5_000.0, 4_000.0, 6_000.0, "GROWS ["),
        (500.0, 400.0, 600.0, "grows little ["),
        (5.0, -100.0, 100.0, "does not grow ["),
        (5.0, -100.0, 50_000.0, "growth not ruled out ["),
    ],
)
def test_growth_is_named_as_far_as_its_interval_goes(slope, low, high, words):
    trace = MemoryTrace(points=[], slope=slope, slope_low=low, slope_high=high)
    assert memory_words(trace).startswith(words)


def test_measurements_without_a_choice_are_not_called_unmeasured(rich):
    undecided = replace(rich, recommendation=Recommendation(policy="latency", subject="", why=""))
    assert "**none: the profile holds no choice**" in render_profile_markdown(undecided)
    assert "none: nothing was measured" in render_profile_markdown(replace(undecided, measurements=[]))


@pytest.mark.slow
def test_a_profile_without_all_that_is_drawn_as_well(tmp_path):
    bare = profile(
        measurements=[], recommendation=Recommendation(policy="size", subject="", why="all INVALID")
    )
    text = parsed(render_profile_html(bare))
    assert "None: all INVALID" in text
    assert "profile=" not in text
    assert "none: all INVALID" in render_profile_markdown(bare)
    printed(render_profile_terminal(bare), 80)
    stopped = replace(bare, stopped="stopped after block 3 of 12, which is kept")
    assert "STOPPED stopped after block 3" in parsed(render_profile_html(stopped))
    written = write_profile_pages(bare, tmp_path).files
    assert [path.name for path in written] == ["profile.md", "profile.html"]


@pytest.mark.slow
def test_machines_stand_side_by_side_and_nothing_is_divided(rich, tmp_path):
    other = replace(
        rich, target="ssh://board", subjects=rich.subjects[:1], measurements=[blocks_of(FAST, *[9000] * 8)]
    )
    pages = write_merged_pages([rich, other], ["a.json", "b.json"], tmp_path)
    assert [path.name for path in pages.files] == ["machines.md", "machines.html"]
    text = parsed((tmp_path / "machines.html").read_text())
    assert "ssh://board" in text
    assert "9.00 ms" in text
    assert "not asked for" in text
    assert "nothing is divided" in text
    markdown = (tmp_path / "machines.md").read_text()
    assert "- INVALID on Toy CPU, 2 cores: 1 of 5 measurements: others used 50% of the CPU" in markdown
    assert "INVALID on ssh://board" not in markdown
    assert "times as fast as" not in text
    assert "9.00 ms" in printed(render_merged_terminal([rich, other], ["a.json", "b.json"]), 120)


def test_throughput_that_is_invalid_is_marked_beside_a_valid_time(rich):
    measured = [
        replace(one, valid=one.scenario != "offline", reasons=["toy"] if one.scenario == "offline" else [])
        for one in rich.measurements
    ]
    text = printed(render_merged_terminal([replace(rich, measurements=measured)] * 2, ["a", "b"]), 120)
    assert "1,000/s * in batches of 8" in " ".join(text.split())
