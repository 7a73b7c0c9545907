"""The lines of a student's stage for the method that the user wishes, and why one cannot be had."""

from typing import Any

from compactor.methods import METHODS, VIEWS, Method, method_named
from compactor.methods.table import required_options, start_settings, store_settings
from compactor.propose.commented_yaml import Entries, Entry
from compactor.propose.data import Found
from compactor.propose.teachers import Roles
from compactor.recipe.method_checks import require_comparable
from compactor.records import reads_images
from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

OPTION = "--method"
SUBCLASSES = 5


def require_known(name: str, *, training: bool) -> None:
    """Refuse what cannot be meant, before data and models are looked at.

    Raises:
        UsageError: there is no such method, or nothing is trained.
    """
    if name not in METHODS:
        raise UsageError(f"{OPTION} {name!r}: there is no such method; {nearest(name, METHODS)}")
    if not training:
        raise UsageError(f"{OPTION} {name}: has no effect where nothing is trained; remove it")


def require_method(name: str, found: Found, roles: Roles, notes: list[str]) -> None:
    """Refuse a method that has nothing to learn from here.

    Args:
        name: of METHODS.
        found: the data.
        roles: teachers and student.
        notes: gets what is worth knowing of a method that can be had.

    Raises:
        UsageError: another task, no labels or no teacher.
    """
    require_comparable(name, found.task, OPTION)
    method = method_named(name, OPTION)
    if missing := required_options(method):
        raise UsageError(
            f"{OPTION} {name}: nothing tells what {', '.join(missing)} should be, which has no default; "
            f"write the stage yourself, from the lines that `compactor methods {name}` prints"
        )
    if found.is_judged and found.is_unlabelled and method.about.labels == "needed":
        raise UsageError(
            f"{OPTION} {name}: learns from labels, but data {found.where} has none; name the column of "
            "labels with --label-column, or a method that reads none (see `compactor methods`)"
        )
    if method.learns_from_teachers and not roles.teachers:
        raise UsageError(
            f"{OPTION} {name}: learns from a teacher, and there is none; name one in the place of -, or a "
            "method that needs none (see `compactor methods`)"
        )
    if roles.teachers and not method.learns_from_teachers:
        notes.append(f"method {name} learns from no teacher: it is there for comparison alone")
    if found.is_judged and found.is_unlabelled and method.about.labels != "not read" and name != "kd":
        notes.append(f"the data have no labels, so the share of {name} that reads them has no effect")


def method_lines(name: str, found: Found, roles: Roles) -> Entries:
    """The method, and what of options and labels it cannot do without."""
    method = method_named(name, OPTION)
    lines = [Entry("method", name, method.about.does)]
    options = _options(method, found, roles)
    if options:
        lines.append(Entry("options", options, f"all of them: compactor methods {name}"))
    if method.build is None:
        crops = store_settings(method) if reads_images(found.task) else {"crops": 1}
        lines.append(Entry("labels", crops, "the teachers are asked once, of that many views of a sample"))
    return lines


def student_lines(name: str | None) -> Entries:
    """What the student's entry must say for the method."""
    if name is None or not method_named(name, OPTION).trains_subclasses:
        return []
    return [Entry("subclasses", SUBCLASSES, f"of each class, which {name} trains; folded in the export")]


def _options(method: Method, found: Found, roles: Roles) -> dict[str, Any]:
    """Options whose default does not fit data or student."""
    known = method.options.__struct_fields__
    options = start_settings(method, is_trained=roles.student.weights is not None)
    if not reads_images(found.task) and method.build is None:
        alone: dict[str, Any] = {VIEWS: 1, "mixing": "none"}  # a text has one view, and texts do not mix
        options |= {key: value for key, value in alone.items() if key in known}
    return options
