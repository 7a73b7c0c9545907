"""What `doctor --gpu` checks: the graphs and engines of a bundle, or a tiny graph where none is given.

1. Each graph that TensorRT takes, with each product that is installed: fp32, fp16, and int8 made for
   TensorRT. Int8 for CPUs is asymmetric, and fused graphs hold ONNX Runtime's own operators.
2. Each engine in the bundle, with its own product. Its limits are those of the ONNX artifact of its
   precision; where there is none, the decoded results alone judge it.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from compactor_runtimes.backends import is_code
from compactor_runtimes.backends.tensorrt_product import PRODUCTS
from compactor_runtimes.bundle.manifest import Artifact, Manifest
from compactor_runtimes.bundle.open import Bundle, open_bundle
from compactor_runtimes.errors import MissingDependency, UnfitEnvironmentError
from compactor_runtimes.golden.verify import read_golden

if TYPE_CHECKING:
    from compactor_exporters.tensorrt.build import Profile
    from compactor_runtimes.golden.findings import Arrays, Case

TINY_LIMIT = 1e-4  # sums of 64 products of numbers below 1 in float32, in whatever order


@dataclass(frozen=True)
class Subject:
    """One engine to check: `graph` is the ONNX file that it is built from, `engine` one that is built.

    `missing` says why it cannot run here; `limits` are the largest differences by output.
    """

    name: str
    product: str
    precision: str
    graph: Path | None
    engine: Path | None
    profile: "Profile"
    feeds: "list[Arrays]"
    limits: dict[str, float]
    missing: str = ""
    manifest: Manifest | None = None
    artifact: Artifact | None = None
    cases: "list[Case]" = field(default_factory=list)


def bundle_subjects(path: Path) -> list[Subject]:
    """List what a bundle holds for TensorRT: rules 1 and 2.

    Raises:
        UsageError: no such folder.
        IntegrityError: the bundle is damaged.
    """
    bundle = open_bundle(path)
    cases = read_golden(bundle)
    graphs = [each for each in bundle.manifest.main.artifacts if _is_for_tensorrt(each)]
    subjects = [
        _subject(bundle, graph, product, cases, {graph.spec.precision: graph})
        for graph in graphs
        for product in _products()
    ]
    known: dict[str, Artifact] = {graph.spec.precision: graph for graph in graphs}
    for artifact in bundle.manifest.main.artifacts:
        if is_code(artifact) and artifact.files:
            subjects.append(_subject(bundle, artifact, artifact.spec.format, cases, known))
    return subjects


def tiny_subject(folder: Path) -> list[Subject]:
    """Write a tiny graph into `folder`, to be checked with each product that is installed.

    Raises:
        MissingDependency: onnx is not installed.
    """
    import numpy as np

    from compactor_exporters.graph.tiny import write_tiny_graph
    from compactor_exporters.tensorrt.build import profile_of

    path = folder / "tiny.onnx"
    port = write_tiny_graph(path)
    rng = np.random.default_rng(1)
    feeds = [{port.name: rng.random((size, port.max[1]), np.float32)} for size in (1, 2, port.max[0])]
    return [
        Subject(
            name=f"{product} tiny graph",
            product=product,
            precision="fp32",
            graph=path,
            engine=None,
            profile=profile_of([port]),
            feeds=feeds,
            limits={"y": TINY_LIMIT},
            missing=_missing(product),
        )
        for product in _products()
    ]


def _is_for_tensorrt(artifact: Artifact) -> bool:
    """Rule 1."""
    spec = artifact.spec
    plain = spec.format == "onnx" and not spec.fused and bool(artifact.files)
    return plain and (spec.precision != "int8" or spec.target in ("trt", "trt-rtx"))


def _subject(
    bundle: Bundle, artifact: Artifact, product: str, cases: "list[Case]", known: dict[str, Artifact]
) -> Subject:
    from compactor_exporters.tensorrt.build import profile_of
    from compactor_runtimes.backends.tensorrt import file_for_this_gpu

    main, is_engine, missing = bundle.manifest.main, is_code(artifact), _missing(product)
    entry = artifact.files[0]
    if is_engine:
        try:
            entry = file_for_this_gpu(artifact.files)
        except UnfitEnvironmentError as error:
            missing = missing or str(error)
    graph = known.get(artifact.spec.precision)
    stated = graph.limits if graph else {}
    limits = {port.name: stated.get(port.name, inf) for port in main.outputs}
    # An engine for TensorRT comes from that very file only where the digest says so.
    origin = artifact.made.get("from_sha256") if is_engine else artifact.files[0].sha256
    same = graph is not None and graph.files[0].sha256 == origin
    return Subject(
        name=f"{product} {artifact.name}" if not is_engine else f"{artifact.name} of the bundle",
        product=product,
        precision=artifact.spec.precision,
        graph=bundle.file(graph.files[0].path) if graph and same else None,
        engine=bundle.file(entry.path) if is_engine else None,
        profile=profile_of(main.inputs),
        feeds=[each.feeds for each in cases],
        limits=limits,
        missing=missing,
        manifest=bundle.manifest,
        artifact=replace(artifact, limits=limits),
        cases=cases,
    )


def _products() -> list[str]:
    """The products that are installed; all of them where none is, so that each can say what is missing."""
    return [name for name, module in PRODUCTS.items() if find_spec(module)] or list(PRODUCTS)


def _missing(product: str) -> str:
    module = PRODUCTS[product]
    return "" if find_spec(module) else f"not run: {MissingDependency(module, product)}"
