"""The mixer behind `mixer: parc`: score every teacher, fit its probe, and mix what the probes answer."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from compactor.mixers import Seen, TeacherMixer
from compactor.mixers.averages import MEANS
from compactor.mixers.linear_probe import LinearProbe, fit_probe
from compactor.mixers.parc_score import parc_score
from compactor.records import PENULTIMATE, DataInfo, Outputs
from compactor_runtimes.errors import UsageError

FEWEST = 3  # rows that a correlation of their distances needs


class ParcMixer(TeacherMixer):
    """log p = log sum_s w_s softmax(z_s), logits = sum_s w_s z_s, z_s the answers of teacher s's head.

    1. Training rows with a label are taken in an order that their ids decide alone: PARC is of the first
       `samples`, a probe of the first `probe_rows`.
    2. A teacher without weight is not asked any more.
    """

    needs = frozenset({PENULTIMATE})

    def __init__(
        self,
        *,
        power: float,
        nearest: bool,
        samples: int,
        components: int | None,
        probe_rows: int | None,
        l2: float,
    ) -> None:
        """Know nothing yet; without `probe_rows` teachers answer by their own heads (see mixers/parc.py)."""
        self.power, self.nearest, self.samples, self.components = power, nearest, samples, components
        self.probe_rows, self.l2, self.has_heads = probe_rows, l2, probe_rows is not None
        self.head = ""
        self.scores: list[float] = []
        self.weights: list[float] = []
        self.accuracy: list[float] = []  # of each head on select, empty where nothing is labelled there
        self.judged = 0  # rows of select that it is of
        self.probes: list[LinearProbe] = []

    def asks(self, number: int) -> bool:
        """Rule 2."""
        return not self.weights or self.weights[number] > 0

    def fit(self, info: DataInfo, train: Seen, select: Seen) -> None:
        """Score the teachers, weigh them, and fit and judge their heads.

        Raises:
            UsageError: too few labelled rows, one class alone, or no teacher whose features tell them apart.
        """
        self.head, self.weights = info.heads[0].name, []  # all are asked
        features, labels = _labelled(train, self.head, max(self.samples, self.probe_rows or 0))
        few = labels[: self.samples]
        if len(few) < FEWEST or _classes(few) < 2:
            raise UsageError(
                f"mixer parc: scores teachers on labelled training rows, {len(few):,} of "
                f"{_classes(few)} classes found, expected at least {FEWEST} of 2; label some rows"
            )
        self.scores = [parc_score(rows[: self.samples], few, components=self.components) for rows in features]
        weights = weights_of(self.scores, self.power, nearest=self.nearest)
        if self.probe_rows is not None:
            most, classes = self.probe_rows, info.num_classes(self.head)
            self.probes = [
                fit_probe(rows[:most], labels[:most], num_classes=classes, l2=self.l2) for rows in features
            ]
        self._judge(select)
        self.weights = weights

    def _judge(self, select: Seen) -> None:
        """Count how often each head is right on select rows that have a label."""
        right = [0] * len(self.scores)
        self.judged = 0
        for outputs, batch in select:
            labels = batch.y.get(self.head)
            if labels is None:
                continue
            known = labels >= 0
            self.judged += int(known.sum())
            for number, one in enumerate(outputs):
                answered = self._answers(one, number).argmax(-1)
                right[number] += int((answered == labels)[known].sum())
        self.accuracy = [count / self.judged for count in right] if self.judged else []

    def _answers(self, output: Outputs, number: int) -> Tensor:
        """Logits [B, C] of a teacher's head, float32."""
        if not self.probes:
            return output.logits[self.head].float()
        features = output.features[PENULTIMATE]
        with torch.autocast(features.device.type, enabled=False):
            return self.probes[number](features)

    def __call__(self, outputs: list[Outputs]) -> Outputs:
        """Mix the answers of all teachers that have a weight."""
        assert self.weights, "fit comes first"
        asked = [number for number in range(len(outputs)) if self.asks(number)]
        found = [self._answers(outputs[number], number) for number in asked]
        shares = torch.tensor([self.weights[number] for number in asked], dtype=torch.float64).float()
        logits, log_probs = MEANS["softmax"](found, shares)
        assert log_probs is not None
        return Outputs({self.head: logits}, {self.head: log_probs}, outputs[0].features)

    def told(self, names: Sequence[str]) -> list[str]:
        """Each teacher's score and weight, and how often its head is right."""
        whose = "its probe" if self.has_heads else "its own head"
        said = []
        for number, name in enumerate(names):
            right = ""
            if self.accuracy:
                share = 100 * self.accuracy[number]
                right = f", {whose} is right on {share:.1f}% of {self.judged:,} select rows"
            said.append(
                f"teacher {name}: PARC {self.scores[number]:.3f}, weight {self.weights[number]:.3f}{right}"
            )
        return said

    def summary(self) -> dict[str, Any]:
        """Scores, weights and accuracies in the teachers' order."""
        found = {"scores": self.scores, "weights": self.weights, "select_accuracy": self.accuracy}
        return {"parc": found}


def weights_of(scores: Sequence[float], power: float, *, nearest: bool = False) -> list[float]:
    """max(0, score)^power over its sum, or 1 for the best score (the first of several) alone.

    `power` 0 weighs all alike, those without a positive score too.

    Raises:
        UsageError: no score is positive, though weights hang on them.
    """
    if power == 0 and not nearest:
        return [1 / len(scores)] * len(scores)
    best = max(scores)
    if best <= 0:
        raise UsageError(
            f"mixer parc: no teacher's features tell the data's classes apart (the best score is {best:.3f}, "
            "expected above 0); name other teachers, or set power: 0, which weighs all alike"
        )
    if nearest:
        return [float(number == scores.index(best)) for number in range(len(scores))]
    found = [(max(score, 0.0) / best) ** power for score in scores]
    return [one / sum(found) for one in found]


def _classes(labels: Tensor) -> int:
    return len(set(labels.tolist()))


def _labelled(seen: Seen, head: str, most: int) -> tuple[list[Tensor], Tensor]:
    """Each teacher's features [n, D] of at most `most` labelled rows, and their labels [n], by rule 1."""
    keys: list[bytes] = []
    parts: list[list[Tensor]] = []
    for outputs, batch in seen:
        if head not in batch.y:
            continue
        known = batch.y[head] >= 0
        columns = [batch.y[head], *(one.features[PENULTIMATE].float() for one in outputs)]
        keys += [_key(number) for number in batch.id[known].tolist()]
        parts.append([one[known] for one in columns])
        if len(keys) > 2 * most:
            keys, parts = _first(keys, parts, most)
    if not keys:
        return [], torch.empty(0, dtype=torch.int64)
    _, ((labels, *features),) = _first(keys, parts, most)
    return features, labels


def _first(keys: list[bytes], parts: list[list[Tensor]], most: int) -> tuple[list[bytes], list[list[Tensor]]]:
    """The rows of the smallest keys, in their order."""
    order = sorted(range(len(keys)), key=keys.__getitem__)[:most]
    whole = [torch.cat(column) for column in zip(*parts, strict=True)]
    return [keys[place] for place in order], [[column[order] for column in whole]]


def _key(number: int) -> bytes:
    """A random place for a sample, by its id alone."""
    return blake2b(number.to_bytes(8, "little", signed=True), digest_size=8).digest()
