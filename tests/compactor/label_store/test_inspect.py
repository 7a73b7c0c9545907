"""What `store inspect` says of a store whose confidences were chosen by hand."""

import io
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from compactor.cli.store_command import command
from compactor.label_store.header import Head, Payload
from compactor.label_store.inspect import Inspection, inspect_store
from compactor.label_store.inspect_terminal import describe_teacher, render_inspection
from compactor.label_store.thresholds import Thresholds
from compactor.label_store.write import StoreWriter
from compactor.tasks import task_named
from compactor_runtimes.errors import IntegrityError, UsageError
from tests.command_line import compactor
from tests.compactor import label_toys

IMAGES = task_named("image-classification")
# largest probability and its class, of 5 samples with 2 views
SURE = [[0.25, 0.9999], [0.45, 0.65], [0.85, 0.95], [0.992, 0.995], [0.9995, 0.9995]]
TOP = [[0, 0], [1, 1], [1, 1], [2, 2], [2, 0]]
VALUES = Thresholds(low=0.3, mid=0.7, top=0.999, unit="values")


def write(folder: Path, sure: Any = SURE, top: Any = TOP, **changes: Any) -> Path:
    """A store of the largest of ten probabilities and its class; the rest of the mass is its tail."""
    confidence, classes = np.array(sure), np.array(top)
    data = label_toys.splits(len(confidence))
    payload = Payload(kind="top-k", k=1, probabilities="float32")
    header = label_toys.header(data, payload=payload, views=confidence.shape[1])
    header = msgspec.structs.replace(header, **changes)
    writer = StoreWriter(folder, header, {name: split.rows for name, split in data.items()})
    for job in writer.missing():
        records = writer.empty(job)
        records["box"] = [0, 0, 8, 8]
        rows = slice(job.first, job.first + job.rows)
        train = job.part.split == "train"
        records["label.p"][..., 0] = 1 - confidence[rows] if train else 0.5
        records["label.ids"][..., 0] = classes[rows] if train else 3
        writer.write(job, records)
    assert writer.finish()
    return folder


def shown(found: Inspection) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render_inspection(found))
    return console.export_text()


@pytest.fixture
def sure(tmp_path: Path) -> Path:
    return write(tmp_path / "sure")


def test_confidences_by_hand(sure: Path) -> None:
    """Sorted: .25 .45 .65 .85 .95 .992 .995 .9995 .9995 .9999; q50 lies midway between 5th and 6th."""
    train, select = inspect_store(sure).confidences
    assert (train.split, select.split) == ("train", "select")
    assert train.counts == [0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 2, 3]
    assert train.quantiles["q50"] == pytest.approx(0.971, abs=1e-6)
    assert train.quantiles["q10"] == pytest.approx(0.25 + 0.9 * 0.2, abs=1e-6)  # 0.9 of the way to the 2nd
    assert train.above(0.99) == 0.5
    assert train.above(0.999) == pytest.approx(0.3)
    assert set(select.quantiles.values()) == {0.5}
    assert select.counts[5] == 6


def test_bins_by_hand_and_by_the_teachers_class(sure: Path) -> None:
    bins = inspect_store(sure, thresholds=VALUES, views_a_step=2).bins
    assert bins is not None
    assert bins.by == "teacher"
    assert bins.report["shares"] == pytest.approx(
        {"too-hard": 0.1, "hard": 0.2, "kept": 0.4, "too-easy": 0.3}
    )
    assert bins.views_of_class == {"class 0": 3, "class 1": 4, "class 2": 3}
    by_class = bins.report["by_class"]
    third = pytest.approx(1 / 3)
    assert by_class["class 0"] == {"too-hard": third, "hard": 0, "kept": 0, "too-easy": pytest.approx(2 / 3)}
    assert by_class["class 1"] == {"too-hard": 0, "hard": 0.5, "kept": 0.5, "too-easy": 0}
    # survivors of the five samples: 0, 2, 2, 2, 0
    assert bins.report["mean_survivors"] == pytest.approx(1.2)
    assert bins.report["filled_up"] == 2


def test_crops_per_image_default_to_what_there_is_and_cannot_be_more(sure: Path) -> None:
    bins = inspect_store(sure, thresholds=VALUES).bins
    assert bins is not None
    assert bins.views_a_step == 2
    with pytest.raises(UsageError, match="--crops-per-image: 3 found, but the label store holds 2 crops"):
        inspect_store(sure, thresholds=VALUES, views_a_step=3)


def test_the_hint_appears_when_more_than_half_is_above_99(sure: Path, tmp_path: Path) -> None:
    hint = "a teacher that memorised the train set"
    assert hint not in shown(inspect_store(sure))  # exactly half
    more = [[0.25, 0.9999], [0.45, 0.991], *SURE[2:]]
    assert hint in shown(inspect_store(write(tmp_path / "more", more)))


def test_sizes_are_held_against_the_record(sure: Path) -> None:
    """A record: 8 box, 1 flip, 1 class, 4 tail; 5 * 2 + 6 of them."""
    found = inspect_store(sure)
    assert found.record_bytes == {"box": 8, "flip": 1, "label.ids": 1, "label.p": 4}
    assert found.records == 16
    files = [path for path in sure.iterdir() if path.suffix in (".npy", ".json")]
    assert found.size_bytes == sum(path.stat().st_size for path in files)
    assert "the record itself 14 (box 8, flip 1, label.ids 1, label.p 4)" in shown(found)


def test_the_text_says_who_what_and_how(sure: Path) -> None:
    text = " ".join(shown(inspect_store(sure, thresholds=VALUES)).split())
    for expected in (
        "teachers toy (weights 8)",
        "data toys (label 10 classes)",
        "transform shifted by up to 2 pixels, half of them mirrored of 8 x 8 x 1 images; boxes as int16",
        "payload top-k (k 1, float32)",
        "train 5 2 10 1 toy-10-0",
        "confidence (largest probability) of 10 views of train",
        "0.999 to 1 30.00% 3 ████",
        "train 0.26800",  # q01: 0.09 of the way from 0.25 to 0.45
        "50.0% 30.0%",
        "FerKD's bins of 10 training views by the largest probability low 0.30000, mid 0.70000, top 0.99900",
        "all 10 10.00% 20.00% 40.00% 30.00%",
        "class 0 3 33.33% 0.00% 0.00% 66.67%",
        "the store holds no ground truth",
        "survivors: 1.20 views a sample; with 2 crops per image, 2 of 5 samples need",
    ):
        assert expected in text, (expected, text)


@pytest.mark.parametrize("kind", ["full", "top-k"])
def test_every_payload_with_probabilities_gives_the_same_confidences(kind: Any, tmp_path: Path) -> None:
    label_toys.make(tmp_path / "a", label_toys.header(payload=Payload(kind=kind, k=5)))
    label_toys.make(
        tmp_path / "b", label_toys.header(payload=Payload(kind="top-k", k=2, probabilities="float32"))
    )
    one, other = (
        inspect_store(folder, thresholds=VALUES).to_json() for folder in (tmp_path / "a", tmp_path / "b")
    )
    assert one["confidences"][0]["quantiles"] == pytest.approx(other["confidences"][0]["quantiles"], abs=1e-3)
    assert one["bins"]["views_of_class"] == other["bins"]["views_of_class"]


def test_a_hard_store_has_no_confidences(tmp_path: Path) -> None:
    label_toys.make(tmp_path, label_toys.header(payload=Payload(kind="hard")))
    found = inspect_store(tmp_path)
    assert found.confidences == []
    assert "no confidences: its payload `hard` keeps the largest class alone" in shown(found)
    with pytest.raises(UsageError, match="so there is nothing to bin; leave thresholds out"):
        inspect_store(tmp_path, thresholds=VALUES)
    pytest.importorskip("matplotlib")
    from compactor.label_store.confidence_plot import plot_confidences

    with pytest.raises(UsageError, match="leave --plot out"):
        plot_confidences(found, tmp_path / "plots")


def digits_store(folder: Path) -> tuple[Path, Any]:
    """A store that claims to have labelled digits; its teacher is always sure of class 3."""
    from compactor.data.spec import DataSpec

    data = IMAGES.open(DataSpec(dataset="digits"), base=folder)
    classes = data.info.classes
    header: dict[str, Any] = {
        "classes": classes,
        "data": "digits",
        "heads": [Head(name="label", num_classes=10)],
    }
    write(folder / "digits", np.full((4, 2), 0.75), np.full((4, 2), 3), **header)
    path = folder / "digits" / "store.json"
    source = data.info.extra["sources"]["train"]
    path.write_text(re.sub(r'"source": "[^"]*"', f'"source": "{source}"', path.read_text()))
    return folder / "digits", data.train.labels["label"][[0, 2, 4, 6]]


def test_ground_truth_is_read_from_the_data(tmp_path: Path) -> None:
    """Samples 0, 2, 4, 6 of the digits show 0, 2, 4, 6; the teacher gives each (1 - 0.75) / 9."""
    folder, truth = digits_store(tmp_path)
    assert truth.tolist() == [0, 2, 4, 6]
    thresholds = Thresholds(low=0.02, mid=0.5, unit="values", confidence="ground-truth")
    bins = inspect_store(folder, thresholds=thresholds).bins
    assert bins is not None
    assert bins.by == "ground truth"
    assert bins.report["shares"]["hard"] == 1  # 0.0278 lies between low and mid
    assert bins.views_of_class == {"0": 2, "2": 2, "4": 2, "6": 2}
    by_data = inspect_store(folder, thresholds=Thresholds(low=0.5, unit="values"), data="digits").bins
    assert by_data is not None
    assert by_data.report["by_class"]["4"]["kept"] == 1
    assert "classes are the ground truth of the data" in shown(inspect_store(folder, thresholds=thresholds))


def test_other_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = digits_store(tmp_path)
    path = folder / "store.json"
    path.write_text(re.sub(r'"source": "[^"]*"', '"source": "somethingelse"', path.read_text()))
    with pytest.raises(
        UsageError, match="data digits: are not those that were labelled .* somethingels expected"
    ):
        inspect_store(folder, thresholds=VALUES, data="digits")


def test_the_plot_is_written_twice_and_is_the_same_each_time(sure: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from compactor.label_store.confidence_plot import log_odds, plot_confidences

    assert log_odds([0.5, 0.75, 1.0]).tolist() == pytest.approx([0, np.log(3), np.log(99_999)])
    found = inspect_store(sure, thresholds=VALUES)
    png, svg = plot_confidences(found, tmp_path / "plots")
    assert (png.name, svg.name) == ("confidence.png", "confidence.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    again = plot_confidences(found, tmp_path / "again")
    assert [path.read_bytes() for path in again] == [png.read_bytes(), svg.read_bytes()]


def test_a_teacher_is_named_with_what_tells_its_weights() -> None:
    digest = "0123456789abcdef"
    assert describe_teacher({"stage": "stage:big", "weights": digest}) == "stage:big (weights 0123456789ab)"
    plain = {"model": "cifar:resnet8", "weights": digest, "options": {"width": 8}}
    assert describe_teacher(plain) == "cifar:resnet8 (weights 0123456789ab, width 8)"
    hub = {"model": "hf:owner/name", "weights": "pretrained", "folder": [digest, digest[::-1]]}
    assert describe_teacher(hub) == ("hf:owner/name (weights pretrained, files 0123456789ab fedcba987654)")


def test_the_command_prints_or_gives_json(sure: Path) -> None:
    run = CliRunner()
    text = run.invoke(command, ["inspect", str(sure), "--quiet"], catch_exceptions=False).output
    assert "plot: add --plot DIR to write confidence.png and confidence.svg there" in text
    assert not list(sure.glob("*.png"))
    arguments = ["inspect", str(sure), "--quiet", "--json", "--top", "0.999", "--unit", "values"]
    found = json.loads(run.invoke(command, arguments, catch_exceptions=False).output)
    assert found["header"]["payload"]["kind"] == "top-k"
    assert found["confidences"][0]["share_above"] == {"0.99": 0.5, "0.999": pytest.approx(0.3)}
    assert found["bins"]["shares"]["too-easy"] == pytest.approx(0.3)
    assert found["bins"]["thresholds"]["top"] == 0.999


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--unit", "values"], "--unit: has no effect without --low, --mid or --top"),
        (["--crops-per-image", "2"], "--crops-per-image: has no effect without --epochs or a threshold"),
        (["--low", "0.5", "--mid", "0.2"], "expected low <= mid <= top"),
    ],
)
def test_options_that_mean_nothing_are_refused(sure: Path, options: list[str], said: str) -> None:
    done = CliRunner().invoke(command, ["inspect", str(sure), "--quiet", *options])
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)


def test_an_unfinished_store_is_exit_code_7(tmp_path: Path) -> None:
    label_toys.make(tmp_path / "part", share=(1, 3))
    done = compactor("store", "inspect", "part", cwd=tmp_path)
    assert done.returncode == 7
    assert "label store part: is not finished, 3 of 7 shards are there" in done.stderr
    assert "run the same `compactor label` again" in done.stderr
    with pytest.raises(IntegrityError):
        inspect_store(tmp_path / "part")


def test_the_diagnosis_says_what_is_memorised_and_how_often_an_image_comes_up(tmp_path: Path) -> None:
    """The teacher says 3 of 0, 2, 4, 6 twice and of six select samples: right on 0 of 8 and 1 of 6."""
    folder, _ = digits_store(tmp_path)
    text = " ".join(shown(inspect_store(folder, data="digits", epochs=16, views_a_step=2)).split())
    for expected in (
        "full confidence: 0.0% of the training views are above 0.999",
        "teachers' top-1: 0.0% of 8 training views, 16.7% of 6 whole select samples: memorisation gap -16.7",
        # 7 passes of two crops, then two of one
        "over 16 epochs each sample comes up in 9 passes (2 crops an image), each of its 2 recorded",
        "several crops an image lost to one wherever it was measured (CIFAR-10, 10,000 images, 16 epochs and",
        "with teachers that had not memorised the images (CIFAR-10, cross-fitted; Imagenette)",
    ):
        assert expected in text, (expected, text)
    untold = " ".join(shown(inspect_store(folder)).split())
    assert "teachers' top-1: the ground truth was not read visits" not in untold
    assert "visits: --epochs E counts" in untold
