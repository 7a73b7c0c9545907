"""Target `web`: a static page that computes in the browser, on onnxruntime-web, and tests itself there.

1. All it needs lies beside it; nothing is asked of another host, and its policy allows no such request.
2. What the page would not do as the bundle does is refused here, by name.
3. Its self-test runs the bundle's golden cases, from the raw inputs on, against the stored logits.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from compactor_exporters.deploy import npm
from compactor_exporters.deploy.tokenizer_kinds import check_tokenizer
from compactor_exporters.deploy.writing import Options, put, template, text_of
from compactor_runtimes.bundle.manifest import Artifact, BioPost, ImagePre, TextPre
from compactor_runtimes.bundle.open import Bundle, read_cases
from compactor_runtimes.errors import UsageError, needs_extra

EQUAL = 1e-4
"""How far a logit may lie from the stored one, unless the artifact's own limit is wider."""

_NOT_COMPUTED = ("fp16",)  # by onnxruntime-web on the CPU


def write(bundle: Bundle, folder: Path, options: Options) -> list[str]:
    """Write index.html, app.mjs, the graph, what the page reads, golden cases, and vendor/.

    Raises:
        UsageError: a bundle that the page would not serve as it is (rule 2).
        IntegrityError: a vendored package is not the one that is pinned.
        UnfitEnvironmentError: npm is missing, or its registry.
    """
    manifest = bundle.manifest
    check_page(bundle)
    artifact, pre = web_artifact(bundle), manifest.pre[0]
    packages = [npm.ONNXRUNTIME_WEB, *([npm.TOKENIZERS] if isinstance(pre, TextPre) else [])]
    written = []
    for package in packages:
        written += [put(folder, f"vendor/{name}", content) for name, content in npm.fetch(package).items()]
    graph, *external = [
        entry.path for entry in sorted(artifact.files, key=lambda each: not _is_graph(each.path))
    ]
    written.append(put(folder, "model/graph.onnx", bundle.read(graph)))
    for path in external:
        written.append(put(folder, f"model/{Path(path).name}", bundle.read(path)))
    if isinstance(pre, TextPre):
        written.append(put(folder, "model/tokenizer.json", bundle.read(pre.tokenizer)))
    for case in read_cases(bundle):
        written.append(put(folder, f"model/{case.raw}", bundle.read(case.raw)))
    model = _model(bundle, artifact, options.name, [Path(path).name for path in external])
    values = {
        "name": options.name,
        "task": manifest.task,
        "artifact": artifact.name,
        "limit": f"{model['limit']:g}",
        "packages": "\n".join(f"- `{each.name}` {each.version}, {each.licence}" for each in packages),
        "takes": "a text" if isinstance(pre, TextPre) else "an image file",
    }
    return [
        *written,
        put(folder, "model/model.json", json.dumps(model, ensure_ascii=False, indent=1) + "\n"),
        put(folder, "model/golden.json", json.dumps(golden(bundle)) + "\n"),
        put(folder, "app.mjs", text_of("web/app.mjs")),
        put(folder, "index.html", text_of("web/index.html")),
        put(folder, "README.md", template("web/README.md", **values)),
    ]


def check_page(bundle: Bundle) -> None:
    """Refuse what the page cannot do (rule 2).

    Raises:
        UsageError: slots, several inputs or answers, or a tokenizer of other kinds.
    """
    manifest = bundle.manifest
    if len(manifest.pre) != 1 or len(manifest.post) != 1 or isinstance(manifest.post[0], BioPost):
        found = ", ".join(str(type(each).__struct_config__.tag) for each in (*manifest.pre, *manifest.post))
        raise UsageError(
            f"{bundle.path}: {found} found, the web page takes one image or text and answers with a class, "
            "labels or a vector; serve this bundle with --to docker"
        )
    pre = manifest.pre[0]
    if isinstance(pre, TextPre):
        check_tokenizer(bundle.read(pre.tokenizer), str(bundle.path / pre.tokenizer))


def web_artifact(bundle: Bundle) -> Artifact:
    """The artifact for the browser: one made for it, else the canonical graph, else the default one.

    Raises:
        UsageError: none of them ships as an ONNX file that onnxruntime-web computes.
    """
    main, default = bundle.manifest.main, bundle.manifest.default_artifact
    fit = [
        each
        for each in main.artifacts
        if each.ships
        and each.spec.format == "onnx"
        and not each.spec.fused
        and each.spec.precision not in _NOT_COMPUTED
    ]
    if not fit:
        listed = ", ".join(f"{each.name} ({each.status})" for each in main.artifacts)
        raise UsageError(
            f"{bundle.path}: {listed} found, a verified fp32 or int8 ONNX artifact expected "
            "by the web page; export one"
        )

    def rank(each: Artifact) -> tuple[bool, bool, bool]:
        return each.spec.target != "web", each.spec.kind != "onnx/fp32", each.name != default

    return min(fit, key=rank)


def golden(bundle: Bundle) -> list[dict[str, Any]]:
    """Golden cases for the page: raw file, stored outputs and, of texts, token ids, as plain numbers."""
    with needs_extra("ort"):
        from safetensors.numpy import load

    tensors = load(bundle.read(bundle.manifest.golden.tensors))
    pre = bundle.manifest.pre[0]
    cases = []
    for case in read_cases(bundle):
        found: dict[str, Any] = {"id": case.id, "raw": case.raw, "decoded": case.decoded}
        found["outputs"] = {name: tensors[key].ravel().tolist() for name, key in case.outputs.items()}
        if isinstance(pre, TextPre):
            found["ids"] = tensors[case.feeds[pre.ids]].ravel().tolist()
        cases.append(found)
    return cases


def _model(bundle: Bundle, artifact: Artifact, name: str, external: list[str]) -> dict[str, Any]:
    """What the page reads of the manifest."""
    manifest = bundle.manifest
    (pre,), (post,) = manifest.pre, manifest.post
    labels = [] if not hasattr(post, "labels") else manifest.labels[post.labels]
    inputs = {
        port.name: {"dtype": port.dtype, "min": port.min, "max": port.max} for port in manifest.main.inputs
    }
    return {
        "name": name,
        "bundle": manifest.name,
        "task": manifest.task,
        "takes": "image" if isinstance(pre, ImagePre) else "text",
        "labels": labels,
        "inputs": inputs,
        "pre": msgspec.to_builtins(pre),
        "post": msgspec.to_builtins(post),
        "artifact": artifact.name,
        "bytes": sum(entry.bytes for entry in artifact.files),
        "external": external,
        "limit": max(EQUAL, *(artifact.limits.get(port.name, 0.0) for port in manifest.main.outputs)),
        "licences": manifest.licences,
    }


def _is_graph(path: str) -> bool:
    return path.endswith(".onnx")
