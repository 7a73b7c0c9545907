"""Classes of trained models and of the data: other spellings, orders and classes; and teachers at chance."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.input_cases.cases import Case, Refused
from benchmarks.input_cases.toys import (
    CLASSES,
    answers_of,
    bert,
    relabelled,
    sentences,
    text_recipe,
    write_csv,
)

ORDER = ("positive", "negative", "neutral")  # of a teacher's answers; the data's is alphabetical
RIGHT = ["negative", "positive"]  # what the two sentences are that everyone is asked
NUMBERS = {name: str(number) for number, name in enumerate(CLASSES)}


def distilled(
    folder: Path,
    *,
    answers: Sequence[str] = ORDER,
    names: Sequence[str] | None = None,
    rows: Sequence[tuple[str, str]] | None = None,
    keys: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
) -> list[str]:
    """Distil from a teacher of these classes by a recipe written by hand; what the bundle answers."""
    model = bert(folder / "teacher", answers, names, **(config or {}))
    table = write_csv(folder / "toy.csv", rows or sentences())
    return answers_of(folder, text_recipe(folder, table, {"model": model, **(keys or {})}, **(data or {})))


def exported(folder: Path, *, answers: Sequence[str], names: Sequence[str], rows: Any = None) -> list[str]:
    """Export a trained model with data, as `compactor export` does; what the bundle answers."""
    import yaml

    from compactor.propose import propose
    from compactor.recipe.load import LoadedRecipe, parse_recipe

    model = bert(folder / "model", answers, names)
    table = write_csv(folder / "toy.csv", rows or sentences())
    proposal = propose("-", model, str(table), training=False)
    recipe = parse_recipe(yaml.safe_load(proposal.yaml) | {"measure": {"scenarios": []}})
    return answers_of(folder, LoadedRecipe(recipe, folder, "export.yaml"))


def two_orders(folder: Path) -> list[str]:
    """Two teachers, each with the classes in an order of its own."""
    loaded = text_recipe(
        folder, write_csv(folder / "toy.csv", sentences()), {"model": bert(folder / "a", ORDER)}
    )
    second = {
        "model": bert(folder / "b", ORDER[::-1], [name.upper() for name in ORDER[::-1]]),
        "weights": "pretrained",
    }
    import msgspec

    from compactor.recipe.spec import ModelSpec

    teachers = [*loaded.recipe.teachers, msgspec.convert(second, ModelSpec)]
    recipe = msgspec.structs.replace(loaded.recipe, teachers=teachers)
    return answers_of(folder, msgspec.structs.replace(loaded, recipe=recipe))


def skewed(share: float) -> list[tuple[str, str]]:
    """Rows of which a share are of the first class."""
    rows = sentences(3000)
    first = [row for row in rows if row[1] == CLASSES[0]]
    others = [row for row in rows if row[1] != CLASSES[0]]
    return first + others[: int(len(first) * (1 - share) / share)]


def noisy(share: float) -> list[tuple[str, str]]:
    """Rows of which a share have another class's label, so that a teacher is wrong on so many."""
    turned = dict(zip(CLASSES, [*CLASSES[1:], CLASSES[0]], strict=True))
    return [
        (text, turned[label] if number % 100 < 100 * share else label)
        for number, (text, label) in enumerate(sentences(900))
    ]


def _case(
    goes_in: str, wanted: Any, act: Callable[..., Any] = distilled, *, keeps: bool = False, **given: Any
) -> Case:
    return Case("teachers", goes_in, wanted, partial(act, **given), keeps)


SHOUTED = [name.upper() for name in ORDER]
SPELLED = dict(zip(CLASSES, ["very bad", "so-so", "Very Good"], strict=True))
SPELLED_BY_TEACHER = ["VERY_GOOD", "very_bad", "so so"]
C_NAMES = dict(zip(CLASSES, ["C", "c", "C++"], strict=True))
CASES = [
    _case("POSITIVE for positive, in another order", RIGHT, names=SHOUTED),
    _case("the data's names in another order", RIGHT),
    _case(
        "blanks, _ and - for each other",
        ["very bad", "Very Good"],
        names=SPELLED_BY_TEACHER,
        rows=relabelled(SPELLED),
    ),
    _case(
        "LABEL_0 ... in another order than the data",
        Refused("in another order than the data's"),
        names=["LABEL_0", "LABEL_1", "LABEL_2"],
    ),
    _case(
        "names that lie about the order",
        Refused("in another order .* if 'negative' means 'positive'"),
        names=list(CLASSES),
    ),
    _case(
        "numbers of classes that it numbers otherwise",
        Refused("in another order than the data's"),
        rows=relabelled(NUMBERS),
    ),
    _case(
        "other classes",
        Refused(r"tell other classes apart \(joy, anger, calm"),
        names=["joy", "anger", "calm"],
    ),
    _case(
        "more classes than the data",
        Refused("set classes: subset where the data have some"),
        answers=[*ORDER, "x"],
        names=[*ORDER, "mixed"],
    ),
    _case("fewer classes than the data", Refused("tell other classes apart"), answers=ORDER[:2]),
    _case(
        "names that differ from the data's only by a blank after one of two",
        Refused("cannot be told apart by name"),
        names=["c ", "C ", "x "],
        rows=relabelled(dict(zip(CLASSES, ["c", "C", "x"], strict=True))),
    ),
    _case(
        "an alias of a class that it does not have",
        Refused("it has no class 'joy'"),
        keys={"aliases": {"joy": "positive"}},
    ),
    _case(
        "a teacher that answers one class",
        Refused("is no better than chance"),
        answers=["x", "positive", "y"],
        names=list(CLASSES),
        rows=sentences(2400),
    ),
    _case(
        "a teacher of several classes at once",
        Refused("several classes at once"),
        config={"problem_type": "multi_label_classification"},
    ),
    _case(
        "export: names that lie about the order", ["not yet"], exported, answers=ORDER, names=list(CLASSES)
    ),
    _case("export: other spellings in another order", RIGHT, exported, answers=ORDER, names=SHOUTED),
    _case(
        "export: other classes",
        Refused("use data with its classes"),
        exported,
        answers=ORDER,
        names=["joy", "anger", "calm"],
    ),
    _case(
        "export: numbers of classes that it numbers otherwise",
        ["not yet"],
        exported,
        answers=ORDER,
        names=list(ORDER),
        rows=relabelled(NUMBERS),
    ),
    # what must go on working
    _case("two teachers, each in an order of its own", RIGHT, two_orders, keeps=True),
    _case("the same names in the same order", RIGHT, keeps=True, answers=CLASSES),
    _case(
        "LABEL_0 ... in the data's order",
        RIGHT,
        keeps=True,
        answers=CLASSES,
        names=["LABEL_0", "LABEL_1", "LABEL_2"],
    ),
    _case(
        "numbers of classes as it numbers them",
        RIGHT,
        keeps=True,
        rows=relabelled(dict(zip(ORDER, ["0", "1", "2"], strict=True))),
    ),
    _case(
        "aliases for names in another language",
        RIGHT,
        keeps=True,
        names=["gut", "schlecht", "mittel"],
        keys={"aliases": {"gut": "positive", "schlecht": "negative", "mittel": "neutral"}},
    ),
    _case(
        "a published model of more classes, as a subset",
        RIGHT,
        keeps=True,
        answers=["x", *ORDER, "y"],
        names=["joy", *SHOUTED, "anger"],
        keys={"classes": "subset"},
    ),
    _case(
        "C, c and C++ in another order",
        ["C", "C++"],
        keeps=True,
        names=[C_NAMES[name] for name in ORDER],
        rows=relabelled(C_NAMES),
    ),
    _case("a teacher that errs on a quarter of the labels", RIGHT, keeps=True, rows=noisy(0.25)),
    _case("80% of the rows of one class", RIGHT, keeps=True, rows=skewed(0.8)),
    _case(
        "a teacher at chance that is trusted, to a student at chance",
        ["not yet"],
        keeps=True,
        names=list(CLASSES),
        keys={"trust_teacher": True},
    ),
]
