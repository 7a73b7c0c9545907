"""What is tried: a short list of methods, with options worth trying, and which of them fit a recipe.

A method without a line in CANDIDATES is tried where the user names it, with its defaults.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from compactor.methods import METHODS, VIEWS, method_named, stage_options
from compactor.methods.table import start_settings
from compactor.recipe.checks import check_references
from compactor.recipe.spec import LabelsSpec, Recipe, StageSpec
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

BASELINE = "supervised"
EVERY = "all"
RATES = (1 / 3, 1.0, 3.0)  # times the recipe's own
# method -> the options of each setting; what they leave out is as in the recipe, or the method's default
CANDIDATES: dict[str, tuple[dict[str, Any], ...]] = {
    "supervised": ({},),
    "kd": (
        {"temperature": 4.0, "soft_weight": 0.9},
        {"temperature": 2.0, "soft_weight": 0.5},
        {"temperature": 1.0, "soft_weight": 0.5},
    ),
    "dml": ({},),
    "fkd": ({},),
    "embedding": ({}, {"similarity_weight": 1.0}),
}
CARRIED = ("head_weights", "class_weights", VIEWS)  # options about the data, for every method that has them


@dataclass(frozen=True)
class Trial:
    """A setting of the last stage; `is_own` is that of the recipe, at its own rate."""

    method: str
    options: dict[str, Any]
    lr: float
    labels: LabelsSpec | None
    is_own: bool = False

    @property
    def name(self) -> str:
        """The setting in a line."""
        parts = [f"{key}={_short(value)}" for key, value in self.options.items()]
        stored = ["from a label store"] if self.labels is not None else []
        return " ".join([self.method, *parts, *stored, f"lr={self.lr:g}"])

    def stage(self, stage: StageSpec) -> StageSpec:
        """The recipe's stage with this setting."""
        return replace(stage, method=self.method, options=self.options, lr=self.lr, labels=self.labels)


@dataclass(frozen=True)
class Wanted:
    """What the user asks for; methods absent = CANDIDATES, rates absent = RATES times the recipe's."""

    methods: tuple[str, ...] = ()
    rates: tuple[float, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The trials, the recipe's own first, and why other methods are left out."""

    trials: list[Trial]
    left_out: list[str]

    @property
    def protected(self) -> list[list[int]]:
        """Positions of the recipe's own setting, and of the baseline at its rates if that is another one."""
        own = [place for place, one in enumerate(self.trials) if one.is_own]
        baseline = [place for place, one in enumerate(self.trials) if one.method == BASELINE]
        return [own] if set(own) & set(baseline) or not baseline else [own, baseline]


def parse_methods(text: str | None) -> tuple[str, ...]:
    """Read `kd,dml` or `all`.

    Raises:
        UsageError: there is no such method.
    """
    if text is None:
        return ()
    if text.strip() == EVERY:
        return tuple(METHODS)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in METHODS:
            raise UsageError(
                f"--methods {name!r}: there is no such method; {nearest(name, [*METHODS, EVERY])}"
            )
    return tuple(dict.fromkeys(names))


def parse_rates(text: str | None) -> tuple[float, ...]:
    """Read `0.01,0.03`.

    Raises:
        UsageError: not numbers above 0.
    """
    if text is None:
        return ()
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if not rates or not all(0 < rate < float("inf") for rate in rates):
        raise UsageError(f"--rates: got {text!r}, expected learning rates above 0 such as 0.01,0.03,0.1")
    return tuple(dict.fromkeys(rates))


def choose(recipe: Recipe, wanted: Wanted, *, labelled_train: bool, labelled_select: bool) -> Choice:
    """List what is tried.

    Args:
        recipe: with a stage at least; its last one is what varies.
        wanted: by the user.
        labelled_train: whether a training sample has a label.
        labelled_select: the same of select.

    Raises:
        UsageError: a method that the user names cannot be had here, or the recipe's own cannot be judged.
    """
    last = recipe.stages[-1]
    own = Trial(last.method, last.options, last.lr, last.labels, is_own=True)
    if not labelled_select and (
        last.labels is not None or not method_named(last.method, "").learns_from_teachers
    ):
        raise UsageError(
            f"recommend: the select split has no labels, and stage {last.id} asks no live teacher who could "
            "judge instead; label some select rows, or let the stage learn from live teachers"
        )
    rates = wanted.rates or tuple(float(f"{last.lr * factor:.3g}") for factor in RATES)
    names = dict.fromkeys([last.method, BASELINE, *(wanted.methods or CANDIDATES)])
    trials, left_out, known = [own], [], [_identity(recipe, own)]
    for name in names:
        settings = _settings(recipe, name)
        whys = [_refused(recipe, one, labelled_train, labelled_select) for one in settings]
        if all(whys):
            require_left_out(name, whys[0], wanted)
            left_out.append(f"{name}: {whys[0]}")
        for setting in [one for one, why in zip(settings, whys, strict=True) if not why]:
            for rate in rates:
                trial = Trial(name, setting.options, rate, setting.labels)
                if (identity := _identity(recipe, trial)) not in known:
                    known.append(identity)
                    trials.append(trial)
    return Choice(trials, left_out)


def _settings(recipe: Recipe, name: str) -> list[Trial]:
    """The settings of a method at the recipe's rate; the recipe's own method is also tried as it is."""
    last, method = recipe.stages[-1], method_named(name, "--methods")
    labels = last.labels if method.build_stored is not None and method.learns_from_teachers else None
    known = method.options.__struct_fields__
    if name == last.method:
        base = last.options
    else:
        is_trained = last.init is not None or recipe.stage_student(last).weights is not None
        base = start_settings(method, is_trained=is_trained)
        base |= {key: last.options[key] for key in CARRIED if key in last.options and key in known}
    variants = CANDIDATES.get(name, ({},))
    if name == last.method:
        variants = ({}, *variants)
    return [Trial(name, base | variant, last.lr, labels) for variant in variants]


def _refused(recipe: Recipe, trial: Trial, labelled_train: bool, labelled_select: bool) -> str:
    """Why a setting cannot be had here, empty if it can."""
    last, method = recipe.stages[-1], method_named(trial.method, "--methods")
    if method.about.labels == "needed" and not labelled_train:
        return "learns from labels, and no training sample has one"
    if not labelled_select and not method.learns_from_teachers:
        return "select has no labels, and the stage asks no teacher who could judge instead"
    if method.learns_from_teachers and trial.labels is None and not recipe.stage_teachers(last):
        return "learns from teachers, and the recipe names none"
    if method.build is None and trial.labels is None:
        return "learns from a label store alone, and the stage has no labels"
    try:
        with warnings.catch_warnings():  # what warns of the recipe has done so when it was loaded
            warnings.simplefilter("ignore")
            check_references(replace(recipe, stages=[*recipe.stages[:-1], trial.stage(last)]))
    except UsageError as error:
        return str(error)
    return ""


def require_left_out(name: str, why: str, wanted: Wanted) -> None:
    """Let a method that does not fit be left out, unless the user names it and not all.

    Raises:
        UsageError: it is named.
    """
    if name in wanted.methods and set(wanted.methods) != set(METHODS):
        raise UsageError(f"--methods {name}: {why}; leave it out, or change the recipe")


def _identity(recipe: Recipe, trial: Trial) -> tuple[Any, ...]:
    """What makes two settings the same: options as they are read, the rate, and whether labels are stored."""
    stage = trial.stage(recipe.stages[-1])
    options = stage_options(method_named(trial.method, "--methods"), stage, f"stage {stage.id}")
    return trial.method, options, trial.lr, trial.labels is not None


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else msgspec.json.encode(value).decode().strip('"')
