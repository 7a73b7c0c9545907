"""Profiles, settings and the figures that a measurement derives from its raw samples."""

import msgspec
import pytest

from compactor_runtimes.measure import Measurement, Settings
from compactor_runtimes.measure.measurement import PROFILES, Answer, Command, Quit, RunBlock


def measurement(**changes):
    fields = {
        "subject": "toy",
        "subject_digest": "d",
        "scope": "compute",
        "scenario": "single-stream",
        "batch": 1,
        "sample_set_digest": "s",
        "threads": None,
        "provider": "toy",
        "samples_ns": [1_000_000, 3_000_000, 2_000_000],
        "blocks": [0, 1, 1],
        "load_s": 0.1,
        "rss_bytes": 5,
        "pss_bytes": None,
        "environment": {},
        "valid": True,
        "reasons": [],
    }
    return Measurement(**fields | changes)


def test_figures_are_derived_from_raw_samples():
    one = measurement()
    assert (one.n, one.median_ns, one.spread.block_medians_ns) == (3, 2_000_000, [1_000_000, 2_500_000])
    assert one.percentile(0.9).value_ns is None


def test_throughput_counts_all_images_of_all_batches():
    one = measurement(scenario="offline", batch=32, samples_ns=[10_000_000, 30_000_000], blocks=[0, 0])
    assert one.images_per_s == pytest.approx(64 / 0.04)


def test_measurement_survives_json():
    one = measurement()
    assert msgspec.json.decode(msgspec.json.encode(one), type=Measurement) == one


def test_quick_profile_licenses_p99_in_three_blocks_within_its_time():
    quick = PROFILES["quick"]
    assert quick.blocks >= 3
    assert quick.blocks * quick.single_stream["compute"].min_queries >= 459
    per_block = [*quick.single_stream.values(), *quick.offline.values()]
    assert quick.blocks * sum(budget.min_ms for budget in per_block) <= 6000


def test_full_profile_licenses_p99_9_and_runs_a_minute_each():
    full = PROFILES["full"]
    for budget in [*full.single_stream.values(), *full.offline.values()]:
        assert full.blocks * budget.min_ms == 60_000
    assert full.blocks * full.single_stream["compute"].min_queries >= 4603


def test_smoke_profile_takes_about_a_second_and_licenses_p90():
    smoke = PROFILES["smoke"]
    per_block = [*smoke.single_stream.values(), *smoke.offline.values()]
    assert smoke.blocks * sum(budget.min_ms for budget in per_block) <= 1000
    assert smoke.blocks * smoke.single_stream["compute"].min_queries >= 44


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 0}, r"measure\.threads: got 0, expected >= 1"),
        ({"offline_batch": 0}, "offline_batch"),
        ({"cold_starts": -1}, "cold_starts"),
        ({"scenarios": []}, "scenarios"),
        ({"scenarios": ["offline", "offline"]}, "each once"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(**changes)


def test_protocol_messages_keep_their_kind():
    block = RunBlock(id=1, scope="compute", scenario="offline", budget=PROFILES["smoke"].offline["compute"])
    for message in (block, Quit()):
        assert msgspec.json.decode(msgspec.json.encode(message), type=Command) == message
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(block), type=Answer)
