"""Two synthetic runs of 100 samples: differences, ratios and verdicts by hand, and every refusal."""

import io
import json
import shutil
from functools import partial

import msgspec
import numpy as np
import pytest
from rich.console import Console

from compactor_runtimes.bundle.open import file_entry
from compactor_runtimes.compare import compare, parse_gate, render_comparison
from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.report import Report, write_report
from compactor_runtimes.stats.metrics import wilson
from tests.runtimes import compare_runs
from tests.runtimes.compare_runs import ENVIRONMENT, SHIPPED, N, answers, row, timing


@pytest.fixture
def write_run(tmp_path):
    """Write a run whose shipped artifact answers `top1`."""
    return partial(compare_runs.write_run, tmp_path)


def drawn(comparison, width=100):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(render_comparison(comparison))
    return console.export_text()


def test_a_proven_gain_at_half_the_time_is_shipped(write_run):
    a = write_run("a", answers(*range(20)))
    b = write_run(
        "b", answers(*range(4)), measurements=[timing([50, 51, 52], rss_bytes=25_000_000)], size=500
    )
    comparison = compare([a, b])
    (pair,) = comparison.pairs
    difference = pair.difference
    assert (difference.points, difference.n, difference.paired, difference.verdict) == (
        16,
        100,
        True,
        "better",
    )
    assert (difference.mcnemar.b, difference.mcnemar.c) == (0, 16)
    assert difference.mcnemar.p == pytest.approx(2 * 0.5**16)
    assert 0 < difference.low < 16 < difference.high
    assert pair.agreement == pytest.approx(0.84)
    (time,) = pair.times
    assert (time.value, time.low, time.high) == pytest.approx((51 / 101, 50 / 102, 52 / 100))
    assert (time.verdict, time.valid) == ("better", True)
    assert (pair.size, pair.rss) == (0.5, 0.5)
    assert pair.recommendation.startswith("ship B: accuracy of B is higher: +16.00 points")
    assert "compute time of B is shorter (0.50 times, both in ONNX Runtime CPU)" in pair.recommendation
    teacher, student, shipped = comparison.sides[0].scores
    assert (teacher.subject, teacher.value) == ("teachers (torch)", 0.99)  # the last row is all of them
    assert (student.value, shipped.value) == (0.8, 0.8)
    assert (shipped.low, shipped.high) == wilson(80, 100)


def test_times_of_two_runtimes_name_both(write_run):
    a = write_run("a", answers())
    b = write_run("b", answers(), measurements=[timing([50, 51, 52], provider="OpenVINO 1 on CPU")])
    comparison = compare([a, b])
    both = "OpenVINO 1 on CPU against ONNX Runtime CPU"
    assert f"compute time of B is shorter (0.50 times, {both})" in comparison.pairs[0].recommendation
    text = " ".join(drawn(comparison).split())
    assert f"[0.490, 0.520]: faster, {both}" in text
    assert "toy a, measured in ONNX Runtime CPU" in text
    assert "against" not in drawn(compare([a, a]))


def test_what_is_inside_the_noise_is_called_noise_and_decides_nothing(write_run):
    a = write_run("a", answers(0, 1, 2))
    b = write_run("b", answers(2, 3), measurements=[timing([95, 99, 101])])
    (pair,) = compare([a, b]).pairs
    # two only A gets wrong, one only B: 1 point, p = 1
    assert (pair.difference.points, pair.difference.verdict) == (1, "noise")
    assert (pair.difference.mcnemar.b, pair.difference.mcnemar.c, pair.difference.mcnemar.p) == (1, 2, 1)
    assert pair.times[0].verdict == "noise"  # 101 of b reaches into 100 to 102 of a
    assert pair.recommendation.startswith("keep A, nothing speaks for a change")
    text = drawn(compare([a, b]))
    assert text.count("inside the noise") >= 3
    assert "better" not in text
    assert "faster" not in text


def test_a_slower_and_better_one_is_a_trade_off(write_run):
    a, b = write_run("a", answers(*range(20))), write_run("b", answers(), measurements=[timing([200, 210])])
    c = write_run("c", answers(*range(20)), measurements=[timing([200, 210, 205])])
    with pytest.raises(UsageError, match=r"another plan.*blocks 2 against 3.*--across-plans"):
        compare([a, b])
    d = write_run("d", answers(), measurements=[timing([200, 210, 205])])
    better, worse = compare([a, d, c]).pairs
    assert better.times[0].verdict == "worse"
    assert better.recommendation.startswith("a trade-off that only your limits can decide")
    assert worse.recommendation.startswith("keep A: the accuracy difference of +0.00 points")


def test_one_block_shows_no_spread_and_invalid_times_decide_nothing(write_run):
    a = write_run("a", answers(), measurements=[timing([100])])
    b = write_run("b", answers(), measurements=[timing([10])])
    assert compare([a, b]).pairs[0].times[0].verdict == "noise"
    c = write_run("c", answers())
    d = write_run("d", answers(), measurements=[timing([10, 11, 12], valid=False, reasons=["busy"])])
    comparison = compare([c, d])
    assert comparison.pairs[0].times[0].verdict == "better"
    assert comparison.pairs[0].recommendation.startswith("keep A, nothing speaks for a change")
    text = drawn(comparison)
    assert "INVALID, no verdict" in text
    assert "11.0 ns *" in text


def test_cold_starts_do_not_decide(write_run):
    cold = [
        timing([value] * 3, scope="cold-start", scenario="once", rss_bytes=value * 10**6)
        for value in (100, 10)
    ]
    a = write_run("a", answers(), measurements=[timing([100, 101, 102]), cold[0]])
    b = write_run("b", answers(), measurements=[timing([100, 101, 102]), cold[1]])
    (pair,) = compare([a, b]).pairs
    assert [one.scope for one in pair.times] == ["compute", "cold-start"]
    assert pair.times[1].verdict == "better"
    assert pair.rss == 1  # of the warm process
    assert pair.recommendation.startswith("keep A, nothing")


@pytest.mark.parametrize("leave", [{}, {"across_machines": True, "across_plans": True}])
def test_other_samples_are_never_compared(write_run, leave):
    a, b = write_run("a", answers()), write_run("b", answers(), digest="others")
    with pytest.raises(UsageError, match="never compared"):
        compare([a, b], **leave)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"cpu": "Other CPU"}, "cpu 'Other CPU' against 'Toy CPU'"),
        ({"usable_cores": 4}, "usable_cores 4 against 2"),
        ({"arch": "aarch64"}, "arch 'aarch64' against 'x86_64'"),
        ({"packages": {"onnxruntime": "9"}}, "onnxruntime '9' against '1.2.3'"),
    ],
)
def test_another_machine_is_refused_or_its_costs_are_only_shown(write_run, change, found):
    a = write_run("a", answers(*range(20)))
    b = write_run(
        "b", answers(), environment=ENVIRONMENT | change, measurements=[timing([10, 11, 12])], size=500
    )
    with pytest.raises(UsageError, match=f"another machine.*{found}.*--across-machines"):
        compare([a, b])
    comparison = compare([a, b], across_machines=True)
    (pair,) = comparison.pairs
    assert (pair.times, pair.rss, pair.size) == ([], None, 0.5)
    assert pair.difference.points == 20
    assert "times were not compared" in pair.recommendation
    text = drawn(comparison)
    assert "other machine" in text
    assert "11.0 ns" in text
    assert "time: ×" not in text


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"measurements": [timing([1, 2, 3], threads=1)]}, "threads 1 against none"),
        ({"measurements": [timing([1, 2, 3], sample_set_digest="t")]}, "measured samples 't' against 's'"),
        ({"measurements": [timing([1, 2, 3], scenario="offline")]}, "compute single-stream: batch"),
        ({"measurements": []}, "blocks none against 3"),
        ({"provenance": {"recipe": {"measure": {"profile": "full"}}}}, "profile 'full' against none"),
    ],
)
def test_another_plan_is_refused_or_its_costs_are_only_shown(write_run, changes, found):
    a, b = write_run("a", answers()), write_run("b", answers(), **changes)
    with pytest.raises(UsageError, match=f"another plan.*{found}"):
        compare([a, b])
    comparison = compare([a, b], across_plans=True)
    assert (comparison.pairs[0].times, comparison.pairs[0].rss) == ([], None)
    assert "other plan" in drawn(comparison)


def test_without_labels_only_agreement_is_compared(write_run):
    unlabelled = np.full(N, -100, np.int64)
    a = write_run("a", answers(0, 1), labels=unlabelled)
    b = write_run("b", answers(1, 2), labels=unlabelled)
    comparison = compare([a, b])
    (pair,) = comparison.pairs
    assert pair.difference is None
    assert pair.agreement == pytest.approx(0.98)
    assert pair.recommendation.startswith("undecided: without labels")
    assert "no labels" in drawn(comparison)


def test_agreement_with_the_teachers_is_paired_and_needs_no_labels(write_run):
    """The teachers answer 1 for the first sample, so an artifact without a mistake disagrees there."""
    unlabelled = np.full(N, -100, np.int64)
    for labels in (compare_runs.LABELS, unlabelled):
        a = write_run(f"a{labels[0]}", answers(), labels=labels)
        b = write_run(f"b{labels[0]}", answers(0, *range(1, 12)), labels=labels)
        comparison = compare([a, b])
        gained = comparison.pairs[0].teacher_agreement
        assert (gained.points, gained.n, gained.paired, gained.verdict) == (-10, N, True, "worse")
        assert gained.low < -10 < gained.high < 0
    assert "agreement with the teacher: -10.00 points" in drawn(comparison)


def test_each_batch_is_compared_with_its_own(write_run):
    def offline(*times):
        return [
            timing([time, time + 1, time + 2], scenario="offline", batch=batch)
            for time, batch in zip(times, (1, 32), strict=True)
        ]

    a = write_run("a", answers(), measurements=offline(100, 3000))
    b = write_run("b", answers(), measurements=offline(200, 9000))
    comparison = compare([a, b], gates=[parse_gate("throughput<-40%")])
    assert [(one.batch, round(one.value, 1)) for one in comparison.pairs[0].times] == [(1, 2.0), (32, 3.0)]
    assert "compute offline (batch of 32) time: × 2.999" in drawn(comparison)
    assert "3 and 3 blocks carry no 99% interval" in comparison.gates[0].reason
    other = write_run("c", answers(), measurements=offline(100, 3000)[:1])
    with pytest.raises(UsageError, match=r"another plan.*compute offline: batch \[1\] against \[1, 32\]"):
        compare([a, other])


def test_only_labelled_samples_are_paired(write_run):
    labels = np.where(np.arange(N) < 40, 0, -100)
    a, b = write_run("a", answers(0), labels=labels), write_run("b", answers(99), labels=labels)
    (pair,) = compare([a, b]).pairs
    assert (pair.difference.n, pair.difference.points) == (40, 2.5)
    assert pair.agreement == pytest.approx(0.98)  # of all samples


def test_embeddings_are_compared_by_their_intervals_and_say_so(write_run):
    def correlation(value, low, high):
        return [
            row(name, kind, metric="rank correlation", value=value, low=low, high=high)
            for name, kind in (("student (torch)", "student"), (SHIPPED, "artifact"))
        ]

    a = write_run("a", answers(), accuracy=correlation(0.90, 0.89, 0.91), task="embedding")
    b = write_run("b", answers(), accuracy=correlation(0.92, 0.905, 0.93), task="embedding")
    c = write_run("c", answers(), accuracy=correlation(0.95, 0.94, 0.96), task="embedding")
    near, far = compare([a, b, c]).pairs
    for pair in (near, far):
        assert not pair.difference.paired
        assert pair.agreement is None
    assert near.difference.points == pytest.approx(2)
    assert (near.difference.low, near.difference.high) == pytest.approx((-0.5, 4))  # 0.905-0.91, 0.93-0.89
    assert (near.difference.verdict, far.difference.verdict) == ("noise", "better")
    text = drawn(compare([a, b]))
    assert "not paired" in text
    assert "+0.0200 [-0.0050, +0.0400]" in text
    with pytest.raises(UsageError, match=r"judged by rank correlation, but .* judged by accuracy"):
        compare([write_run("d", answers()), a])


def seeds_folder(folder, *runs):
    folder.mkdir()
    (folder / "seeds.json").write_text(json.dumps({"runs": [f"../{run.name}" for run in runs]}))
    return folder


def test_seeds_are_averaged_sample_by_sample(write_run, tmp_path):
    runs = [write_run(f"a{seed}", answers(*range(10 * seed + 10))) for seed in range(2)]
    seeds = seeds_folder(tmp_path / "seeds", *runs)
    slow = write_run("b", answers(), measurements=[timing([100, 101, 102])])
    comparison = compare([seeds, slow])
    side, (pair,) = comparison.sides[0], comparison.pairs
    shipped = side.scores[-1]
    assert (side.runs, shipped.value, shipped.seed_low, shipped.seed_high) == (
        2,
        pytest.approx(0.85),
        0.8,
        0.9,
    )
    assert shipped.low < 0.85 < shipped.high
    assert len(side.costs[0].blocks_ns) == 6  # both runs' blocks
    assert pair.difference.points == pytest.approx(15)
    assert (pair.difference.mcnemar, pair.difference.verdict) == (None, "better")
    assert pair.agreement == pytest.approx(0.85)  # mean of 0.9 and 0.8
    text = drawn(comparison)
    assert "seeds 80.00 to 90.00" in text
    assert "one seed each" not in text


def test_seeds_on_other_samples_are_refused(write_run, tmp_path):
    runs = [write_run("a0", answers()), write_run("a1", answers(), digest="others")]
    with pytest.raises(UsageError, match="never compared"):
        compare([runs[0], seeds_folder(tmp_path / "seeds", *runs)])


def test_a_recipes_folder_means_its_latest_run(write_run, tmp_path):
    a = write_run("a", answers())
    (tmp_path / "latest").symlink_to("a")
    comparison = compare([tmp_path, tmp_path / "latest", a])
    assert [side.path for side in comparison.sides] == [
        *[str(tmp_path / "latest")] * 2,
        str(tmp_path / "a"),
    ]
    assert [pair.difference.points for pair in comparison.pairs] == [0, 0]


def test_a_bundle_is_read_with_its_hashes_checked(write_run, bundle):
    run = write_run("a", answers(0))
    names = ["reports/report.json", "reports/predictions.safetensors"]
    shutil.copytree(run / "report", bundle.path / "reports")
    bundle.replace(files=[*bundle.manifest.files, *(file_entry(bundle.path, name) for name in names)])
    (pair,) = compare([run, bundle.path]).pairs
    assert (pair.agreement, pair.difference.points) == (1, 0)
    with (bundle.path / names[0]).open("ab") as file:
        file.write(b" ")
    with pytest.raises(IntegrityError, match=r"report\.json"):
        compare([run, bundle.path])


def test_what_cannot_be_read_is_named(write_run, tmp_path):
    a = write_run("a", answers())
    with pytest.raises(UsageError, match="got 1 run, expected two"):
        compare([a])
    with pytest.raises(UsageError, match=r"nowhere: does not exist; give a run folder"):
        compare([a, tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no report/report\.json"):
        compare([a, tmp_path / "empty"])
    with pytest.raises(UsageError, match="shipped no artifact"):
        compare([a, write_run("failed", answers(), accuracy=[], shipped="")])
    with pytest.raises(UsageError, match="has no row for 'gone'"):
        compare([a, write_run("odd", answers(), shipped="gone")])
    with pytest.raises(UsageError, match="is text-classification judged by accuracy"):
        compare([a, write_run("text", answers(), task="text-classification")])
    (seeds_folder(tmp_path / "bad") / "seeds.json").write_text("[]")
    with pytest.raises(IntegrityError, match="is no list of runs"):
        compare([a, tmp_path / "bad"])
    with pytest.raises(UsageError, match="lists no run"):
        compare([a, seeds_folder(tmp_path / "none")])
    (a / "report" / "predictions.safetensors").unlink()
    with pytest.raises(IntegrityError, match="are no predictions"):
        compare([a, a])


def test_the_last_artifact_counts_where_the_report_names_none(write_run):
    a = write_run("a", answers(), shipped="")
    with pytest.raises(IntegrityError, match="not of 'onnx other'"):
        compare([a, a])


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut_off_at_any_width(write_run, width):
    times = [
        timing([1_234_567, 1_300_000, 1_400_000], scope=scope, scenario=scenario)
        for scope, scenario in (
            ("compute", "single-stream"),
            ("compute", "offline"),
            ("end-to-end", "single-stream"),
            ("end-to-end", "offline"),
            ("cold-start", "once"),
        )
    ]
    a = write_run("a", answers(0), measurements=times, size=86_600)
    text = drawn(compare([a, a]), width)
    assert "…" not in text
    for shown in (
        "[lowest, highest]",
        "1.30 ms",
        "[1.23 ms, 1.40 ms]",
        "50.0 MB",
        "86.6 kB",
        "99.00",
        "one seed each",
    ):
        assert shown in text, shown


def test_a_written_report_is_read(write_run, tmp_path):
    a = write_run("a", answers())
    report = msgspec.json.decode((a / "report" / "report.json").read_bytes(), type=Report)
    write_report(report, a / "report")
    assert msgspec.json.encode(compare([a, a]))
