"""How often a bundle answers what the teachers said, from the store's evaluation part: no teacher runs."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from compactor.evaluation import artifact_answers, stored_answers
from compactor.label_store.header import Header
from compactor.label_store.labelled_data import open_labelled, specs_of_bundle
from compactor.label_store.store import LabelStore, StorePart, open_store
from compactor.label_store.unfinished import require_finished
from compactor.progress import Reporter, SilentReporter
from compactor.tasks import Task, task_named
from compactor_runtimes.bundle.open import Bundle, open_bundle
from compactor_runtimes.bundle.opening import open_artifact
from compactor_runtimes.errors import UsageError
from compactor_runtimes.stats.metrics import Interval, agreement, mean_kl, wilson

Evaluation = Literal["report", "select"]


@dataclass(frozen=True)
class StoredAgreement:
    """Top-1 agreement with its 95% interval, and mean KL(teachers || artifact) in nats.

    `mean_kl` is None where the store keeps the largest class alone.
    """

    bundle: str
    artifact: str
    split: str
    agreement: Interval
    mean_kl: float | None
    exactness: str

    def lines(self) -> list[str]:
        """Lines for the terminal."""
        one = self.agreement
        kl = "not known" if self.mean_kl is None else f"{self.mean_kl:.4f} nats"
        return [
            f"{self.bundle}, artifact {self.artifact}, against the stored answers on {self.split}",
            f"top-1 agreement: {100 * one.value:.2f}% [{100 * one.low:.2f}, {100 * one.high:.2f}] "
            f"(n = {one.n:,}, Wilson 95%)",
            f"mean KL(teachers || artifact): {kl}",
            self.exactness,
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json."""
        return {
            "bundle": self.bundle,
            "artifact": self.artifact,
            "split": self.split,
            "agreement": msgspec.to_builtins(self.agreement),
            "mean_kl_nats": self.mean_kl,
            "exactness": self.exactness,
        }


def stored_agreement(
    store: Path,
    bundle: Path,
    *,
    split: Evaluation = "report",
    data: str | None = None,
    reporter: Reporter | None = None,
) -> StoredAgreement:
    """Open a store, a bundle and the data that were labelled, and compare; see `agreement_of`.

    Args:
        store: folder of the store.
        bundle: folder of the bundle.
        split: which evaluation part.
        data: where the data lie; absent: by the name that the store has.
        reporter: where progress goes.

    Raises:
        UsageError: store, bundle and data do not belong together, or the store has no such part.
        IntegrityError: the store or the bundle is damaged or not finished.
    """
    reporter = reporter or SilentReporter()
    require_finished(store)
    return agreement_of(
        open_store(store, reporter=reporter), open_bundle(bundle), split=split, data=data, reporter=reporter
    )


def agreement_of(
    store: LabelStore, bundle: Bundle, *, split: Evaluation, data: str | None, reporter: Reporter
) -> StoredAgreement:
    """Run the bundle's default artifact on the samples of the store's part, and compare the answers.

    The samples are those whose ids the part holds; they are not split again.

    Raises:
        UsageError: see `stored_agreement`.
    """
    header, manifest = store.header, bundle.manifest
    task = task_named(manifest.task)
    part = _part(store, split)
    _require_same_classes(header, bundle, task)
    specs = specs_of_bundle(header, bundle, data=data)
    opened = open_labelled(part, task, specs, reporter=reporter)
    said = stored_answers(store, opened)
    assert said is not None  # the split has the part's own rows
    artifact = next(one for one in manifest.main.artifacts if one.name == manifest.default_artifact)
    with (
        closing(open_artifact(bundle, artifact)) as runtime,
        reporter.bar(f"ask {artifact.name}", len(opened)) as bar,
    ):
        answers = artifact_answers(runtime, manifest.main.outputs, task.batches(opened), progress=bar.at)
    teacher, student = said[task.head.name], answers[task.head.name]
    n = len(teacher)
    share = agreement(teacher, student)
    low, high = wilson(round(share * n), n)
    known = header.payload.kind != "hard"
    return StoredAgreement(
        bundle=str(bundle.path),
        artifact=artifact.name,
        split=split,
        agreement=Interval(value=share, low=low, high=high, n=n),
        mean_kl=mean_kl(teacher, student) if known else None,
        exactness=_exactness(header, task),
    )


def _part(store: LabelStore, split: Evaluation) -> StorePart:
    part = store.parts.get(split)
    if part is None:
        have = ", ".join(store.parts)
        raise UsageError(
            f"label store {store.folder}: has no part {split} (it has {have}); label with "
            "labels.evaluation: true"
        )
    return part


def _require_same_classes(header: Header, bundle: Bundle, task: Task) -> None:
    head = task.head
    if not head.is_labelled or head.name not in header.classes:
        raise UsageError(
            f"{bundle.path}: is a bundle of task {bundle.manifest.task}, whose answers are not the "
            "classes that the label store holds; give a bundle that classifies"
        )
    labels, classes = bundle.manifest.labels.get(head.name, []), header.classes[head.name]
    if labels != classes:
        raise UsageError(
            f"{bundle.path}: has other classes than the label store ({_few(labels)} found, {_few(classes)} "
            "expected); give a bundle of the same data set"
        )


def _few(names: list[str]) -> str:
    return f"{len(names)}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def _exactness(header: Header, task: Task) -> str:
    """What the store keeps of an answer, in one sentence."""
    payload = header.payload
    if payload.kind == "hard":
        return (
            "the store keeps the teachers' largest class alone: agreement is exact, divergence is not known"
        )
    if payload.kind == "full":
        return "the store keeps every probability as float32: agreement and KL are exact"
    others = len(header.classes[task.head.name]) - payload.k
    kept = f"the store keeps the {payload.k} largest probabilities ({payload.probabilities})"
    if others <= 0:
        return f"{kept}, which are all classes: agreement is exact, KL up to that rounding"
    return (
        f"{kept} and the mass of the other {others:,} classes, which KL spreads evenly over them: agreement "
        "is exact, KL is of these recovered labels"
    )
