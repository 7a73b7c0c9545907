"""`python -m benchmarks.run bench|acceptance|house|results`: run suites, or recompute figures and tables."""

import sys
from importlib import import_module
from typing import Any

from benchmarks import encoder_table, export_table, store_sizes
from benchmarks.results_file import RESULTS, ROOT, is_stale, refresh, run_suite

SUITES = {
    "bench": ["foundation", "label_store", "export", "encoder_memory"],
    "acceptance": ["cifar10_kd", "text", "digits_kd", "ferkd", "fkd_one_crop", "meal_v2", "encoder"],
    "house": ["house"],
}
# suites whose single runs are worth a table of their own
RUN_TABLES = {
    "label_store": store_sizes.table,
    "export": export_table.table,
    "encoder": encoder_table.table,
}
RUNS = ":runs"  # how such a table is called, behind its suite's name
START, END = "<!-- results:{} -->", "<!-- /results:{} -->"


def main() -> None:
    """Run what was asked for; `results` alone runs nothing."""
    what = sys.argv[1] if len(sys.argv) == 2 else ""
    if what not in {*SUITES, "results"}:
        sys.exit(f"usage: python -m benchmarks.run {'|'.join([*SUITES, 'results'])} (found {sys.argv[1:]})")
    for name in SUITES.get(what, []):
        path = run_suite(_suite(name), lambda text: print(text, flush=True))
        print(f"wrote {path.relative_to(ROOT)}")
    write_tables()


def _suite(name: str) -> Any:
    return import_module(f"benchmarks.suites.{name}")


def write_tables() -> None:
    """Refresh figures from runs, the plots, and the tables of benchmarks/RESULTS.md and README.md."""
    tables = {}
    for name in (name for names in SUITES.values() for name in names):
        suite = _suite(name)
        content = refresh(suite)
        if content:
            tables[name] = _table(content, stale=is_stale(suite, content))
            if name in RUN_TABLES:
                tables[name + RUNS] = RUN_TABLES[name](content)
            if hasattr(suite, "plot"):
                suite.plot(content["runs"], RESULTS)
    page = "# Results\n\nWritten by `make results` from the runs in `benchmarks/results/`.\n"
    for name, table in tables.items():
        page += f"\n{table}" if name.endswith(RUNS) else f"\n## {name}\n\n{table}"
    (ROOT / "benchmarks" / "RESULTS.md").write_text(page, encoding="utf-8")
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, table in tables.items():
        before, found, rest = text.partition(START.format(name))
        if found:
            text = before + found + "\n" + table + END.format(name) + rest.partition(END.format(name))[2]
    readme.write_text(text, encoding="utf-8")


def _table(content: dict[str, Any], *, stale: bool) -> str:
    cpu = content["environment"].get("cpu", {})
    where = f"{cpu.get('model', cpu) if isinstance(cpu, dict) else cpu}"
    lines = [
        f"`{content['command']}`, {content['date']}, {where}"
        + (" **stale: the source has changed since these runs**" if stale else ""),
        "",
        "| figure | value | range or 95% interval | n | goal | of what |",
        "|---|---|---|---|---|---|",
    ]
    for name, figure in content["figures"].items():
        value, low, high = (_number(figure[key]) for key in ("value", "low", "high"))
        unit = f" {figure['unit']}" if figure["unit"] else ""
        lines.append(
            f"| `{name}` | {value}{unit} | {low} to {high} "
            f"| {figure['n']} | {figure['goal']} | {figure['about']} |"
        )
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    main()
