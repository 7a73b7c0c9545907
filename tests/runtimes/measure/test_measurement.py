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


@pytest.mark.parametrize(
    ("name", "compute", "whole", "most_ms"),
    [("quick", 459, 90, 6_000), ("standard", 4603, 459, 40_000), ("long", 4603, 4603, 240_000)],
)
def test_profiles_license_their_percentiles_within_their_time(name, compute, whole, most_ms):
    profile = PROFILES[name]
    assert profile.blocks >= 8  # so that two subjects can be told apart at 99%
    assert profile.blocks * profile.single_stream["compute"].min_queries >= compute
    assert profile.blocks * profile.single_stream["end-to-end"].min_queries >= whole
    per_block = [*profile.single_stream.values(), *profile.offline.values()]
    assert profile.blocks * sum(budget.min_ms for budget in per_block) <= most_ms


def test_smoke_profile_takes_about_a_second_and_licenses_p90():
    smoke = PROFILES["smoke"]
    per_block = [*smoke.single_stream.values(), *smoke.offline.values()]
    assert smoke.blocks * sum(budget.min_ms for budget in per_block) <= 1000
    assert smoke.blocks * smoke.single_stream["compute"].min_queries >= 44


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 0}, r"measure\.threads: got 0, expected >= 1"),
        ({"offline_batches": [8, 0]}, "offline_batches"),
        ({"offline_batches": []}, "offline_batches"),
        ({"cold_starts": -1}, "cold_starts"),
        ({"scenarios": []}, "scenarios"),
        ({"scenarios": ["offline", "offline"]}, "each once"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(**changes)


def test_protocol_messages_keep_their_kind():
    block = RunBlock(
        id=1, scope="compute", scenario="offline", batch=8, budget=PROFILES["smoke"].offline["compute"]
    )
    for message in (block, Quit()):
        assert msgspec.json.decode(msgspec.json.encode(message), type=Command) == message
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(block), type=Answer)
