"""Climb the rungs: train and judge what is left, keep the best third, and put the rows together.

Which stages are trained is a function of what was prepared: a search that was stopped goes on where it was,
and one that has ended finds all of it in the cache.
"""

from dataclasses import replace

import msgspec

from compactor.cache.journal import Journal
from compactor.progress import Bar
from compactor.recommend.candidates import BASELINE
from compactor.recommend.halving import Rung, survivors
from compactor.recommend.prepare import BEGUN_FILE, Begun, Prepared
from compactor.recommend.result import RESULT_FILE, Recommendation, Row
from compactor.recommend.scores import Score, score
from compactor.recommend.trials import Workbench
from compactor.run.planned import Plan, PlannedStage
from compactor.trainer.fit import Diverged, Watch
from compactor_runtimes.errors import InterruptedRun, UsageError
from compactor_runtimes.files import write_whole


def recommend(prepared: Prepared, *, command: str) -> Recommendation:
    """Run it; what was trained before is reused.

    Args:
        prepared: by `prepare`.
        command: the command line that goes on.

    Raises:
        InterruptedRun: stopped; what is finished is kept.
        UsageError: no setting trains, or nothing tells how good they are.
    """
    prepared.folder.mkdir(parents=True, exist_ok=True)
    begun = msgspec.json.encode(Begun(prepared.budget_steps))
    write_whole(prepared.folder / BEGUN_FILE, begun + b"\n")
    bench = replace(prepared.bench, journal=Journal(prepared.folder / "journal.jsonl"))
    try:
        found = _Search(prepared, bench).run()
    except (InterruptedRun, KeyboardInterrupt) as stopped:
        said, _, _ = (str(stopped) or "stopped between two settings").partition("; go on with: ")
        raise InterruptedRun(f"{said}; go on with: {command}") from None
    text = msgspec.json.format(msgspec.json.encode(found), indent=1)
    write_whole(prepared.folder / RESULT_FILE, text + b"\n")
    return found


class _Search:
    """Where the search stands: `scores` of each rung by the trial's position, None where it failed."""

    def __init__(self, prepared: Prepared, bench: Workbench) -> None:
        self.prepared, self.bench = prepared, bench
        self.trials = prepared.choice.trials
        self.scores: list[dict[int, Score | None]] = []
        self.problems: dict[int, str] = {}

    def run(self) -> Recommendation:
        """Climb the rungs."""
        schedule = self.prepared.schedule
        self.bench.before(self.bench.plan(self.trials[0], schedule[0].steps, None))
        alive = list(range(len(self.trials)))
        for number, rung in enumerate(schedule):
            scores = self._climb(number, rung, alive)
            values = [_value(scores[place]) for place in alive]
            if all(value is None for value in values):
                raise UsageError(f"recommend: no setting trains; the first: {self.problems[alive[0]]}")
            if number + 1 < len(schedule):
                groups = [
                    [alive.index(one) for one in group if one in alive]
                    for group in self.prepared.choice.protected
                ]
                kept = survivors(values, schedule[number + 1].settings, protected=groups)
                alive = [alive[place] for place in kept]
        return self._result()

    def _climb(self, number: int, rung: Rung, alive: list[int]) -> dict[int, Score | None]:
        """Train and judge all that are left, each for the rung's steps."""
        seeds, scores = self.prepared.seeds, dict[int, Score | None]()
        plans = {
            place: [self.bench.plan(self.trials[place], rung.steps, seed) for seed in seeds]
            for place in alive
        }
        for place in alive:
            for plan in plans[place]:
                self.bench.label(plan)
        if self.bench.workers is not None:
            self.bench.workers.train([plan for place in alive for plan in plans[place]], sealed=True)
        self.scores.append(scores)
        title = f"rung {number + 1} of {len(self.prepared.schedule)}"
        with self.bench.reporter.bar(title, len(alive) * len(seeds) * rung.steps) as bar:
            for done, place in enumerate(alive):
                scores[place] = self._judged(place, plans[place], bar, done * len(seeds) * rung.steps)
        told = f"{title}: {len(alive)} settings for {rung.steps:,} steps"
        best = max((found for found in scores.values() if found), key=lambda one: one.value, default=None)
        self.bench.reporter.note(told + (f", best {best.figure} {best.value:.4f}" if best else ""))
        return scores

    def _judged(self, place: int, plans: list[Plan], bar: Bar, ahead: int) -> Score | None:
        """Train a setting with every seed and judge it; None where a loss is no longer finite."""
        name, stages = self.trials[place].name, list[PlannedStage]()
        for plan in plans:
            bar.at(ahead, name)
            try:
                stages.append(self.bench.train(plan, _shown(bar, ahead, name)))
            except Diverged as error:
                self.problems[place] = str(error)
                return None
            ahead += plan.stages[-1].spec.steps or 0
        return score(stages)

    def _result(self) -> Recommendation:
        last = {place: number for number, scores in enumerate(self.scores) for place in scores}

        def rank(place: int) -> tuple[bool, int, float, int]:
            found = self.scores[last[place]][place]
            return found is None, -last[place], -(found.value if found else 0.0), place

        places = sorted(last, key=rank)
        winner = self.scores[last[places[0]]][places[0]]
        assert winner is not None  # else nothing trains, which was said
        return Recommendation(
            recipe=self.prepared.loaded.recipe.name,
            figure=winner.figure,
            seeds=list(self.prepared.request.seeds),
            full_steps=self.bench.full_steps,
            rungs=[(rung.settings, rung.steps) for rung in self.prepared.schedule],
            rows=[self._row(place, last[place], winner.n) for place in places],
            left_out=self.prepared.choice.left_out,
            trained=self.bench.trained,
            reused=self.bench.reused,
        )

    def _row(self, place: int, number: int, n: int) -> Row:
        trial, found = self.trials[place], self.scores[number][place]
        others = [one for one in self.scores[number].values() if one is not None]
        best = max(others, key=lambda one: one.value, default=None)
        low, high = (found.interval if found else None) or (None, None)
        return Row(
            name=trial.name,
            method=trial.method,
            options=trial.options,
            lr=trial.lr,
            stored=trial.labels is not None,
            is_own=trial.is_own,
            is_baseline=trial.method == BASELINE,
            rung=number + 1,
            steps=self.prepared.schedule[number].steps,
            value=_value(found),
            low=low,
            high=high,
            n=n,
            difference=found.minus(best) if found and best and found is not best else None,
            problem=self.problems.get(place, ""),
        )


def _shown(bar: Bar, ahead: int, name: str) -> Watch:
    """Show the steps of a training on the bar of its rung."""
    return lambda step, *_: bar.at(ahead + step, name)


def _value(found: Score | None) -> float | None:
    return None if found is None else found.value
