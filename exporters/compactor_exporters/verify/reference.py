"""What the student itself answers, in torch, on every feed of verification: computed once for all artifacts.

The feeds are those of `samples.py`; what an artifact answers on them is compared in `artifact.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from compactor_exporters.onnx_fp32 import canonical_graph
from compactor_exporters.source import ExportSource, forward
from compactor_exporters.verify.findings import Arrays, largest_magnitude
from compactor_exporters.verify.noise import NOISE_SAMPLES, measure_noise, noise_limit
from compactor_exporters.verify.samples import (
    LARGEST_BATCH,
    batches,
    count_samples,
    edge_samples,
    shape_grid,
    size,
)
from compactor_exporters.verify.text_samples import (
    PaddedPair,
    TextPorts,
    padded_pairs,
    real_tokens,
    text_ports,
)
from compactor_exporters.workspace import Workspace

Progress = Callable[[str], None]
SHAPE_GRID = "shape-grid"


@dataclass(frozen=True)
class Known:
    """One set of feeds and the student's outputs on it."""

    feeds: Arrays
    outputs: Arrays

    @property
    def shape(self) -> str:
        """The shapes of the feeds, for messages."""
        return ", ".join(f"{name} {list(values.shape)}" for name, values in self.feeds.items())


@dataclass(frozen=True)
class KnownPadding:
    """A text without padding and the same padded, with the student's outputs on both."""

    pair: PaddedPair
    plain: Arrays
    padded: Known


class Reference:
    """The student's answers on the grid of shapes, on real, edge and padded samples, and its own noise.

    Torch runs once, however many artifacts are compared. The noise is measured on the canonical graph, so
    that no other artifact (a wrong fusion) can raise the limit that it is judged by.
    """

    def __init__(self, source: ExportSource, feeds: Arrays, *, progress: Progress | None = None) -> None:
        """Run the student in torch.

        Args:
            source: the student; `source.module` in float32 is the reference.
            feeds: real samples of the select split, one array [N, ...] for each input.
            progress: called with a word on each step.

        Raises:
            UsageError: feeds that do not fit the ports.
        """
        self.source, self.feeds = source, feeds
        self.tell: Progress = progress or (lambda step: None)
        self.samples = count_samples(source, feeds)
        self._noise: dict[str, dict[str, float]] | None = None
        self._largest = min(source.axis_bounds[source.batch_axis][1], LARGEST_BATCH)
        self.tell("torch reference")
        edges = [batch for edges in edge_samples(source, feeds) for batch in batches(edges, self._largest)]
        self.groups: dict[str, list[Known]] = {
            SHAPE_GRID: [self._known(batch) for batch in shape_grid(source, feeds)],
            "real-samples": [self._known(batch) for batch in batches(feeds, self._largest)],
            "edge-samples": [self._known(batch) for batch in edges],
        }
        self.texts: TextPorts | None = text_ports(source)
        self.padding = [
            KnownPadding(pair, forward(source, pair.plain), self._known(pair.padded))
            for pair in (
                padded_pairs(self.texts, real_tokens(source, self.texts, feeds)) if self.texts else []
            )
        ]

    def _known(self, feeds: Arrays) -> Known:
        return Known(feeds, forward(self.source, feeds))

    @cached_property
    def scales(self) -> dict[str, float]:
        """Largest magnitude of each output."""
        known = [each for group in self.groups.values() for each in group]
        return {
            port.name: max(largest_magnitude(each.outputs[port.name]) for each in known)
            for port in self.source.outputs
        }

    def noise(self, workspace: Workspace) -> dict[str, dict[str, float]]:
        """How much each output moves when nothing that matters changes, by kind of change; measured once.

        Args:
            workspace: holds the canonical graph, or will if it has not been traced yet.
        """
        if self._noise is None:
            self.tell("noise floor")
            first = next(batches(self.feeds, min(self._largest, NOISE_SAMPLES)))
            known = [each for each in self.groups[SHAPE_GRID] if size(each.feeds) <= 2]
            known = [*self.groups["edge-samples"], *known]
            self._noise = measure_noise(
                self.source,
                canonical_graph(self.source, workspace),
                [first, *(each.feeds for each in known)],
                [None, *(each.outputs for each in known)],
            )
        return self._noise

    def noise_limits(self, workspace: Workspace) -> dict[str, float]:
        """Largest difference that is allowed of each output of an fp32 artifact."""
        return {name: noise_limit(kinds, self.scales[name]) for name, kinds in self.noise(workspace).items()}
