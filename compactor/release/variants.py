"""Names of variants on a command line, `fp32,fp16,int8-static`, and the `export` entries they mean."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from compactor_exporters import EXPORTERS
from compactor_runtimes.bundle.manifest import ExportSpec
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

SHORT = {"fused": "fp32-fused"}  # what people say for it
FOR_TENSORRT = ExportSpec(precision="int8", quantization="static", target="trt")


def known_variants() -> dict[str, ExportSpec]:
    """Every variant that has an exporter, by name."""
    specs = [_spec_of(kind) for kind in EXPORTERS]
    return {spec.name: spec for spec in [*specs, FOR_TENSORRT]}


def parse_variants(text: str) -> list[ExportSpec]:
    """Read names with commas between them; fp32 is required, all others are optional.

    Raises:
        UsageError: no name, an unknown one, or one that is listed twice.
    """
    known = known_variants()
    names = [SHORT.get(name.strip(), name.strip()) for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UsageError(f"--variants {text}: unknown variant {name!r}; {nearest(name, known)}")
        if names.count(name) > 1:
            raise UsageError(f"--variants {text}: {name!r} is listed twice, expected each once")
    return [replace(known[name], required=name == "fp32") for name in names]


def with_overrides(specs: Sequence[ExportSpec], overrides: Sequence[str]) -> list[ExportSpec]:
    """Give variants the reason, `NAME=REASON`, for which they ship although a gate failed.

    Raises:
        UsageError: no reason, or a variant that is not among those exported.
    """
    reasons = {}
    for override in overrides:
        name, _, reason = override.partition("=")
        name = SHORT.get(name.strip(), name.strip())
        if not reason.strip():
            raise UsageError(
                f"--override {override!r}: expected NAME=REASON, for example 'fp16=checked by hand on site A'"
            )
        if name not in (known := [spec.name for spec in specs]):
            raise UsageError(
                f"--override {override!r}: {name!r} is not among the exported; {nearest(name, known)}"
            )
        reasons[name] = reason.strip()
    return [replace(spec, override=reasons.get(spec.name, spec.override)) for spec in specs]


def _spec_of(kind: str) -> ExportSpec:
    """The spec whose `kind` this is."""
    form, precision, *rest = kind.split("/")
    settings: dict[str, Any] = {"format": form, "precision": precision, "fused": "fused" in rest}
    settings["quantization"] = next((word for word in rest if word in ("dynamic", "static")), None)
    settings["exporter"] = "optimum" if "optimum" in rest else "torch"
    return ExportSpec(**settings)
