"""Draw a report as one HTML page without a network: style, script, charts and thumbnails are inside it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from compactor_runtimes.report.decide.recommend import in_words, is_ready
from compactor_runtimes.report.draw.anatomy_figures import anatomy_figures, anatomy_table
from compactor_runtimes.report.draw.cost import cost_table, latency_table
from compactor_runtimes.report.draw.figures import (
    curve_figures,
    distributions,
    series,
    step_figure,
    trade_offs,
    variants_figure,
)
from compactor_runtimes.report.draw.labels import labels_table
from compactor_runtimes.report.draw.page import render_template
from compactor_runtimes.report.draw.rejects import rejects_table
from compactor_runtimes.report.draw.scores import scores_table
from compactor_runtimes.report.draw.text_tables import (
    checks_table,
    class_table,
    confused_table,
    main_subject,
    steps_table,
    truth_table,
)
from compactor_runtimes.report.draw.tiles import tiles
from compactor_runtimes.report.draw.variants import DECISION_STYLES, variant_words, variants_table
from compactor_runtimes.report.format import invalid_reasons, is_unlabelled, machine, marked, overridden

if TYPE_CHECKING:
    from compactor_runtimes.report.contents import Confusion, Report

PNG = "data:image/png;base64,"
MOST_HEAT_CLASSES = 20
MOST_PAIRS = 25


@dataclass(frozen=True)
class HeatRow:
    """One true class: its label, and for each answer the count and its share of the class."""

    label: str
    cells: list[tuple[int, float]]


def render_html(report: "Report") -> str:
    """Return the page.

    Raises:
        MissingDependency: the `report` extra is not installed.
    """
    return render_template("report.html.jinja", report=report, **_view(report))


def _view(report: "Report") -> dict[str, Any]:
    """Everything that the template shows besides the report itself."""
    main = main_subject(report)
    return {
        "unlabelled": is_unlabelled(report),
        "nothing": not is_ready(report),
        "machine": machine(report.environment),
        "tiles": tiles(report),
        "trade_offs": trade_offs(report),
        "truth": truth_table(report) if report.accuracy else None,
        "scores": scores_table(report) if report.scores else None,
        "rejects": rejects_table(report) if report.rejects else None,
        "steps": steps_table(report) if report.paired else None,
        "step_figure": step_figure(report) if report.paired else None,
        "step_words": [(row, marked(row.b, report), in_words(row)) for row in report.paired],
        "latency": latency_table(report) if report.measurements else None,
        "distributions": distributions(report),
        "cost": cost_table(report) if report.measurements else None,
        "anatomies": anatomy_figures(report.anatomies, report.measurements, series(report)),
        "anatomy": anatomy_table(report.anatomies, report.measurements),
        "invalid": invalid_reasons(report.measurements),
        "curves": [figure for curve in report.curves for figure in curve_figures(curve)],
        "classes": class_table(report.classes, main) if report.classes else None,
        "labels": labels_table(report) if report.labels else None,
        "heat": _heat(report.confusion),
        "confused": confused_table(report.confusion, MOST_PAIRS) if report.confusion else None,
        "images": [one for one in report.examples if (one.image or "").startswith(PNG)],
        "texts": [one for one in report.examples if one.text is not None],
        "gates": checks_table(report.gates) if report.gates else None,
        "variants": variants_table(report) if report.artifacts else None,
        "variant_words": [
            (name, decision, DECISION_STYLES[decision], reason)
            for name, decision, reason in variant_words(report)
        ],
        "variants_figure": variants_figure(report),
        "overridden": overridden(report),
        "checks": [(one.name, checks_table(one.checks)) for one in report.artifacts if one.checks],
        "provenance": _provenance(report),
    }


def _heat(confusion: "Confusion | None") -> list[HeatRow]:
    """The confusion as a heat map, where it has few enough classes to be read."""
    if confusion is None or len(confusion.labels) > MOST_HEAT_CLASSES:
        return []
    return [
        HeatRow(label, [(count, count / max(sum(counts), 1)) for count in counts])
        for label, counts in zip(confusion.labels, confusion.counts, strict=True)
    ]


def _provenance(report: "Report") -> list[tuple[str, str, bool]]:
    """Name, text, and whether the text is long: what the run was made of, and the machine."""
    known: dict[str, Any] = {
        "digest of the report samples": report.report_digest or "not recorded",
        **report.provenance,
        "environment": report.environment,
        "schema version of this report": report.schema_version,
    }
    entries = []
    for name, value in msgspec.to_builtins(known).items():
        nested = isinstance(value, dict | list)
        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True) if nested else str(value)
        entries.append((name, text.rstrip(), nested))
    return sorted(entries, key=lambda entry: entry[2])
