"""What a measured process does with texts: decoded feeds keep their own lengths, answers become labels."""

import sys
from pathlib import Path

import numpy as np
import pytest

from compactor_runtimes.bundle.manifest import DecodeImage, ImagePre, SoftmaxPost, ToFloat
from compactor_runtimes.measure.child import Child
from compactor_runtimes.measure.harness import measure
from compactor_runtimes.measure.measurement import Candidate, FirstAnswer, Job, MemoryUse, Settings
from compactor_runtimes.measure.subject import Subject
from tests.runtimes.slot_bundles import write_slot_bundle
from tests.runtimes.text_bundles import write_text_bundle


@pytest.fixture
def bundle(tmp_path):
    return write_text_bundle(tmp_path / "bundle")


@pytest.fixture
def samples(tmp_path):
    paths = []
    for index, text in enumerate(["turn on the light", "music", "off"]):
        paths.append(tmp_path / f"{index}.txt")
        paths[-1].write_text(text + "\n", encoding="utf-8")
    return paths


def candidate(bundle, **changes):
    fields = {
        "name": "words",
        "runtime": "ort-cpu",
        "source": str(bundle.path / "artifacts/fp32.onnx"),
        "digest": "d",
        "pre": bundle.manifest.pre,
        "post": bundle.manifest.post,
        "labels": bundle.manifest.labels,
        "size_bytes": 1,
        "assets": str(bundle.path),
    }
    return Candidate(**fields | changes)


def job(one, samples):
    return Job(
        candidate=one,
        raw_samples=[str(path) for path in samples],
        threads=1,
        batches=[1, 2],
    )


def test_single_texts_run_unpadded_and_batches_padded_to_their_own_longest(bundle, samples, monkeypatch):
    subject = Subject(job(candidate(bundle), samples))
    subject.read([str(path) for path in samples], at_least=2)
    seen = []
    monkeypatch.setattr(subject.runtime, "run", lambda feeds: seen.append(feeds))
    for index in range(4):
        subject.compute(index, 1)
    assert [feeds["input_ids"].tolist() for feeds in seen] == [
        [[2, 4, 5, 7, 8, 3]],
        [[2, 9, 3]],
        [[2, 6, 3]],
        [[2, 4, 5, 7, 8, 3]],
    ]
    assert all((feeds["attention_mask"] == 1).all() for feeds in seen)
    assert seen[0] is seen[3]  # lies ready, is not made again
    seen.clear()
    for index in range(2):
        subject.compute(index, 2)
    assert [feeds["attention_mask"].tolist() for feeds in seen] == [
        [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]],
        [[1, 1, 1], [1, 1, 1]],
    ]


def test_end_to_end_gives_labels_and_for_embeddings_their_width(bundle, samples, tmp_path):
    subject = Subject(job(candidate(bundle), samples))
    subject.read([str(path) for path in samples], at_least=2)
    assert subject.end_to_end(1, 2) == ["music", "off"]
    vectors = write_text_bundle(tmp_path / "vectors", embedding=True)
    subject = Subject(job(candidate(vectors), samples))
    subject.read([str(path) for path in samples], at_least=1)
    assert subject.end_to_end(0, 1) == ["3 numbers"]


def test_end_to_end_of_slots_decodes_them(bundle, samples, tmp_path, monkeypatch):
    slots = write_slot_bundle(tmp_path / "slots")
    subject = Subject(job(candidate(slots), samples))
    subject.read([str(path) for path in samples], at_least=2)
    subject.rehearse([1, 2])
    said = []
    monkeypatch.setattr(subject.decode, "say", said.append)
    subject.end_to_end(0, 2)
    assert [[slot.value for slot in answer.slots] for answer in said] == [["the light"], ["music"]]
    monkeypatch.undo()
    assert subject.end_to_end(1, 2) == ["music", "off"]
    alone = write_slot_bundle(tmp_path / "alone", intents=False)
    subject = Subject(job(candidate(alone), samples))
    subject.read([str(path) for path in samples], at_least=1)
    assert subject.end_to_end(0, 2) == ["1 slots", "1 slots"]


def test_a_candidate_names_its_runtime_and_what_the_opener_takes(bundle, samples, monkeypatch):
    expected = Subject(job(candidate(bundle), samples))
    found = Subject(job(candidate(bundle, runtime="openvino"), samples))
    assert found.runtime.provider.startswith("OpenVINO")
    for subject in (expected, found):
        subject.read([str(path) for path in samples], at_least=2)
    assert found.end_to_end(0, 2) == expected.end_to_end(0, 2)
    given = {}

    def engine(source, **options):  # an engine has no threads, whatever the others are given
        given.update(options)
        return expected.runtime

    monkeypatch.setattr("compactor_runtimes.backends.tensorrt.open_tensorrt_rtx", engine)
    Subject(job(candidate(bundle, runtime="tensorrt-rtx", options={"trust": True}), samples))
    assert given == {"threads": None, "trust": True}


def test_images_stay_views_of_one_array(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    paths = []
    for index in range(3):
        paths.append(tmp_path / f"{index}.png")
        image.new("RGB", (4, 4), (index,) * 3).save(paths[-1])
    toy = Candidate(
        name="toy",
        runtime="toy_runtimes:instant",
        source="/nowhere",
        digest="d",
        pre=[ImagePre(input="image", steps=[DecodeImage(), ToFloat(scale=1.0)])],
        post=[SoftmaxPost(output="logits", labels="label")],
        labels={"label": ["dark", "bright"]},
        size_bytes=1,
    )
    subject = Subject(job(toy, paths))
    subject.read([str(path) for path in paths], at_least=2)
    subject.rehearse([1, 2])
    singles, pairs = subject.decoded[1], subject.decoded[2]
    assert [feeds["image"][:, 0, 0, 0].tolist() for feeds in pairs] == [[0, 1], [1, 2]]
    assert len(singles) == 3
    assert all(np.shares_memory(feeds["image"], subject.whole["image"]) for feeds in pairs + singles)


@pytest.mark.slow
def test_a_text_candidate_is_measured_in_its_own_process(bundle, samples, tmp_path):
    with Child(job(candidate(bundle), samples), tmp_path, python=sys.executable, cold_start=True) as child:
        assert child.receive(FirstAnswer, seconds=60).label == "on"
        assert child.receive(MemoryUse, seconds=60).rss_peak_bytes > 10 << 20
    settings = Settings(profile="smoke", scenarios=["single-stream"], cold_starts=0, threads=1)
    found = measure([candidate(bundle)], samples, settings).measurements
    assert [(one.scope, one.batch) for one in found] == [("compute", 1), ("end-to-end", 1)]
    assert found[1].median_ns > found[0].median_ns > 0
