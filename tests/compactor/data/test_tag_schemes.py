"""Labels of words in other schemes, and as numbers: turned into BIO with a word, or refused."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compactor.data.spec import DataSpec
from compactor.data.tag_schemes import scheme_of, to_bio
from compactor.tasks import task_named
from compactor_runtimes.errors import UsageError
from tests.compactor.text_toys import write_tokenizer


@pytest.mark.parametrize(
    ("given", "scheme", "bio"),
    [
        ("O B-a I-a O B-a", "BIO", "O B-a I-a O B-a"),
        ("B-a I-a I-b O", "BIO", "B-a I-a I-b O"),  # one slip makes no IOB1
        ("O B-a E-a S-b", "BIOES", "O B-a I-a B-b"),
        ("S-a O", "BIOES", "B-a O"),
        ("B-a I-a E-a O S-b S-b", "BIOES", "B-a I-a I-a O B-b B-b"),
        ("O B-a I-a L-a U-b", "BILOU", "O B-a I-a I-a B-b"),
        ("B-a M-a E-a S-b", "BMES", "B-a I-a I-a B-b"),
        ("O I-a I-a B-a I-b", "IOB1", "O B-a I-a B-a B-b"),
        ("I-a O I-a", "IOB1", "B-a O B-a"),
        ("a O", "", "a O"),
        ("X-a O", "", "X-a O"),
        ("B-a L-a S-b", "", "B-a L-a S-b"),
        ("O O", "BIO", "O O"),
    ],
)
def test_schemes_are_told_apart_and_turned(given: str, scheme: str, bio: str) -> None:
    tags = {"train": [given.split(), None]}
    assert scheme_of(tags) == scheme
    found, said = to_bio(tags)
    assert found["train"] == [bio.split(), None]
    assert bool(said) == (given != bio)
    if said:
        changed = sum(a != b for a, b in zip(given.split(), bio.split(), strict=True))
        assert said == [f"slot labels are {scheme}: {changed} of them were turned into BIO"]


def test_all_splits_tell_the_scheme() -> None:
    found, _ = to_bio({"train": [["I-a", "O"]], "report": [["S-a", "O"]]})
    assert found == {"train": [["I-a", "O"]], "report": [["B-a", "O"]]}


NAMES = ["O", "B-what", "I-what"]
SEQUENCE = {"feature": {"names": NAMES, "_type": "ClassLabel"}, "_type": "Sequence"}


def hub(feature: Any) -> dict[str, str]:
    return {"huggingface": json.dumps({"info": {"features": {"ner_tags": feature}}})}


def opened(folder: Path, tags: list[Any], metadata: dict[str, str]) -> Any:
    table = pa.table({"text": ["play the music now"] * 8, "ner_tags": tags})
    pq.write_table(table.replace_schema_metadata(metadata), folder / "x.parquet")
    spec = DataSpec(
        dataset=str(folder / "x.parquet"), tokenizer=str(write_tokenizer(folder)), slots_column="ner_tags"
    )
    return task_named("token-classification").open(spec, base=folder)


@pytest.mark.parametrize(
    "metadata",
    [
        hub(SEQUENCE),
        hub(SEQUENCE | {"_type": "List"}),
        hub([{"names": NAMES, "_type": "ClassLabel"}]),
        hub({"feature": {"class_label": None, "names": NAMES}, "length": -1}),
        {"ner_tags": json.dumps(NAMES)},
    ],
)
def test_numbers_have_the_names_of_the_files_metadata(tmp_path: Path, metadata: dict[str, str]) -> None:
    data = opened(tmp_path, [[0, 1, 2, 0]] * 8, metadata)
    assert data.info.classes == {"slot": NAMES}
    assert data.train.labels["slot"][0].tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("tags", "metadata", "says"),
    [
        (
            [[0, 1, 2, 0]] * 8,
            {},
            r"labels are numbers \(\[0, 1, 2, 0\]\), the file has no names for them",
        ),
        (
            [[0, 1, 3, 0]] * 8,
            hub(SEQUENCE),
            r"the file has names of 0 to 2 for them; write the labels",
        ),
        ([["O", "what", "what", "O"]] * 8, {}, r"'what' found, expected O, B-NAME or I-NAME \(or BIOES"),
    ],
)
def test_what_is_no_scheme_is_refused(tmp_path: Path, tags: Any, metadata: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        opened(tmp_path, tags, metadata)


def test_what_was_turned_is_said(tmp_path: Path) -> None:
    data = opened(tmp_path, [["O", "B-what", "E-what", "S-when"]] * 8, {})
    assert data.info.classes == {"slot": ["O", "B-what", "B-when", "I-what"]}
    assert data.notes == ("slot labels are BIOES: 16 of them were turned into BIO",)
