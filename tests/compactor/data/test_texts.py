"""Texts from tables: columns, tokenizers, batches that do not depend on the number of processes."""

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from compactor.data.hub import fetch
from compactor.data.spec import DataSpec
from compactor.data.survey import survey
from compactor.data.text_loader import TextLoader, text_batches
from compactor.data.texts import open_texts
from compactor.data.token_ids import encode
from compactor.data.tokenizer import find_tokenizer, text_info
from compactor.locate import locate_model
from compactor.records import IGNORE
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError
from tests.compactor.text_toys import write_tokenizer

TEXTS = ["turn on the light", "turn off the light now", "play music", "what time is it"]
LABELS = ["light", "light", "music", "time"]


def write_csv(path: Path, repeat: int = 10, label: str | None = "label") -> Path:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", *([label] if label else [])])
        for _ in range(repeat):
            for text, name in zip(TEXTS, LABELS, strict=True):
                writer.writerow([text, *([name] if label else [])])
    return path


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    tokenizer = write_tokenizer(tmp_path)
    return DataSpec(
        dataset=str(write_csv(tmp_path / "talk.csv")), tokenizer=str(tokenizer), max_tokens=6, select=0.25
    )


def opened(spec: DataSpec, **options):
    return open_texts(spec, task="text-classification", base=None, **options)


def test_csv_and_jsonl_give_the_same_texts_labels_and_splits(spec: DataSpec, tmp_path: Path) -> None:
    rows = list(csv.DictReader((tmp_path / "talk.csv").read_text().splitlines()))
    (tmp_path / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    from_csv = opened(spec)
    from_json = opened(DataSpec(dataset=str(tmp_path / "talk.jsonl"), tokenizer=spec.tokenizer, select=0.25))
    for data in (from_csv, from_json):
        assert data.info.classes == {"label": ["light", "music", "time"]}
        assert data.info.image is None
        assert (len(data.train), len(data.select), len(data.report)) == (24, 8, 8)
        assert data.train.inputs.tolist() == TEXTS * 10
        assert data.train.labels["label"].tolist() == [0, 0, 1, 2] * 10
    assert (from_csv.report.rows == from_json.report.rows).all()


def test_tokenizer_and_cut_enter_the_digest(spec: DataSpec, tmp_path: Path) -> None:
    import msgspec

    shorter = msgspec.structs.replace(spec, max_tokens=5)
    other = msgspec.structs.replace(spec, tokenizer=str(write_tokenizer(tmp_path / "other", ["turn"])))
    digests = {opened(one).train.digest for one in (spec, spec, shorter, other)}
    assert len(digests) == 3


def test_ids_are_those_of_the_runtime_and_batches_are_padded(spec: DataSpec) -> None:
    """[CLS] 2, [SEP] 3, then turn 4, on 5, off 6, the 7, light 8, ..., now 15; cut to six with both ends."""
    data = opened(spec)
    assert data.info.text is not None
    assert data.info.text.pad_id == 0
    ids = encode(data.train, data.info.text)
    first = {int(row) % 4: ids.ids_of(np.array([row]))[0].tolist() for row in data.train.rows}
    assert first[0] == [2, 4, 5, 7, 8, 3]
    assert first[1] == [2, 4, 6, 7, 8, 3]  # "now" is cut away
    assert first[2] == [2, 9, 10, 3]
    (batch,) = text_batches(data.report, data.info.text, 64)
    assert batch.x["input_ids"].shape == batch.x["attention_mask"].shape == (8, 6)
    short = batch.id % 4 == 2
    assert (batch.x["input_ids"][short, 4:] == 0).all()
    assert batch.x["attention_mask"][short].sum(1).tolist() == [4] * int(short.sum())
    assert batch.y["label"].tolist() == data.report.labels["label"][data.report.rows].tolist()


def test_two_processes_see_the_parts_of_one_global_batch(spec: DataSpec) -> None:
    data = opened(spec)
    assert data.info.text is not None
    positions = np.random.default_rng(0).permutation(len(data.train))

    def epoch(rank: int, world: int):
        loader = TextLoader(data.train, data.info.text, batch_size=5, seed=0, rank=rank, world=world)
        assert loader.steps(24) == 5
        return list(loader.epoch(0, positions, start=1))

    whole, halves = epoch(0, 1), [epoch(rank, 2) for rank in (0, 1)]
    assert len(whole) == 4
    for number, batch in enumerate(whole):
        parts = [half[number] for half in halves]
        for name, values in batch.x.items():
            assert torch.equal(values, torch.cat([part.x[name] for part in parts]))
        assert torch.equal(batch.id, torch.cat([part.id for part in parts]))


def test_unlabelled_texts_and_a_handful_of_rows(spec: DataSpec, tmp_path: Path) -> None:
    import msgspec

    plain = msgspec.structs.replace(
        spec, dataset=str(write_csv(tmp_path / "plain.csv", label=None)), classes=3
    )
    data = opened(plain)
    assert data.info.classes == {"label": ["0", "1", "2"]}
    assert (data.train.labels["label"] == IGNORE).all()
    few = opened(spec, at_most=8)
    assert few.train.inputs.shape == (8,)
    assert few.info.classes == {"label": ["light", "music", "time"]}
    assert few.train.digest != opened(spec).train.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_column": "words"}, r"talk\.csv: no column 'words', found text, label; set data\.text_column"),
        ({"dataset": "digits"}, "'digits' holds images, but task text-classification needs texts"),
        ({"dataset": "hole.csv"}, r"column 'text', row 1: holds no text"),
        ({"dataset": "number.csv"}, "column 'text' holds numbers alone, expected texts"),
        ({"tokenizer": None}, "data.tokenizer: absent"),
        ({"tokenizer": "package:json/nothing"}, "package json holds no folder 'nothing'"),
        ({"tokenizer": "package:no_such_package/x"}, "no installed package 'no_such_package'"),
        ({"classes": 2}, "row 0 holds class 'light', expected one of the 2 classes 0, 1"),
    ],
)
def test_bad_texts_are_answered(
    spec: DataSpec, changes: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import msgspec

    monkeypatch.chdir(tmp_path)
    (tmp_path / "hole.csv").write_text("text,label\na,1\n,2\nb,1\n")
    (tmp_path / "number.csv").write_text("text,label\n1,1\n2,2\n3,1\n")
    with pytest.raises(UsageError, match=message):
        opened(msgspec.structs.replace(spec, **changes))


def test_a_model_inside_a_package_is_found_without_importing_it_and_never_outside(
    tmp_path, monkeypatch
) -> None:
    package = tmp_path / "carrier"
    write_tokenizer(package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_tokenizer("package:carrier/model", None) == (package / "model" / "tokenizer.json").resolve()
    with pytest.raises(UsageError, match="holds no folder '../'"):
        locate_model("package:carrier/../", None)
    assert locate_model(f"hf:{package / 'model'}", None) == package / "model"
    assert locate_model("hf:owner/name", tmp_path) is None


def test_a_fetched_data_set_is_written_once_and_keeps_its_class_names(tmp_path, spec: DataSpec) -> None:
    """The library's own loader reads a local folder as it reads the hub."""
    write_csv(tmp_path / "repo.csv", repeat=2)
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo.csv").rename(tmp_path / "repo" / "train.csv")
    folder = fetch(str(tmp_path / "repo"), tmp_path / "hub")
    assert [path.name for path in folder.iterdir()] == ["train.parquet"]
    import msgspec

    data = opened(msgspec.structs.replace(spec, dataset=str(folder)))
    assert data.train.inputs.tolist() == TEXTS * 2
    (folder / "mark").touch()
    assert fetch(str(tmp_path / "repo"), tmp_path / "hub") == folder
    assert (folder / "mark").exists()


def test_survey_counts_and_names_problems(spec: DataSpec, tmp_path: Path) -> None:
    import msgspec

    found = survey(spec, base=None, task="text-classification")
    assert found.kind == "texts"
    assert found.rows == {"train": 24, "select": 8, "report": 8}
    assert found.classes == {"light": 20, "music": 10, "time": 10}
    assert found.problems == ["36 of 40 texts repeat earlier ones: copies may fall into train and report"]
    write_csv(tmp_path / "small.csv", repeat=1)
    found = survey(
        msgspec.structs.replace(spec, dataset=str(tmp_path / "small.csv"), report=spec.dataset, select=1),
        base=None,
        task="text-classification",
    )
    assert found.problems == ["40 of 40 report texts are in train or select too"]
    assert found.rows == {"train": 3, "select": 1, "report": 40}


@pytest.mark.heavy
@pytest.mark.real_data
def test_clinc_intents_open_from_the_data_folder(tmp_path: Path) -> None:
    data = opened(
        DataSpec(
            dataset="nlu/clinc150",
            label_column="intent",
            tokenizer=str(write_tokenizer(tmp_path)),
            limit={"train": 302},
        )
    )
    assert data.info.num_classes() == 151
    assert (len(data.train), len(data.select), len(data.report)) == (302, 3100, 5500)
    assert np.bincount(data.train.labels["label"][data.train.rows]).tolist() == [2] * 151
    assert text_info(DataSpec(dataset="x", tokenizer=str(tmp_path)), None).pad_id == 0


def test_settings_without_effect_on_texts_are_named(spec: DataSpec, tmp_path: Path) -> None:
    import msgspec

    with pytest.warns(UserWarning, match="data.image_size has no effect on texts"):
        opened(msgspec.structs.replace(spec, image_size=8))
    for split in ("train", "val", "test"):
        write_csv(tmp_path / "set" / f"{split}.csv", repeat=2)
    with pytest.warns(UserWarning, match="data.select has no effect"):
        opened(msgspec.structs.replace(spec, dataset=str(tmp_path / "set")))


def test_a_folder_without_named_tables_and_an_empty_table_are_refused(spec: DataSpec, tmp_path: Path) -> None:
    import msgspec

    write_csv(tmp_path / "set" / "talk.csv")
    with pytest.raises(UsageError, match=r"set is no folder of texts: the name of talk\.csv says no split"):
        opened(msgspec.structs.replace(spec, dataset=str(tmp_path / "set")))
    (tmp_path / "none.csv").write_text("text,label\n")
    with pytest.raises(UsageError, match=r"none\.csv: holds no row"):
        opened(msgspec.structs.replace(spec, dataset=str(tmp_path / "none.csv")))


@pytest.mark.parametrize(
    ("content", "pad_id"),
    [
        ({"padding": {"pad_id": 7}, "model": {"vocab": {"[PAD]": 3}}}, 7),
        ({"padding": None, "model": {"vocab": {"a": 0, "[PAD]": 3}}}, 3),
        ({"model": {"vocab": [["<s>", 0.0], ["<pad>", -1.0]]}}, 1),
        ({"added_tokens": [{"content": "<pad>", "id": 5}], "model": {"vocab": {"a": 0}}}, 5),
        ({"model": {"vocab": {"a": 0}}}, 0),
    ],
)
def test_the_pad_id_is_the_tokenizers_own(tmp_path: Path, content: dict[str, object], pad_id: int) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert text_info(DataSpec(dataset="x", tokenizer="tokenizer.json"), tmp_path).pad_id == pad_id


def test_a_model_path_is_looked_for_at_the_recipe_and_never_taken_for_a_hub_id(tmp_path, monkeypatch) -> None:
    for place in ("here", "recipe"):
        (tmp_path / place / "bert").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert locate_model("hf:bert", tmp_path / "recipe") == tmp_path / "recipe" / "bert"
    assert locate_model("hf:bert", None) == tmp_path / "here" / "bert"
    assert locate_model("hf:bert-base-uncased", tmp_path) is None
    for path in ("./none", "../none", "/none/at/all", "~/none", "a/b/c"):
        with pytest.raises(UsageError, match="was not found"):
            locate_model(f"hf:{path}", tmp_path)


def test_an_inner_package_is_found_without_importing_the_outer(tmp_path, monkeypatch) -> None:
    (tmp_path / "outer" / "inner" / "model").mkdir(parents=True)
    for folder in ("outer", "outer/inner"):
        (tmp_path / folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert locate_model("package:outer.inner/model", None) == tmp_path / "outer" / "inner" / "model"


def test_a_tokenizer_of_the_hub_fails_fast_offline(monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")
    started = time.monotonic()
    with pytest.raises(UnfitEnvironmentError, match=r"download tokenizer\.json of owner/name and give"):
        find_tokenizer("hf:owner/name", None)
    assert time.monotonic() - started < 8


def test_class_names_of_the_hub_are_kept_and_splits_are_files(tmp_path: Path, spec: DataSpec) -> None:
    import datasets
    import msgspec

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes", "never seen"])}
    )
    for split, texts in (("train", TEXTS), ("test", ["a b", "c d"])):
        rows = {"text": texts, "label": [row % 2 for row in range(len(texts))]}
        path = tmp_path / "repo" / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    folder = fetch(str(tmp_path / "repo"), tmp_path / "hub")
    assert sorted(path.name for path in folder.iterdir()) == ["test.parquet", "train.parquet"]
    data = opened(msgspec.structs.replace(spec, dataset=str(folder)))
    assert data.info.classes == {"label": ["no", "yes", "never seen"]}
    assert data.report.inputs.tolist() == ["a b", "c d"]
