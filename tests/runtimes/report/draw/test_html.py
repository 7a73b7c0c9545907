"""The page: everything escaped, nothing from a network, whole sections, and no complaint of a browser."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import msgspec
import pytest

from compactor_runtimes.bundle.manifest import Check
from compactor_runtimes.report import Confusion, render_html, render_markdown, write_pages, write_report
from tests.runtimes.rich_report import NAMES, SCRIPT, rich_report

SECTIONS = [
    "recommendation",
    "trade-off",
    "truth",
    "scores",
    "steps",
    "latency",
    "cost",
    "training",
    "classes",
    "confusion",
]
SECTIONS += ["examples", "gates", "provenance"]


@pytest.fixture(scope="module")
def report():
    return rich_report()


@pytest.fixture(scope="module")
def page(report):
    return render_html(report)


class Seen(HTMLParser):
    """Collect what a browser would: tags, ids, addresses, and unclosed tags."""

    VOID = {"meta", "img", "br", "link", "input"}

    def __init__(self, text):
        super().__init__()
        self.scripts, self.ids, self.addresses, self.open, self.text = 0, [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has {name}"
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action", "srcset"):
                self.addresses.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)


def words(page):
    return " ".join("".join(Seen(page).text).split())


def test_the_page_is_well_formed_and_has_every_section(page):
    seen = Seen(page)
    assert seen.open == []
    assert [name for name in SECTIONS if name not in seen.ids] == []
    assert len(seen.ids) == len(set(seen.ids)), "ids are used once, those of the charts included"


def test_nothing_comes_from_a_network_and_only_our_script_runs(page):
    seen = Seen(page)
    assert seen.scripts == 1
    assert SCRIPT not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert {address[:22] for address in seen.addresses if not address.startswith("#")} == {
        "data:image/png;base64,"
    }
    assert not re.findall(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in page


def test_links_lead_to_sections_and_charts_to_their_own_parts(page):
    seen = Seen(page)
    targets = {address[1:] for address in seen.addresses if address.startswith("#")}
    targets |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert targets <= set(seen.ids)


@pytest.mark.slow
def test_the_same_report_gives_the_same_page(report, page):
    assert render_html(report) == page


def test_charts_keep_text_and_take_their_colours_from_the_theme(page):
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) == 8  # two trade-offs, the variants, the steps, two distributions, two curves
    assert all("<text" in chart and "var(--muted)" in chart for chart in charts)
    assert not re.findall(r"#0102[0-9a-f]{2}", page)


def test_invalid_measurements_are_marked_everywhere(page):
    text = words(page)
    assert re.search(r"INVALID \d of \d+ measurements: block medians drift by 31% ", text)
    assert "onnx int8-static, compute single-stream: block medians drift by 31%" in text
    assert '<details class="banner">' in page
    assert "onnx int8-static (OVERRIDDEN): median 328 µs, n 470 (INVALID)" in text
    assert "Hollow: INVALID" in text
    assert "Dashed: INVALID" in text
    assert "needs 4,603" in text


def test_not_run_is_not_passed(page):
    text = words(page)
    assert "tensorrt-rtx-fp16notrunnocheckmade" in text.replace(" ", "")
    assert "tensorrt-rtx-fp16 not run: no GPU of sm89 here" in text
    assert "5 of 5" in text


def test_each_variant_has_its_numbers_its_verdict_and_the_reason(page):
    text = words(page).replace(" ", "")  # cells stand side by side
    for shown in (
        "fp32-fused shipped verified 3 of 3 checks 318 kB 433 µs n 470 1.5 [1.4, 1.5] 100.00% n 1,200",
        "99.92% ≥ 99.60%, n 1,200 0.00 ≤ 0.40, n 1,200 0.0021 n 64 not chosen",
        "grey is inside the noise; times: all in ONNX Runtime CPU.",
        "fp32-fused chosen: 1.5 times as fast as fp32 [1.4, 1.5]",
        "fp16 not chosen: slower than fp32 here: 1.5 times its time",
        "int8-dynamic rejected: min-agreement: 1128 of 1200 samples agree",
        "Size against latency",
        "Of 6 variants fp32-fused was chosen: 1.5 times as fast as fp32 [1.4, 1.5].",
        "Rejected: int8-dynamic (min-agreement: 1128 of 1200 samples agree",
    ):
        assert shown.replace(" ", "") in text, shown


def test_times_are_divided_in_one_runtime_alone_and_every_runtime_is_named(page, report):
    text = words(page)
    hero = "Ship onnx fp32-fused: in torch the student is 6.4 times as fast as resnet56 (torch) [6.3, 6.5]"
    assert hero in text
    table = page[page.index('id="latency"') :].partition("</section>")[0]
    assert table.count("6.4× as fast as the teacher") == 1  # the torch student, and no artifact
    assert table.count("× as fast") == 1
    assert "compute<small>ONNX Runtime CPU</small>" in table
    assert "resnet56 (torch), student (torch) in torch; onnx fp32, onnx fp32-fused, onnx fp16," in text
    markdown = render_markdown(report)
    assert markdown.count("6.4× as fast as the teacher") == 1
    assert "21.8" not in markdown.partition("## Truth")[0]  # 9.45 ms over 433 µs


def test_an_overridden_artifact_says_so_wherever_its_numbers_stand(report):
    page = render_html(report)
    for section in (
        "recommendation", "trade-off", "variants", "truth", "scores", "steps", "latency", "cost",
    ):  # fmt: skip
        part = page[page.index(f'id="{section}"') :]
        part = part.partition("<nav" if section == "recommendation" else "</section>")[0]
        assert "OVERRIDDEN" in part, section
        if section != "trade-off":  # a legend has room for the word alone
            assert "the demo needs a small file" in part, section
    for cell in ("artifact, OVERRIDDEN", "INVALID, OVERRIDDEN"):  # beside the name, in truth and latency
        assert f"onnx int8-static<small>{cell}</small>" in page, cell
    assert "onnx int8-static ships although a gate failed: the demo needs a small file" in words(page)
    markdown = render_markdown(report)
    assert "**OVERRIDDEN onnx int8-static: the demo needs a small file" in markdown
    assert "int8-static: **not chosen**: OVERRIDDEN: the demo needs a small file" in markdown


def test_the_worst_class_is_first(page):
    table = page[page.index('id="classes"') :]
    labels = re.findall(r'<th scope="row"[^>]*>(.*?)</th>', table[: table.index("</section>")])
    assert labels[0] == "automobile"
    assert len(labels) == len(NAMES)


def test_sections_without_data_say_so_or_vanish(report):
    bare = msgspec.structs.replace(
        report, accuracy=[], paired=[], measurements=[], gates=[], artifacts=[], curves=[], classes=[],
        scores=[], confusion=None, examples=[], shipped="", recommendation="",
    )  # fmt: skip
    page = render_html(bare)
    seen, text = Seen(page), words(page)
    assert text.count("Not measured.") == 4
    assert "none judged" in text
    assert "passed" not in text
    assert not {"scores", "training", "classes", "confusion", "examples"} & set(seen.ids)
    assert "Not measured." in render_markdown(bare)


def test_a_failed_gate_and_missing_labels_stand_at_the_top(report):
    failed = msgspec.structs.replace(
        report, labelled=False, gates=[Check(name="drop", passed=False)], recommendation="Ship nothing: x."
    )
    text = words(render_html(failed))
    assert "FAILED: drop" in text
    assert "No labels." in text


def test_many_classes_are_shown_as_confused_pairs_without_a_heat_map(report):
    labels = [f"class {number}" for number in range(30)]
    counts = [[10 if row == column else int(column == row + 1) for column in range(30)] for row in range(30)]
    many = msgspec.structs.replace(
        report, confusion=Confusion(subject="student", labels=labels, counts=counts)
    )
    page = render_html(many)
    assert '<table class="heat">' not in page
    assert "The 25 most frequent of 29 confused pairs." in page


def test_an_image_that_is_no_png_is_not_shown(report):
    bad = msgspec.structs.replace(report.examples[0], image="https://example.org/x.png")
    page = render_html(msgspec.structs.replace(report, examples=[bad]))
    assert "example.org" not in page


def test_letters_and_signs_of_any_kind_may_be_in_names(report):
    odd = [msgspec.structs.replace(row, step="出荷 $x_{$ \x07") for row in report.paired]
    assert "出荷 $x_{$" in render_html(msgspec.structs.replace(report, paired=odd))


@pytest.mark.slow
def test_without_the_extra_the_page_is_left_out_and_an_old_one_removed(report, tmp_path, monkeypatch):
    write_report(report, tmp_path)
    assert (tmp_path / "report.html").exists()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    pages = write_pages(report, tmp_path)
    assert [path.name for path in pages.files] == ["report.md"]
    assert "pip install 'compactor-toolkit[report]'" in pages.note
    assert not (tmp_path / "report.html").exists()
    assert "pip install 'compactor-toolkit\\[report\\]'" in (tmp_path / "report.md").read_text()


def test_markdown_escapes_what_tables_and_html_would_take(report):
    text = render_markdown(report)
    assert "<script" not in text
    assert "truck\\|lorry" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in tables}
    assert widths == {5, 7, 9, 10}  # pairs, gates, cost, variants and ..., each table's rows alike
    for title in (
        "Recommendation",
        "Truth",
        "Intent and slots",
        "What each step changed",
        "Latency",
        "Variants",
        "Gates",
        "Provenance",
    ):
        assert title in text
    assert "**FAILED**" not in text


@pytest.mark.heavy
def test_a_browser_opens_the_page_without_a_complaint(report, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    write_report(report, tmp_path)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0", "--dump-dom"]
    done = subprocess.run(
        [*command, (tmp_path / "report.html").as_uri() + "#dark"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-1000:]
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    for name in SECTIONS:
        assert f'id="{name}"' in done.stdout, name
    # the script ran: the theme was taken from the address, headings became buttons that sort
    assert 'data-theme="dark"' in done.stdout
    assert '<button type="button">' in done.stdout
