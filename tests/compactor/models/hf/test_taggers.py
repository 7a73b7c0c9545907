"""Token classifiers of transformers: their head is there, and its classes are put in the data's order."""

from pathlib import Path

import pytest
import torch

from compactor.models.build import build_model, load_model_folder, save_model
from compactor.recipe.spec import ModelSpec
from compactor.records import IDS, MASK, DataInfo, TextInfo
from compactor.teachers import open_teacher
from compactor_runtimes.errors import UsageError
from tests.compactor.text_toys import bert_config, write_tokenizer

THEIRS = ["B-what", "I-what", "O", "B-when"]
OURS = ["O", "B-what", "B-when", "I-what"]


def tagger(folder: Path, names: list[str] = THEIRS, kind: str = "bert", **changes: object) -> ModelSpec:
    from transformers import AutoModelForTokenClassification, DistilBertConfig

    torch.manual_seed(0)
    labels = {"num_labels": len(names), "id2label": dict(enumerate(names))}
    config = bert_config(**labels, **changes)
    if kind == "distilbert":
        sizes = {"vocab_size": 16, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
        config = DistilBertConfig(**sizes, max_position_embeddings=20, **labels)
    AutoModelForTokenClassification.from_config(config).save_pretrained(folder)
    return ModelSpec(model=f"hf:{folder}", weights="pretrained")


def data(folder: Path, classes: list[str] = OURS) -> DataInfo:
    return DataInfo("token-classification", {"slot": classes}, text=TextInfo(write_tokenizer(folder), 0, 12))


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_it_teaches_with_its_classes_in_the_datas_order(tmp_path: Path, kind: str) -> None:
    from transformers import AutoModelForTokenClassification

    spec, info = tagger(tmp_path / "m", kind=kind), data(tmp_path)
    teacher = open_teacher(spec, info, tmp_path, {})
    assert teacher.untrained == []
    x = {IDS: torch.tensor([[2, 4, 5, 3], [2, 9, 3, 0]]), MASK: torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])}
    own = AutoModelForTokenClassification.from_pretrained(tmp_path / "m").eval()
    with torch.no_grad():
        expected = own(input_ids=x[IDS], attention_mask=x[MASK]).logits[
            ..., [THEIRS.index(name) for name in OURS]
        ]
        torch.testing.assert_close(teacher(**x)["slot"], expected, atol=1e-6, rtol=0)
        save_model(teacher, spec, tmp_path / "kept")
        torch.testing.assert_close(
            load_model_folder(tmp_path / "kept")(**x)["slot"], expected, atol=1e-6, rtol=0
        )
    assert teacher.class_note.startswith("its classes are the data's in another order")


def test_a_teacher_of_other_classes_is_refused_and_a_student_gets_a_new_head(tmp_path: Path) -> None:
    spec, info = tagger(tmp_path / "m", ["O", "B-who"]), data(tmp_path)
    with pytest.raises(UsageError, match=r"tell other classes apart \(O, B-who \(2\)\) than the data have"):
        open_teacher(spec, info, tmp_path, {})
    student = build_model(spec, info, base=tmp_path, trains=True)
    assert student.untrained == ["heads.slot.bias", "heads.slot.weight"]
    assert student(**student.example())["slot"].shape[-1] == 4


def test_for_intents_with_slots_its_encoder_alone_is_taken(tmp_path: Path) -> None:
    info = DataInfo(
        "intent-slots", {"intent": ["a", "b"], "slot": OURS}, text=TextInfo(write_tokenizer(tmp_path), 0, 12)
    )
    student = build_model(tagger(tmp_path / "m"), info, base=tmp_path, trains=True)
    assert {name.split(".")[1] for name in student.untrained} == {"intent", "slot"}


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_classifiers_of_other_problems_are_refused(tmp_path: Path, problem: str) -> None:
    from transformers import BertForSequenceClassification

    folder = tmp_path / "m"
    BertForSequenceClassification(bert_config(num_labels=3, problem_type=problem)).save_pretrained(folder)
    info = DataInfo(
        "text-classification", {"label": list("abc")}, text=TextInfo(write_tokenizer(tmp_path), 0, 12)
    )
    with pytest.raises(
        UsageError, match=rf"problem_type {problem}\), expected one that names one of its classes"
    ):
        build_model(ModelSpec(model=f"hf:{folder}", weights="pretrained"), info, base=tmp_path)
