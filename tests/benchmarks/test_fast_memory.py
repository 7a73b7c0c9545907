"""The arm on memory: its table, and its figures from known runs."""

from pathlib import Path

from benchmarks.fast_memory import figures, settings
from benchmarks.fast_memory_worker import CLASSES, write_rows


def test_figures_are_ratios_of_one_repeat() -> None:
    assert len(settings()) == 9

    def run(rows: int, repeat: int, peak: int, plan_s: float) -> dict[str, object]:
        one = {"peak_bytes": peak, "plan_s": plan_s}
        result = {"first_plan": one, "plan": one | {"plan_s": plan_s / 4}, "train": one}
        return {"settings": {"rows": rows, "repeat": repeat}, "result": result}

    runs = [run(10_000, 0, 100, 1), run(1_000_000, 0, 110, 8), run(10_000, 1, 100, 1)]
    runs += [run(1_000_000, 1, 130, 12), run(10_000, 2, 100, 1)]  # the last repeat is not whole
    found = figures(runs)
    ratio = found["rss_1m_over_10k"]
    assert (ratio.values, ratio.n, ratio.arms) == ((1.1, 1.3), 2, ("memory",))
    assert found["plan_1m_s"].values == (2, 3)
    assert found["plan_1m_first_s"].values == (8, 12)


def test_the_rows_are_short_texts_in_four_classes(tmp_path: Path) -> None:
    write_rows(tmp_path, 8, 3)
    header, *rows = (tmp_path / "rows.csv").read_text().splitlines()
    assert header == "text,label"
    assert [row.rpartition(",")[2] for row in rows] == [*CLASSES, *CLASSES]
    assert all(4 <= len(row.split()) <= 12 for row in rows)
    assert "steps: 3" in (tmp_path / "recipe.yaml").read_text()
