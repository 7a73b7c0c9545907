"""Where the artifacts of one student are made, and the graphs that its exporters make once for all."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Graphs:
    """Graphs of one student, each None until the first exporter that needs it has made it.

    `canonical` is what torch traced, `shapes` those of the values inside it, for exporters that fuse, and
    `fused` its copy with ONNX Runtime's own operators.
    """

    canonical: Path | None = None
    shapes: Path | None = None
    fused: Path | None = None


@dataclass(frozen=True)
class Workspace:
    """A folder for the artifacts of one student, and the graphs that they derive from."""

    folder: Path
    graphs: Graphs = field(default_factory=Graphs)

    def inside(self, name: str) -> "Workspace":
        """A workspace in a folder in this one; the graphs are the same."""
        return Workspace(self.folder / name, self.graphs)
