"""Agreement of a bundle with stored answers, on images whose logits can be added up by hand."""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from compactor.cli.store_command import command
from compactor.data.spec import DataSpec
from compactor.label_store.header import Head, Part, Payload, Transform
from compactor.label_store.quantization import compress
from compactor.label_store.write import StoreWriter, ids_file
from compactor.release.agreement import stored_agreement
from compactor.tasks import task_named
from compactor.tasks.image_classification import write_pngs
from compactor_runtimes.errors import UsageError
from compactor_runtimes.stats.metrics import wilson
from tests.compactor import label_toys
from tests.runtimes.conftest import LABELS, write_bundle

# Colour planes of the report images, in the order of the folder: blue/0, blue/1, green/0, red/0. The bundle's
# logits are 16 pixels * value / 255.
PLANES = np.array([[255, 0, 0], [9, 9, 9], [51, 102, 0], [255, 51, 0]], np.uint8)
# What the teachers said of 0, 2 and 3, as if a recipe's limit had left out 1.
IDS = np.array([0, 2, 3])
SAID = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.125, 0.125, 0.75]])


@dataclass(frozen=True)
class Case:
    """A folder of images, a store that labelled some of them, and a bundle."""

    data: Path
    store: Path
    bundle: Any


def case(root: Path, payload: Payload | None = None, classes: list[str] | None = None) -> Case:
    data = root / "data"
    for name, rows in {"blue": [0, 1], "green": [2], "red": [3]}.items():
        write_pngs(_images(PLANES[:1]), data / "train" / name, prefix="i")
        write_pngs(_images(PLANES[rows]), data / "test" / name, prefix="i")
    spec = DataSpec(dataset=str(data), classes=LABELS)
    opened = task_named("image-classification").open(spec, base=root)
    assert (opened.report.inputs[:, 0, 0] == PLANES).all()
    bundle = write_bundle(root / "bundle")
    bundle.replace(provenance={"recipe": {"data": msgspec.to_builtins(spec), "stages": []}})
    source = opened.info.extra["sources"]["report"]
    _write_store(root / "store", payload or Payload(kind="full"), classes or LABELS, str(data), source)
    return Case(data, root / "store", bundle)


def _images(planes: Any) -> Any:
    return np.ascontiguousarray(np.broadcast_to(planes[:, None, None, :], (len(planes), 4, 4, 3)))


def _write_store(folder: Path, payload: Payload, classes: list[str], data: str, source: str) -> None:
    file, _, digest = ids_file("report", IDS)
    part = Part(
        split="report", rows=3, views=1, source=source, ids=file, ids_sha256=digest, shard_rows=3
    )  # fmt: skip
    header = label_toys.header(
        payload=payload,
        heads=[Head(name="label", num_classes=3)],
        classes={"label": classes},
        transform=Transform(augment=label_toys.PAD, image=(4, 4, 3)),
        parts=[part],
    )
    writer = StoreWriter(folder, msgspec.structs.replace(header, data=data), {"report": IDS})
    (job,) = writer.missing()
    records = writer.empty(job)
    records["box"] = [0, 0, 4, 4]
    for name, kept in compress(torch.from_numpy(SAID), payload).items():
        records[f"label.{name}"][:, 0] = kept
    writer.write(job, records)
    assert writer.finish()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPACTOR_CACHE", str(tmp_path / "cache"))


def kl_by_hand() -> float:
    """Mean over the three samples of sum p (log p - log softmax(logits))."""
    total = 0.0
    for number, said in zip(IDS, SAID, strict=True):
        logits = [16 * float(value) / 255 for value in PLANES[number]]
        log_sum = math.log(sum(math.exp(value) for value in logits))
        total += sum(
            p * (math.log(p) - (logit - log_sum)) for p, logit in zip(said, logits, strict=True) if p
        )
    return total / len(IDS)


def test_agreement_and_kl_by_hand(tmp_path: Path) -> None:
    """The bundle says red, green, red; the teachers red, green, blue."""
    made = case(tmp_path)
    found = stored_agreement(made.store, made.bundle.path)
    low, high = wilson(2, 3)
    assert msgspec.to_builtins(found.agreement) == {"value": 2 / 3, "low": low, "high": high, "n": 3}
    assert found.mean_kl == pytest.approx(kl_by_hand(), rel=1e-5)  # the graph runs in float32
    assert "agreement and KL are exact" in found.exactness


def test_a_top_k_store_says_how_exact_it_is(tmp_path: Path) -> None:
    """Place 1 of 3 and its tail: the others share the rest evenly, which is so in these labels."""
    made = case(tmp_path, Payload(kind="top-k", k=1, probabilities="float32"))
    found = stored_agreement(made.store, made.bundle.path)
    assert found.agreement.value == pytest.approx(2 / 3)
    assert found.mean_kl == pytest.approx(kl_by_hand(), rel=1e-5)
    assert "the mass of the other 2 classes, which KL spreads evenly over them" in found.exactness


def test_a_hard_store_knows_no_divergence(tmp_path: Path) -> None:
    made = case(tmp_path, Payload(kind="hard"))
    found = stored_agreement(made.store, made.bundle.path)
    assert found.agreement.value == pytest.approx(2 / 3)
    assert found.mean_kl is None
    assert "mean KL(teachers || artifact): not known" in found.lines()


def test_the_data_may_lie_elsewhere_but_must_be_the_same(tmp_path: Path) -> None:
    made = case(tmp_path)
    moved = tmp_path / "moved"
    made.data.rename(moved)
    assert stored_agreement(made.store, made.bundle.path, data=str(moved)).agreement.n == 3
    other = Path(shutil.copytree(moved, tmp_path / "other"))
    write_pngs(np.zeros((1, 4, 4, 3), np.uint8), other / "test" / "red", prefix="more")
    with pytest.raises(UsageError, match=r"data .*other: are not those that were labelled \(digest"):
        stored_agreement(made.store, made.bundle.path, data=str(other))


def test_the_bundles_recipe_says_how_the_data_are_read(tmp_path: Path) -> None:
    """Without it, nothing says the order of the classes, and other labels are other data."""
    made = case(tmp_path)
    made.bundle.replace(provenance={})
    with pytest.raises(UsageError, match="are not those that were labelled"):
        stored_agreement(made.store, made.bundle.path)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    made = case(tmp_path / "a")
    with pytest.raises(UsageError, match=r"has no part select \(it has report\); label with"):
        stored_agreement(made.store, made.bundle.path, split="select")
    named = case(tmp_path / "b", classes=["red", "green", "grey"])
    with pytest.raises(UsageError, match="has other classes than the label store"):
        stored_agreement(named.store, named.bundle.path)


def test_the_command_prints_agreement_with_its_interval(tmp_path: Path) -> None:
    made = case(tmp_path)
    run, arguments = CliRunner(), ["agreement", str(made.store), str(made.bundle.path), "--quiet"]
    lines = run.invoke(command, arguments, catch_exceptions=False).output.splitlines()
    assert lines[0].endswith("artifact fp32, against the stored answers on report")
    assert lines[1] == "top-1 agreement: 66.67% [20.77, 93.85] (n = 3, Wilson 95%)"
    found = json.loads(run.invoke(command, [*arguments, "--json"], catch_exceptions=False).output)
    assert (found["split"], found["agreement"]["n"]) == ("report", 3)
