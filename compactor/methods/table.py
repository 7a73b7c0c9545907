"""The methods as rows for people: what `compactor methods` prints, the docs show and JSON holds."""

from typing import Any, Literal

import msgspec
import yaml
from msgspec import Struct

from compactor.methods import METHODS, VIEWS, Method, method_named

LabelsOf = Literal["needed", "for a share of the loss", "not read"]
TeachersOf = Literal["none", "live", "live or a label store", "a label store"]
UNLABELLED = {"needed": "no", "for a share of the loss": "without that share", "not read": "yes"}
FILL_IN = "FILL_IN"
CROPS = 16  # recorded views that a new store is proposed with


class MethodRow(Struct, frozen=True, kw_only=True):
    """One method.

    `teachers` says how they are asked; `unlabelled` whether samples without labels teach the student
    something; `page` is a file in docs/methods.
    """

    name: str
    does: str
    labels: LabelsOf
    teachers: TeachersOf
    unlabelled: str
    cost: str
    source: str
    page: str


def method_rows() -> list[MethodRow]:
    """Every method, in the order of METHODS."""
    return [method_row(name) for name in METHODS]


def method_row(name: str) -> MethodRow:
    """One method.

    Raises:
        UsageError: no such method.
    """
    method = method_named(name, "methods")
    about = method.about
    return MethodRow(
        name=name,
        does=about.does,
        labels=about.labels,
        teachers=_teachers(method),
        unlabelled=UNLABELLED[about.labels],
        cost=about.cost,
        source=about.source,
        page=about.page or f"{name.replace('_', '-')}.md",
    )


def store_settings(method: Method, *, crops: int = CROPS) -> dict[str, Any]:
    """What `labels` must hold at least for the views that the method takes of a sample by default."""
    views = next((one.default for one in msgspec.structs.fields(method.options) if one.name == VIEWS), 1)
    return {"crops": max(crops, views if isinstance(views, int) else 1)}


def start_settings(method: Method, *, is_trained: bool) -> dict[str, Any]:
    """Options whose default does not fit a student that starts from trained weights."""
    # a peer that is drawn at random would be noise beside it
    return {"peer": "copied"} if is_trained and "peer" in method.options.__struct_fields__ else {}


def required_options(method: Method) -> list[str]:
    """Options without a default, which a stage must say."""
    return [one.encode_name for one in msgspec.structs.fields(method.options) if one.required]


def stage_yaml(name: str) -> str:
    """The lines of a recipe's stage with this method: every option with a default, and FILL_IN for others."""
    method = method_named(name, "methods")
    stage: dict[str, Any] = {"id": "train", "method": name}
    if method.build is None:
        stage["labels"] = store_settings(method)
    options: dict[str, Any] = dict.fromkeys(required_options(method), FILL_IN)
    options |= {
        item.encode_name: msgspec.to_builtins(_default(item))
        for item in msgspec.structs.fields(method.options)
        if _default(item) not in (None, {}, msgspec.NODEFAULT, msgspec.UNSET)
    }
    stage |= {"options": options} if options else {}
    stage |= {"epochs": 30, "lr": 0.1}
    lines = [f"{key}: {_flow(value)}" for key, value in stage.items()]
    return "\n".join(["stages:", f"  - {lines[0]}", *(f"    {line}" for line in lines[1:])])


def _default(item: Any) -> Any:
    return item.default if item.default_factory is msgspec.NODEFAULT else item.default_factory()


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**9)
    return text.removesuffix("...\n").strip()


def _teachers(method: Method) -> TeachersOf:
    if not method.learns_from_teachers:
        return "none"
    if method.build is None:
        return "a label store"
    return "live" if method.build_stored is None else "live or a label store"
