"""The suites: a module each, which names what it runs and computes figures from the runs."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from benchmarks.figures import Figure, Run
from compactor.cache.digest import digest_of

Settings = dict[str, Any]

SUITES = {
    "bench": ("foundation", "label_store", "export", "encoder_memory"),
    "acceptance": ("cifar10_kd", "text", "digits_kd", "ferkd", "meal_v2", "encoder", "ssld"),
    "house": ("house",),
    "home": ("home",),
    "inputs": ("inputs",),
    "exportable": ("timm_exportable",),
    "measure": ("measure",),
    "embed": ("embed",),
    "methods": ("methods",),
    "premise": ("ferkd_premise",),
    "fast": ("fast",),
    "scale": ("scale",),
}

# keys of recipes, and of their models, that came later, with the defaults by which nothing changes
LATER: dict[str, Any] = {
    "reject": None,
    "pool": None,
    "image_column": None,
    "limit": None,
    "teacher": "torch",
    "aspect": "log-uniform",
    "policy": "none",
    "policy_probability": 1.0,
    "magnitude": 9,
    "num_ops": 2,
    "erase": 0.0,
    "choose": {
        "by": "latency",
        "max_slower": None,
        "max_larger": None,
        "max_memory": None,
        "max_drop_points": None,
    },
}
LATER_OF_MODELS: dict[str, Any] = {
    "aliases": {},
    "classes": None,
    "subclasses": None,
    "trust_teacher": False,
    "trust_tokenizer": False,
    "runtime": "torch",
    "max_kl": 0.003,
    "min_agreement": 0.995,
}


@dataclass(frozen=True)
class Suite:
    """A module of benchmarks/suites/. It has, if not said otherwise:

    NAME, COMMAND, SETTINGS   what it is called, what makes its runs, what all of them share
    plan(runs)                settings of every run that the runs so far call for, in their order
    prepare(settings)         makes what a run reads (optional)
    execute(settings)         executes one run and returns what was measured
    figures(runs)             computes all figures
    arm(settings)             names what a run belongs to: an arm's runs differ in seed, rate or block
                              (optional: all runs are one arm)
    recipe(settings)          the recipe that a run trains, or None (optional)
    SHARED                    how ids of stages begin that runs share (optional)
    WATCHED                   id of the stage whose first steps are kept and repeated (optional: the last one)
    inputs(settings)          digests of what else decides a run, found in seconds (optional)
    COMPUTES                  arm -> modules that decide its runs, "" for all arms; where a recipe is
                              trained, those that come to the recipe's own (optional there)
    TIMED                     arms that measure time, so that their runs are those of one kind of CPU;
                              their blocks are numbered by the setting `block` (optional)
    plot(runs, folder)        draws (optional)
    PICTURES                  what it draws, without .png (optional: NAME alone, where it draws)
    """

    module: ModuleType

    @property
    def name(self) -> str:
        """What it and its results file are called."""
        return str(self.module.NAME)

    @property
    def command(self) -> str:
        """What makes its runs."""
        return str(self.module.COMMAND)

    @property
    def settings(self) -> dict[str, Any]:
        """What all runs share."""
        return dict(self.module.SETTINGS)

    @property
    def shared(self) -> tuple[str, ...]:
        """How ids of stages begin that runs share."""
        return tuple(getattr(self.module, "SHARED", ("teacher",)))

    @property
    def watched(self) -> str | None:
        """The stage whose first steps are looked at; None = the last one."""
        return getattr(self.module, "WATCHED", None)

    @property
    def pictures(self) -> tuple[str, ...]:
        """What it draws, once there are runs for it."""
        own = (self.name,) if hasattr(self.module, "plot") else ()
        return tuple(getattr(self.module, "PICTURES", own))

    def plan(self, runs: list[Run]) -> list[Settings]:
        """Settings of every run that the runs so far call for."""
        return list(self.module.plan(runs))

    def prepare(self, settings: Settings) -> None:
        """Make what a run reads, before anybody asks where it comes from."""
        self._own("prepare", lambda settings: None)(settings)

    def execute(self, settings: Settings) -> dict[str, Any]:
        """Execute one run."""
        return dict(self.module.execute(settings))

    def figures(self, runs: list[Run]) -> dict[str, Figure]:
        """Compute all figures."""
        return dict(self.module.figures(runs))

    def arm(self, settings: Settings) -> str:
        """Name the arm of a run."""
        return str(self._own("arm", lambda settings: self.name)(settings))

    def recipe(self, settings: Settings) -> Any:
        """Return the recipe that a run trains, or None."""
        return self._own("recipe", lambda settings: None)(settings)

    def inputs(self, settings: Settings) -> dict[str, str]:
        """Digests that cost no look at the data."""
        found = dict(self._own("inputs", lambda settings: {})(settings))
        loaded = self.recipe(settings)
        if loaded is not None:
            import msgspec

            found["recipe"] = digest_of(_as_first_kept(msgspec.to_builtins(loaded.recipe)))[:12]
        return found

    def computes(self, settings: Settings) -> tuple[str, ...]:
        """Modules that the suite names for a run's arm."""
        named = getattr(self.module, "COMPUTES", {})
        return tuple(named.get(self.arm(settings), named.get("", ())))

    def is_timed(self, settings: Settings) -> bool:
        """Whether a run measures time."""
        return self.arm(settings) in getattr(self.module, "TIMED", ())

    def _own(self, name: str, otherwise: Callable[[Settings], Any]) -> Callable[[Settings], Any]:
        return getattr(self.module, name, otherwise)


def _as_first_kept(part: Any) -> Any:
    """A recipe without keys that came after the first results, where they have no effect."""
    if isinstance(part, list):
        return [_as_first_kept(one) for one in part]
    if not isinstance(part, dict):
        return part
    later = LATER_OF_MODELS if "model" in part else LATER
    return {
        key: _as_first_kept(value) for key, value in part.items() if key not in later or value != later[key]
    }


def suite_named(name: str) -> Suite:
    """Open a suite.

    Raises:
        SystemExit: there is none of this name.
    """
    known = [one for names in SUITES.values() for one in names]
    if name not in known:
        raise SystemExit(f"suite {name!r}: expected one of {', '.join(known)}")
    return Suite(import_module(f"benchmarks.suites.{name}"))


def all_suites() -> list[Suite]:
    """All suites, in the order of their groups."""
    return [suite_named(name) for names in SUITES.values() for name in names]
