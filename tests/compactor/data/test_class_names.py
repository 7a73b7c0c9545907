"""Lists of classes are the same if one spelling step maps both one to one; the order follows the names."""

import pytest

from compactor.data.class_names import folded, match_classes, says_nothing
from compactor_runtimes.errors import UsageError

NFD, NFC = "cafe\u0301", "caf\u00e9"


def order(model: list[str], data: list[str], **options: object) -> tuple[tuple[int, ...], str] | None:
    found = match_classes(model, data, where="teacher toy", **options)  # type: ignore[arg-type]
    return None if found is None else (found.order, found.how)


@pytest.mark.parametrize(
    ("model", "data", "expected"),
    [
        (["a", "b"], ["a", "b"], ((0, 1), "written")),
        (["b", "a"], ["a", "b"], ((1, 0), "written")),
        (["POSITIVE", "NEGATIVE"], ["negative", "positive"], ((1, 0), "folded")),
        (["Out_Of_Scope", "In-Scope"], ["in scope", "out of scope"], ((1, 0), "folded")),
        ([" yes ", "no"], ["no", "yes"], ((1, 0), "folded")),
        ([NFD, "tea"], ["tea", NFC], ((1, 0), "nfc")),
        (["STRASSE", "weg"], ["weg", "straße"], ((1, 0), "folded")),
        (["C", "c", "C++", "C#"], ["C#", "C++", "c", "C"], ((3, 2, 1, 0), "written")),
        (["-1", "0", "1"], ["1", "0", "-1"], ((2, 1, 0), "written")),
        (["A-", "A"], ["A", "A-"], ((1, 0), "written")),
        (["2", "0", "1"], ["0", "1", "2"], ((1, 2, 0), "written")),  # integers that are names
        (["LABEL_0", "LABEL_1"], ["no", "yes"], ((0, 1), "in order")),
        (["no", "yes"], ["0", "1"], ((0, 1), "in order")),
        (["LABEL_1", "LABEL_0"], ["no", "yes"], None),
        (["1", "2"], ["no", "yes"], None),
        (["pos", "neg"], ["negative", "positive"], None),
        (["a", "b", "c"], ["a", "b"], None),
        (["a"], ["a", "b"], None),
        (["x y", "z"], ["xy", "z"], None),
        (["-1", "1"], ["1", "2"], None),
    ],
)
def test_the_first_step_that_maps_both_one_to_one_is_taken(
    model: list[str], data: list[str], expected: object
) -> None:
    assert order(model, data) == expected


def test_a_model_of_more_classes_may_teach_those_that_it_shares() -> None:
    assert order(["cat", "dog", "eel"], ["Eel", "Cat"], subset=True) == ((2, 0), "folded")
    assert order(["cat", "dog"], ["eel", "cat"], subset=True) is None


def test_aliases_come_first() -> None:
    assert order(["pos", "neg"], ["negative", "positive"], aliases={"pos": "positive", "neg": "negative"}) == (
        (1, 0),
        "written",
    )
    with pytest.raises(UsageError, match=r"teacher toy.aliases: it has no class 'po'.*pos"):
        order(["pos", "neg"], ["a", "b"], aliases={"po": "a"})
    with pytest.raises(UsageError, match=r"teacher toy.aliases: the data has no class 'aa'"):
        order(["pos", "neg"], ["a", "b"], aliases={"pos": "aa"})


@pytest.mark.parametrize(
    ("model", "data", "pair"),
    [
        (["A", "a"], ["A ", "a"], "'A' and 'a'"),
        (["yes", "YES"], ["Yes", "yes "], "'yes' and 'YES'"),
        (["C", "c", "C++"], ["C", "c", "c++"], "'C' and 'c'"),
    ],
)
def test_what_is_alike_twice_is_refused_and_named(model: list[str], data: list[str], pair: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be told apart by name.*{pair}"):
        order(model, data)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Out_of-Scope", "out of scope"),
        ("  a  b ", "a b"),
        ("-1", "-1"),
        ("A-", "a-"),
        ("_x_", "_x_"),
        ("C++", "c++"),
        ("e-mail", "e mail"),
        ("2 - 3", "2 3"),
        ("İ", "i̇"),
    ],
)
def test_folding_keeps_signs_and_outer_marks(name: str, expected: str) -> None:
    assert folded(name) == expected


def test_names_that_say_nothing() -> None:
    assert says_nothing(["LABEL_0", "LABEL_1"])
    assert says_nothing(["0", "1", "2"])
    assert not says_nothing(["LABEL_0", "x"])
    assert not says_nothing(["1", "2"])
    assert not says_nothing(["00", "01"])


def test_what_was_done_is_told() -> None:
    found = match_classes(["POS", "NEG"], ["neg", "pos"], where="x")
    assert found is not None
    assert found.told() == "its classes are the data's in another order (NEG = neg, POS = pos)"
    same = match_classes(["a", "b"], ["a", "b"], where="x")
    assert same is not None
    assert same.told() == ""
    assert same.is_identity
