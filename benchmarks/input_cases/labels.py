"""Labels as they are written: numbers of classes, or names."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.input_cases.cases import Case, Refused
from benchmarks.input_cases.toys import write_csv


def read_csv(
    folder: Path, *, labels: Sequence[str], classes: Any = None, teacher: Sequence[str] | None = None
) -> Any:
    """What the label of each row of a CSV file is read as, with the classes in their order."""
    from compactor.data.table_source import TableSource

    path = write_csv(folder / "x.csv", [(f"text {row}", label) for row, label in enumerate(labels)])
    source = TableSource(
        [path], "text", "label", classes, numbers_of=None if teacher is None else tuple(teacher)
    )
    found = source.labels()
    return [found.classes[value] if value >= 0 else None for value in found.values], found.classes


def read_parquet(folder: Path, *, labels: Sequence[Any], classes: Any = None) -> Any:
    """The same of a parquet file, whose column has a type."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from compactor.data.table_source import TableSource

    pq.write_table(pa.table({"text": ["a b"] * len(labels), "label": labels}), folder / "x.parquet")
    found = TableSource([folder / "x.parquet"], "text", "label", classes).labels()
    return [found.classes[value] if value >= 0 else None for value in found.values], found.classes


def read_folders(folder: Path, *, names: Sequence[str], classes: Any = None) -> Any:
    """The classes of a folder of images."""
    from PIL import Image

    from compactor.data.image_folder import open_folder

    for name in names:
        (folder / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(folder / name / "0.png")
    found = open_folder(folder, classes)
    return [found.labels().classes[value] for value in found.labels().values], found.labels().classes


def report_lacks(folder: Path, *, train: Sequence[str], report: Sequence[str]) -> Any:
    """Open a data set whose report split has these labels."""
    from benchmarks.input_cases.toys import write_tokenizer
    from compactor.data.spec import DataSpec
    from compactor.data.texts import open_texts

    for name, labels in (("train", train), ("test", report)):
        write_csv(folder / f"{name}.csv", [(f"good {row}", one) for row, one in enumerate(labels)])
    tokenizer = write_tokenizer(folder / "words")
    spec = DataSpec(dataset=str(folder), tokenizer=str(tokenizer))
    return open_texts(spec, task="text-classification", base=folder, cache=folder / "cache").info.classes[
        "label"
    ]


def _case(goes_in: str, act: Callable[..., Any], wanted: Any, *, keeps: bool = False, **given: Any) -> Case:
    return Case("labels", goes_in, wanted, partial(act, **given), keeps)


NO = ["no", "yes"]
CASES = [
    _case("CSV of 01 and 02", read_csv, (["01", "02"], ["01", "02"]), labels=["01", "02"]),
    _case(
        "CSV of 90210 and 10001",
        read_csv,
        (["90210", "10001"], ["10001", "90210"]),
        labels=["90210", "10001"],
    ),
    _case(
        "CSV of 0, 1, 2 with classes 2, 0, 1",
        read_csv,
        (["0", "2", "1"], ["2", "0", "1"]),
        labels=["0", "2", "1"],
        classes=["2", "0", "1"],
    ),
    _case("CSV of 1, 2, 3", read_csv, (["1", "3", "2"], ["1", "2", "3"]), labels=["1", "3", "2"]),
    _case("CSV of 0 and 2: 1 is absent", read_csv, (["0", "2"], ["0", "2"]), labels=["0", "2"]),
    _case("CSV of -1, 0, 1", read_csv, (["-1", "0", "1"], ["-1", "0", "1"]), labels=["-1", "0", "1"]),
    _case("CSV of years", read_csv, (["2020", "1999"], ["1999", "2020"]), labels=["2020", "1999"]),
    _case("CSV of 0.0 and 1.0", read_csv, (["0.0", "1.0"], ["0.0", "1.0"]), labels=["0.0", "1.0"]),
    _case("CSV of a 30-digit code", read_csv, (["9" * 30, "0"], ["0", "9" * 30]), labels=["9" * 30, "0"]),
    _case(
        "CSV of numbers and a teacher that names three classes",
        read_csv,
        (["pos", "neg"], ["neg", "neu", "pos"]),
        labels=["2", "0"],
        teacher=["neg", "neu", "pos"],
    ),
    _case(
        "CSV of 00 and a teacher that names two classes",
        read_csv,
        (["00", "01"], ["00", "01"]),
        labels=["00", "01"],
        teacher=NO,
    ),
    _case(
        "CSV with a number beyond the stated classes",
        read_csv,
        Refused(r"row 1 holds class '2', expected one of the 2 classes no, yes, or its number 0\.\.1"),
        labels=["0", "2"],
        classes=NO,
    ),
    _case(
        "CSV with a sign before a class number",
        read_csv,
        Refused(r"row 0 holds class '\+1'"),
        labels=["+1", "0"],
        classes=NO,
    ),
    _case(
        "a class stated twice, in NFC and NFD",
        read_csv,
        Refused("stated twice"),
        labels=["é"],
        classes=["é", "é"],
    ),
    _case("one class in NFC and in NFD", read_csv, (["é", "é", "a"], ["a", "é"]), labels=["é", "é", "a"]),
    _case("parquet of booleans", read_parquet, (["true", "false"], ["false", "true"]), labels=[True, False]),
    _case(
        "parquet of fractions", read_parquet, Refused("holds double, expected class names"), labels=[0.5, 1.5]
    ),
    _case("parquet of -100 and 0", read_parquet, ([None, "0", "1"], ["0", "1"]), labels=[-100, 0, 1]),
    _case("folders 01 and 02", read_folders, (["01", "02"], ["01", "02"]), names=["01", "02"]),
    _case("folders 1, 10 and 2", read_folders, (["1", "10", "2"], ["1", "2", "10"]), names=["1", "10", "2"]),
    _case(
        "a report split with a class that train lacks",
        report_lacks,
        Refused(r"row 1 holds class 'maybe', expected one of the 2 classes no, yes"),
        train=NO * 10,
        report=["no", "maybe"],
    ),
    _case(
        "a report split of numbers beside names in train",
        report_lacks,
        Refused(r"row 0 holds class '0', expected one of the 2 classes no, yes"),
        train=NO * 10,
        report=["0", "1"],
    ),
    # what must go on working
    _case(
        "CSV of C, c, C++ and C#",
        read_csv,
        (["C", "c", "C++", "C#"], ["C", "C#", "C++", "c"]),
        keeps=True,
        labels=["C", "c", "C++", "C#"],
    ),
    _case("CSV of A and A-", read_csv, (["A-", "A"], ["A", "A-"]), keeps=True, labels=["A-", "A"]),
    _case(
        "CSV of ' yes' and 'yes'",
        read_csv,
        ([" yes", "yes"], [" yes", "yes"]),
        keeps=True,
        labels=[" yes", "yes"],
    ),
    _case("CSV of 0, 1, 2", read_csv, (["2", "0", "1"], ["0", "1", "2"]), keeps=True, labels=["2", "0", "1"]),
    _case(
        "CSV of numbers of stated names",
        read_csv,
        (["yes", "no"], NO),
        keeps=True,
        labels=["1", "0"],
        classes=NO,
    ),
    _case(
        "CSV of names in a stated order",
        read_csv,
        (["no", "yes"], ["yes", "no"]),
        keeps=True,
        labels=["no", "yes"],
        classes=["yes", "no"],
    ),
    _case(
        "CSV with empty cells", read_csv, (["a", None, "b"], ["a", "b"]), keeps=True, labels=["a", "", "b"]
    ),
    _case(
        "a report split that lacks a class of train",
        report_lacks,
        NO,
        keeps=True,
        train=NO * 10,
        report=["no", "no"],
    ),
]
