"""What a figure is worth today: current, confirmed, or outdated since a commit.

current     the code that decides it, and its recipe, are those that made every run it rests on
confirmed   the code has changed since, but a repeat of an arm's first steps, or of a timing's block, at
            today's code gave the same (`confirm.py`)
outdated    neither: the figure is quoted with "as of COMMIT"
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from benchmarks.figures import Run
from benchmarks.results_file import Content, code_key, short_parts
from benchmarks.suites import Suite
from compactor.cache.code import is_module

Kind = Literal["current", "confirmed", "outdated"]
ORDER: tuple[Kind, ...] = ("current", "confirmed", "outdated")


@dataclass(frozen=True)
class State:
    """`made` are date and commit of the runs, oldest first; `changed` the modules and inputs that differ."""

    kind: Kind
    made: tuple[tuple[str, str], ...] = ()
    changed: tuple[str, ...] = ()
    confirmed_at: str = ""

    @property
    def commits(self) -> str:
        """Commit of the runs, or the first and the last one."""
        names = list(dict.fromkeys(commit for _, commit in self.made))
        return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"

    @property
    def as_of(self) -> str:
        """How an outdated figure is quoted; empty for others."""
        return f"as of {self.commits}" if self.kind == "outdated" else ""

    def told(self) -> str:
        """The state in a table."""
        if self.kind == "confirmed":
            return f"run at {self.commits}, confirmed at {self.confirmed_at}"
        return self.as_of or f"current ({self.commits})"


def figure_states(suite: Suite, content: Content) -> dict[str, State]:
    """The state of every figure of a results file, by name; reads code and recipes, no data."""
    by_arm: dict[str, list[State]] = {}
    for run in content["runs"]:
        by_arm.setdefault(suite.arm(run["settings"]), []).append(run_state(suite, content, run))
    arms = {arm: _joint(states) for arm, states in by_arm.items()}
    return {
        name: _joint([arms[arm] for arm in figure.get("arms", by_arm)])
        for name, figure in content["figures"].items()
    }


def run_state(suite: Suite, content: Content, run: Run) -> State:
    """The state of one run."""
    made = ((run["date"], run["commit"]),)
    today = code_today(suite, content, run)
    moved: tuple[str, ...] = ()
    changed: tuple[str, ...] = ("its code was not kept",)
    if run["code"] is not None:
        inputs = suite.inputs(run["settings"])
        moved = tuple(name for name, value in inputs.items() if run["inputs"].get(name) != value)
        before = content["codes"][run["code"]]["parts"]
        changed = tuple(sorted(name for name in {*before, *today} if before.get(name) != today.get(name)))
        if not changed and not moved:
            return State("current", made)
    confirmed = content["confirmed"].get(suite.arm(run["settings"]))
    if confirmed is not None and confirmed["code"] == code_key(today) and not moved:
        return State("confirmed", made, changed, confirmed["commit"])
    return State("outdated", made, (*moved, *changed))


def code_today(suite: Suite, content: Content, run: Run) -> dict[str, str]:
    """Today's digests of the modules that a run names; of one without code, those that its suite names."""
    named = content["codes"].get(run["code"]) or {"follow": suite.computes(run["settings"]), "alone": ()}
    return _parts(tuple(named["follow"]), tuple(named["alone"]))


@cache
def _parts(follow: tuple[str, ...], alone: tuple[str, ...]) -> dict[str, str]:
    """Digests of modules; one that is gone is said to be."""
    gone = {name: "gone" for name in (*follow, *alone) if not is_module(name)}
    return gone | short_parts(
        [name for name in follow if name not in gone], [name for name in alone if name not in gone]
    )


def _day(made: tuple[str, str]) -> str:
    """By day; what is of one day stays in the order of the runs."""
    return made[0]


def _joint(states: list[State]) -> State:
    """The worst of several."""
    worst = max((state.kind for state in states), key=ORDER.index)
    mine = [state for state in states if state.kind == worst]
    made = tuple(sorted(dict.fromkeys(one for state in mine for one in state.made), key=_day))
    changed = tuple(dict.fromkeys(one for state in mine for one in state.changed))
    return State(worst, made, changed, next((one.confirmed_at for one in mine), ""))
