"""The file of a profile: what is written is read, samples are compressed, damage is refused in words."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.measure import profile_file
from compactor_runtimes.measure.anatomy import Anatomy, Split
from compactor_runtimes.measure.machine_profile import MachineProfile, ProfileSubject, Recommendation
from compactor_runtimes.measure.measurement import Settings
from compactor_runtimes.measure.profile_file import pack, read_profile, schema, unpack, write_profile
from tests.runtimes.toy_measurement import measurement


@pytest.fixture
def profile():
    split = Split(samples_ns={"decode": [5, 6], "copy": [0, 0], "compute": [7, 9], "post": [1, 1]})
    return MachineProfile(
        title="toy",
        command="compactor measure toy",
        created="2026-01-01T00:00:00+00:00",
        tool_version="0",
        environment={"cpu": "toy"},
        settings=Settings(),
        subjects=[
            ProfileSubject(
                name="fp32 @ ort-cpu",
                bundle="toy",
                bundle_digest="d",
                artifact="fp32",
                runtime="ort-cpu",
                precision="fp32",
                size_bytes=1,
            )
        ],
        measurements=[measurement("fp32 @ ort-cpu", "compute", "single-stream", [1000, 999, 1001] * 500)],
        anatomies=[Anatomy(subject="fp32 @ ort-cpu", split=split), Anatomy(subject="x")],
        recommendation=Recommendation(policy="latency", subject="fp32 @ ort-cpu", why="the only one"),
    )


def test_what_is_written_is_read_and_small(profile, tmp_path):
    path = tmp_path / "profile.json"
    write_profile(profile, path)
    assert read_profile(path) == profile
    assert path.stat().st_size < 6000  # 1,500 samples as numbers alone would take more
    assert json.loads(path.read_text())["measurements"][0]["samples_ns"]["n"] == 1500


@given(st.lists(st.integers(0, 2**62), max_size=50))
def test_integers_survive_packing(values):
    assert unpack(pack(values)) == values


def test_samples_are_what_they_say_or_refused():
    packed = pack([1, 2, 3])
    for damaged in (
        packed | {"n": 2},
        packed | {"n": 4},
        packed | {"n": -1},
        packed | {"n": 10**12},
        packed | {"zlib": "?"},
        packed | {"zlib": "AAAA"},
        pack([0] * 1_000_000) | {"n": 3},  # a few kilobytes that would become 8 MB
    ):
        with pytest.raises(ValueError, match=r"found|base64|Invalid|Incorrect"):
            unpack(damaged)


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: [],
        lambda plain: {},
        lambda plain: None,
        lambda plain: plain | {"schema_version": 99},
        lambda plain: plain | {"unknown": 1},
        lambda plain: plain | {"measurements": 5},
        lambda plain: plain | {"measurements": [5]},
        lambda plain: plain | {"anatomies": [{"split": 3}]},
        lambda plain: {key: value for key, value in plain.items() if key != "subjects"},
    ],
)
def test_a_damaged_profile_is_one_sentence_that_says_what_to_do(profile, tmp_path, change):
    path = tmp_path / "profile.json"
    write_profile(profile, path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(IntegrityError, match="measure again with: compactor measure BUNDLE"):
        read_profile(path)


def test_deep_nesting_and_bytes_of_another_kind_are_damage(tmp_path):
    path = tmp_path / "profile.json"
    for content in (b"[" * 100_000, b"\xff\xfe", b""):
        path.write_bytes(content)
        with pytest.raises(IntegrityError):
            read_profile(path)


def test_a_file_of_any_size_is_not_read_whole(profile, tmp_path, monkeypatch):
    path = tmp_path / "profile.json"
    write_profile(profile, path)
    monkeypatch.setattr(profile_file, "MOST_BYTES", 100)
    with pytest.raises(IntegrityError, match="which no profile has"):
        read_profile(path)


def test_no_file_is_said_as_such(tmp_path):
    with pytest.raises(UsageError, match="does not exist; give the file that `compactor measure BUNDLE"):
        read_profile(tmp_path / "none")
    with pytest.raises(UsageError, match="is a folder"):
        read_profile(tmp_path)


def test_the_schema_tells_of_the_file_and_not_of_the_record(profile, tmp_path):
    definitions = schema()["$defs"]
    assert definitions["Measurement"]["properties"]["samples_ns"]["required"] == ["n", "zlib"]
    assert set(definitions["MachineProfile"]["properties"]) == set(MachineProfile.__struct_fields__)
    assert msgspec.json.encode(schema())
