"""Run suites, write their figures into README and docs, check them, and confirm them.

python -m benchmarks.run bench|acceptance|house|home|SUITE[/ARM] ...
                                          execute what is not cached
python -m benchmarks.run results          compute all figures from the runs, and write the pages that quote
python -m benchmarks.run check            whether all is as `results` would write it; writes nothing
python -m benchmarks.run confirm [--all] [SUITE ...]
                                          repeat first steps and blocks at today's code
"""

import math
import sys
import time

from benchmarks.confirm import confirm_suite
from benchmarks.quote import all_results, written_pages
from benchmarks.results_file import RESULTS, read_results, refresh, run_suite
from benchmarks.suites import SUITES, all_suites, suite_named
from benchmarks.workers import ROOT
from compactor_runtimes.errors import InterruptedRun


def main() -> None:
    """Do what the words ask for."""
    words = sys.argv[1:]
    if not words:
        sys.exit(__doc__)
    match words:
        case ["results"]:
            write_figures()
        case ["check"]:
            sys.exit(check())
        case ["confirm", *rest]:
            sys.exit(confirm(rest))
        case _:
            for name, arms in _asked(words).items():
                path = run_suite(suite_named(name), _say, arms)
                _say(f"wrote {path.relative_to(ROOT)}")
            write_figures()


def write_figures() -> None:
    """Compute figures and plots from the runs, and write the pages that quote them."""
    for suite in all_suites():
        content = read_results(suite.name)
        if content.get("figures"):  # a suite that was cut off has none yet
            refresh(suite, content)
            if hasattr(suite.module, "plot"):
                suite.module.plot(content["runs"], RESULTS)
    for path, text in written_pages(all_results()).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def check() -> int:
    """Say what differs from what the runs give; count figures by state.

    Returns:
        The exit code: 1 where anything differs.
    """
    started_s, wrong, results = time.perf_counter(), list[str](), all_results()
    for name, one in results.items():
        for key, figure in one.suite.figures(one.content["runs"]).items():
            kept = one.content["figures"].get(key, {"value": math.nan})
            if not math.isclose(kept["value"], figure.value, rel_tol=1e-6, abs_tol=1e-12):
                wrong.append(f"{name}.{key}: {kept['value']} found, the runs give {figure.value}")
    for path, text in written_pages(results).items():
        now = path.read_text(encoding="utf-8") if path.is_file() else ""
        for found, wanted in _differing(now, text):
            wrong.append(f"{path.relative_to(ROOT)}: {found!r} found, the results give {wanted!r}")
    kinds = [state.kind for one in results.values() for state in one.states.values()]
    told = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("current", "confirmed", "outdated"))
    _say(f"{len(kinds)} figures: {told} ({time.perf_counter() - started_s:.1f} s)")
    for line in wrong[:20]:
        _say(line)
    if wrong:
        _say(f"{len(wrong)} differ; write them with `make results`")
    return int(bool(wrong))


def confirm(words: list[str]) -> int:
    """Repeat first steps and blocks; the exit code is 1 where one did not give the same."""
    names = [word for word in words if word != "--all"]
    suites = [suite_named(name) for name in names] or all_suites()
    verdicts = {
        f"{suite.name}/{arm}": verdict
        for suite in suites
        for arm, verdict in confirm_suite(suite, _say, repeat_all="--all" in words).items()
    }
    write_figures()
    failed = [name for name, verdict in verdicts.items() if not verdict.same]
    _say(f"{len(verdicts) - len(failed)} of {len(verdicts)} confirmed")
    return int(bool(failed))


def _asked(words: list[str]) -> dict[str, set[str]]:
    """Suites by name with the arms that were named, none for all of them."""
    found: dict[str, set[str]] = {}
    for word in words:
        name, _, arm = word.partition("/")
        for one in SUITES.get(name, (name,)):
            found.setdefault(one, set()).update({arm} if arm else ())
    return found


def _differing(now: str, wanted: str) -> list[tuple[str, str]]:
    """Lines that are not the same, the first few; or one pair that tells of a different length."""
    pairs = [(a, b) for a, b in zip(now.splitlines(), wanted.splitlines(), strict=False) if a != b]
    if now.count("\n") != wanted.count("\n"):
        return [(f"{now.count(chr(10))} lines", f"{wanted.count(chr(10))} lines")]
    return [(a[:120], b[:120]) for a, b in pairs[:3]]


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    try:
        main()
    except (InterruptedRun, KeyboardInterrupt):
        sys.exit("stopped; what is finished is kept, and the same command goes on")
