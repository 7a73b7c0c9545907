"""Whether two lists of class names are the same classes, and in which order; nothing else about labels.

1. `aliases` rename the model's names first.
2. The lists are compared as they are written, then in NFC, then folded: by case, without outer blanks, runs
   of blanks, `_` and `-` between letters or digits read as one blank. A step is taken if it maps both lists
   one to one; one list of classes is never merged with itself, so '-1' is not '1', and C, c, C++ and C# stay
   four.
3. If names would be alike only because one list has two of them, that is ambiguous, and the pair is named.
4. Names that say nothing (LABEL_0, LABEL_1, ... or 0, 1, ...) are taken in their order, which is said.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

How = Literal["written", "nfc", "folded", "in order"]
BETWEEN = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")
MADE_UP = re.compile(r"LABEL_(\d+)")
SHOWN = 6  # names of a list in a message


@dataclass(frozen=True)
class ClassMatch:
    """`order` holds, for each of the data's classes, its place among the model's answers.

    `how` says which step found it; `model` and `data` are the names as they are written.
    """

    order: tuple[int, ...]
    how: How
    model: tuple[str, ...]
    data: tuple[str, ...]

    @property
    def is_identity(self) -> bool:
        """Whether the model's answers are in the data's order, all of them."""
        return self.order == tuple(range(len(self.model)))

    def told(self) -> str:
        """What was done, for people; empty where the names are the same in the same order."""
        pairs = [(self.model[place], name) for place, name in zip(self.order, self.data, strict=True)]
        shown = ", ".join(f"{theirs} = {ours}" for theirs, ours in pairs[:SHOWN])
        shown += ", ..." if len(pairs) > SHOWN else ""
        if self.how == "in order":
            return f"its classes are taken in the data's order, as the names do not tell ({shown})"
        left = len(self.model) - len(self.order)
        others = f"; {left} classes of its own are not asked for" if left else ""
        if self.is_identity:
            return "" if self.model == self.data else f"its classes are the data's ({shown})"
        return f"its classes are the data's in another order ({shown}){others}"


def match_classes(
    model: Sequence[str],
    data: Sequence[str],
    *,
    aliases: Mapping[str, str] | None = None,
    subset: bool = False,
    where: str,
) -> ClassMatch | None:
    """Find the data's classes among a model's by rules 1 to 4.

    Args:
        model: names in the order of the model's answers.
        data: names in the data's order.
        aliases: model's name -> data's name.
        subset: the model may know more classes.
        where: opens messages, as `teacher hf:x`.

    Returns:
        None where they are other classes.

    Raises:
        UsageError: an alias of nothing, or an ambiguous pair.
    """
    renamed = _renamed(model, data, aliases or {}, where)
    for how, key in STEPS:
        theirs, ours = [key(name) for name in renamed], [key(name) for name in data]
        if not (set(ours) <= set(theirs) and (subset or len(theirs) == len(ours))):
            continue
        _require_one_to_one(renamed, theirs, f"{where}: its classes", where)
        _require_one_to_one(data, ours, "the data's classes", where)
        place = {name: index for index, name in enumerate(theirs)}
        return ClassMatch(tuple(place[name] for name in ours), how, tuple(model), tuple(data))
    if len(renamed) == len(data) and (says_nothing(renamed) or says_nothing(data)):
        return ClassMatch(tuple(range(len(data))), "in order", tuple(renamed), tuple(data))
    return None


def match_group(
    model: Sequence[str],
    data: Sequence[str],
    *,
    aliases: Mapping[str, str] | None = None,
    subset: bool = False,
    where: str,
) -> ClassMatch | None:
    """Find the classes that a model shares with the data by rules 1 to 3; the match has these alone.

    A step is taken if it finds most of the model's classes, and all of them unless `subset`.

    Args:
        model: names in the order of the model's answers.
        data: names in the data's order, which the match keeps.
        aliases: model's name -> data's name.
        subset: the model may know classes that the data have not.
        where: opens messages, as `teacher hf:x`.

    Returns:
        None where they share no class, or the model knows others.

    Raises:
        UsageError: an alias of nothing, or an ambiguous pair.
    """
    renamed = _renamed(model, data, aliases or {}, where)
    best: ClassMatch | None = None
    for how, key in STEPS:
        theirs, ours = [key(name) for name in renamed], [key(name) for name in data]
        shared = [(theirs.index(one), name) for one, name in zip(ours, data, strict=True) if one in theirs]
        if not shared or not (subset or set(theirs) <= set(ours)) or best and len(shared) <= len(best.order):
            continue
        _require_one_to_one(renamed, theirs, f"{where}: its classes", where)
        _require_one_to_one(data, ours, "the data's classes", where)
        order, names = zip(*shared, strict=True)
        best = ClassMatch(order, how, tuple(model), names)
    return best


def folded(name: str) -> str:
    """A name without what people spell differently (rule 2)."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()
    return BETWEEN.sub(" ", plain)


def nfc(name: str) -> str:
    """A name with composed letters; the two spellings of one letter are one."""
    return unicodedata.normalize("NFC", name)


def says_nothing(names: Sequence[str]) -> bool:
    """Whether names are LABEL_0, LABEL_1, ... or 0, 1, ... in this order (rule 4)."""
    made_up = [MADE_UP.fullmatch(name) for name in names]
    if all(made_up):
        return [int(found[1]) for found in made_up if found] == list(range(len(names)))
    return list(names) == [str(number) for number in range(len(names))]


def listed(names: Sequence[str]) -> str:
    """The first classes of a list in a message."""
    return f"{', '.join(map(str, names[:SHOWN]))}{', ...' if len(names) > SHOWN else ''}"


def shown(names: Sequence[str]) -> str:
    """A list of classes in a message, with their number."""
    return f"{listed(names)} ({len(names)})"


def _written(name: str) -> str:
    return name


STEPS: tuple[tuple[How, Callable[[str], str]], ...] = (
    ("written", _written),
    ("nfc", nfc),
    ("folded", folded),
)


def _renamed(model: Sequence[str], data: Sequence[str], aliases: Mapping[str, str], where: str) -> list[str]:
    """Rule 1."""
    for theirs, ours in aliases.items():
        if theirs not in model:
            raise UsageError(f"{where}.aliases: it has no class {theirs!r}; {nearest(theirs, list(model))}")
        if ours not in data:
            raise UsageError(f"{where}.aliases: the data has no class {ours!r}; {nearest(ours, list(data))}")
    return [aliases.get(name, name) for name in model]


def _require_one_to_one(names: Sequence[str], keys: Sequence[str], whose: str, where: str) -> None:
    """Rule 3."""
    first: dict[str, str] = {}
    for name, key in zip(names, keys, strict=True):
        if key in first:
            raise UsageError(
                f"{where}: classes cannot be told apart by name: of {whose.partition(': ')[2] or whose}, "
                f"{first[key]!r} and {name!r} read alike; name them with aliases: "
                "{model's name: data's name}"
            )
        first[key] = name
