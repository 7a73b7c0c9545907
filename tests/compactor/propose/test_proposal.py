"""Proposals: the whole text of two, what is guessed, what is named as a problem, and what is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from compactor.data.tokenizer import find_tokenizer
from compactor.propose import Proposal, propose
from compactor.propose.columns import image_column, label_column, peek, text_column
from compactor.propose.commented_yaml import Entry, scalar, to_text
from compactor.propose.models import read_model, split_teachers
from compactor.propose.training import batch_size
from compactor.propose.weights import Known, classes_of_config, classes_of_file
from compactor.recipe.load import LoadedRecipe, load_recipe
from compactor.recipe.spec import ModelSpec
from compactor_runtimes.errors import CompactorError, UsageError
from tests.compactor.text_toys import write_tokenizer


@pytest.fixture(autouse=True)
def in_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMPACTOR_DATA", raising=False)
    monkeypatch.setenv("COMPACTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path


def images(folder: str, counts: dict[str, int], sizes: tuple[tuple[int, int], ...] = ((16, 16),)) -> None:
    """Write PNG files, by class or flat (class ""), whose heights and widths take turns; no two are equal."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (Path(folder) / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (*sizes[number % len(sizes)], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(Path(folder) / name / f"{number:03}.png")


def table(path: str, rows: list[dict[str, Any]]) -> None:
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def tickets(count: int = 60) -> list[dict[str, Any]]:
    topics = ["billing", "login", "other"]
    return [
        {"id": f"t-{k}", "body": f"request number {k} about my account", "topic": topics[k % 3]}
        for k in range(count)
    ]


def weights(path: str, classes: int) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({"conv1.weight": torch.zeros(4, 3, 3, 3), "linear.weight": torch.zeros(classes, 8)}, path)


WORDS = ["request", "number", "about", "my", "account"]


def encoder(folder: str, words: list[str] = WORDS, **config: Any) -> None:
    """A model folder as init reads it: configuration and tokenizer, no weights needed."""
    Path(folder).mkdir()
    whole = {"architectures": ["BertModel"], "num_hidden_layers": 6, "hidden_size": 384} | config
    (Path(folder) / "config.json").write_text(json.dumps(whole))
    write_tokenizer(Path(folder), words)


def write_letters(path: Path, letters: str) -> None:
    """A tokenizer that makes a token of each letter."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split

    tokenizer = Tokenizer(
        WordLevel({"[PAD]": 0, "[UNK]": 1, **{c: 2 + n for n, c in enumerate(letters)}}, "[UNK]")
    )
    tokenizer.pre_tokenizer = Split("", "isolated")
    tokenizer.save(str(path))


def loaded(proposal: Proposal, folder: str = ".") -> LoadedRecipe:
    path = Path(folder) / "recipe.yaml"
    path.write_text(proposal.yaml)
    return load_recipe(str(path))


IMAGES = """\
# Written by `compactor init`: cifar:resnet20 teaches cifar:resnet8.
# Rows: 44 train, 5 select, 12 report; 2 classes.
# Note: cifar:resnet20 does not say its classes: trusted to have the data's, in their order (cat, dog);
#   correct data.classes if it has not
# Try every step on a handful of samples with: compactor run THIS_FILE --smoke
name: pets-resnet8                          # folder of its runs
task: image-classification                  # what is learned
seed: 0                                     # of training; the splits do not depend on it
data:                                       # split into train, select (choices) and report (read once)
  dataset: ./pets                           # named set, table, folder of tables, or folder of images
teachers:                                   # whom the student follows
  - model: cifar:resnet20                   # cifar:, timm:, hf:, package: or module:
    weights: ./teacher.safetensors          # safetensors file
student:                                    # the model that ships
  model: cifar:resnet8                      # cifar:, timm:, hf:, package: or module:
stages:                                     # run in this order; a finished one is reused
  - id: distil                              # stage:distil elsewhere means this one
    method: kd                              # follow the teacher's probabilities
    # soft_weight: share of the teacher, the rest is the labels'
    options: {temperature: 4.0, soft_weight: 0.9}
    epochs: 60                              # passes over the training rows
    batch_size: 8                           # samples a step
    optimizer: sgd                          # sgd or adamw
    lr: 0.0125                              # for a random start; also try a third and 3 times of it
    nesterov: true                          # momentum that looks ahead
    weight_decay: 0.0005                    # pull of the weights towards 0
    schedule: cosine                        # the learning rate falls to 0
    augment: {crop: pad, padding: 2, flip: true}  # no flip where left and right differ (digits, signs)
export:                                     # artifacts, each verified; the fastest that passes is used
  - format: onnx                            # what the bundle holds
    precision: fp32                         # of the graph; 5 select rows are too few to judge int8 or fp16
    required: true                          # no bundle if it fails its checks
gates:                                      # what the results must reach
  student_vs_teacher: {max_drop_points: null}  # a number = fail if it loses more points
measure:                                    # latency, memory, throughput on this machine
  profile: quick                            # smoke, quick, standard or long: how long is measured
licences: {}                                # for the bundle, as far as known: {data: "CC BY 4.0"}
"""

TEXTS = """\
# Written by `compactor init`: hf:./bert teaches hf:./bert.
# Rows: 43 train, 5 select, 12 report; 3 classes.
# Note: labels are taken from column 'topic'; --label-column says otherwise
# Note: the student is its teacher's model, so it keeps every second layer only: [1, 3, 5]
# Try every step on a handful of samples with: compactor run THIS_FILE --smoke
name: tickets-bert                          # folder of its runs
task: text-classification                   # what is learned
seed: 0                                     # of training; the splits do not depend on it
data:                                       # split into train, select (choices) and report (read once)
  dataset: ./tickets.csv                    # named set, table, folder of tables, or folder of images
  text_column: body                         # column of texts
  label_column: topic                       # column of class names or numbers
  max_tokens: 32                            # texts are cut to that many, special ones included
student:                                    # the model that ships
  model: hf:./bert                          # cifar:, timm:, hf:, package: or module:
  weights: pretrained                       # the source's own
  options: {layers: [1, 3, 5]}              # what makes it differ from its name
stages:                                     # run in this order; a finished one is reused
  - id: teacher                             # trained here, then it teaches
    method: supervised                      # cross-entropy to the labels
    student:                                # the model that this stage trains
      model: hf:./bert                      # cifar:, timm:, hf:, package: or module:
      weights: pretrained                   # the source's own
    epochs: 10                              # passes over the training rows
    batch_size: 8                           # samples a step
    optimizer: adamw                        # sgd or adamw
    lr: 0.0002                              # for a trained start; also try a third and 3 times of it
    weight_decay: 0.01                      # pull of the weights towards 0
    warmup_epochs: 0.5                      # the first steps are smaller
    clip_norm: 1.0                          # longest gradient that is followed
    schedule: cosine                        # the learning rate falls to 0
  - id: distil                              # stage:distil elsewhere means this one
    method: kd                              # follow the teacher's probabilities
    # soft_weight: share of the teacher, the rest is the labels'
    options: {temperature: 2.0, soft_weight: 0.9}
    teachers: ['stage:teacher']             # models, or what earlier stages trained
    epochs: 10                              # passes over the training rows
    batch_size: 8                           # samples a step
    optimizer: adamw                        # sgd or adamw
    lr: 0.0002                              # for a trained start; also try a third and 3 times of it
    weight_decay: 0.01                      # pull of the weights towards 0
    warmup_epochs: 0.5                      # the first steps are smaller
    clip_norm: 1.0                          # longest gradient that is followed
    schedule: cosine                        # the learning rate falls to 0
export:                                     # artifacts, each verified; the fastest that passes is used
  - format: onnx                            # what the bundle holds
    precision: fp32                         # of the graph; 5 select rows are too few to judge int8 or fp16
    required: true                          # no bundle if it fails its checks
  - format: onnx                            # optional: left out, with the reason, if a gate fails
    precision: fp32                         # weights as they are
    fused: true                             # ONNX Runtime's own operators: CPU only, often faster
gates:                                      # what the results must reach
  student_vs_teacher: {max_drop_points: null}  # a number = fail if it loses more points
measure:                                    # latency, memory, throughput on this machine
  profile: quick                            # smoke, quick, standard or long: how long is measured
licences: {}                                # for the bundle, as far as known: {data: "CC BY 4.0"}
"""


@pytest.fixture
def ready_images() -> None:
    images("pets", {"cat": 31, "dog": 30})
    weights("teacher.safetensors", 2)


def test_a_proposal_for_images_is_whole_and_loads(ready_images: None) -> None:
    proposal = propose("cifar:resnet20@teacher.safetensors", "cifar:resnet8", "pets", base=Path())
    assert proposal.yaml == IMAGES
    recipe = loaded(proposal).recipe
    assert recipe.teachers == [ModelSpec(model="cifar:resnet20", weights="./teacher.safetensors")]
    assert recipe.stages[0].augment.padding == 2


def test_a_proposal_for_texts_is_whole_and_trains_the_encoder_first() -> None:
    table("tickets.csv", tickets())
    encoder("bert")
    proposal = propose("hf:./bert", "hf:./bert", "tickets.csv", base=Path())
    assert proposal.yaml == TEXTS
    recipe = loaded(proposal).recipe
    assert [stage.id for stage in recipe.stages] == ["teacher", "distil"]
    assert recipe.stages[1].teachers == ["stage:teacher"]
    assert recipe.data.tokenizer == "hf:./bert"


def test_paths_follow_the_recipes_folder(ready_images: None, tmp_path: Path) -> None:
    Path("recipes").mkdir()
    at = "cifar:resnet20@teacher.safetensors"
    recipe = loaded(propose(at, "cifar:resnet8", "pets", base=Path("recipes")), "recipes").recipe
    assert (recipe.data.dataset, recipe.teachers[0].weights) == ("../pets", "../teacher.safetensors")
    recipe = loaded(propose(at, "cifar:resnet8", "pets")).recipe
    assert recipe.data.dataset == str(tmp_path / "pets")
    recipe = loaded(propose(at, "cifar:resnet8", str(tmp_path / "pets"), base=Path("recipes"))).recipe
    assert recipe.data.dataset == str(tmp_path / "pets")


def test_a_path_in_the_data_folder_stays_as_it_was_given(
    ready_images: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("COMPACTOR_DATA", str(tmp_path))
    recipe = loaded(propose("-", "cifar:resnet8", "pets", base=Path())).recipe
    assert recipe.data.dataset == "pets"


def test_unlabelled_images_take_their_classes_from_the_teachers_weights() -> None:
    images("photos", {"": 40})
    weights("teacher.safetensors", 7)
    proposal = propose("cifar:resnet20@teacher.safetensors", "cifar:resnet8", "photos", base=Path())
    recipe = loaded(proposal).recipe
    assert recipe.data.classes == 7
    assert recipe.stages[0].options["soft_weight"] == 1.0
    assert any("no row has a label" in note for note in proposal.notes)


def test_unlabelled_texts_take_the_classifiers_names_and_an_encoders_embeddings() -> None:
    table("texts.csv", [{"text": f"sentence number {k} is its own"} for k in range(40)])
    encoder(
        "topics",
        architectures=["BertForSequenceClassification"],
        id2label={"1": "login", "0": "billing", "10": "other"},
    )
    recipe = loaded(propose("hf:./topics", "hf:./topics", "texts.csv", base=Path())).recipe
    assert recipe.task == "text-classification"
    assert recipe.data.classes == ["billing", "login", "other"]
    assert recipe.teachers == [ModelSpec(model="hf:./topics", weights="pretrained")]
    encoder("bert")
    proposal = propose("hf:./bert", "hf:./bert", "texts.csv", base=Path())
    assert not any("no row has a label" in note for note in proposal.notes)
    recipe = loaded(proposal).recipe
    assert recipe.task == "embedding"
    assert recipe.teachers == [ModelSpec(model="hf:./bert", weights="pretrained")]


def test_a_classifiers_own_order_of_classes_wins_over_the_sorted_one() -> None:
    images("pets", {"cat": 30, "dog": 30})
    encoder("vit", architectures=["ViTForImageClassification"], id2label={"0": "dog", "1": "cat", "2": "emu"})
    recipe = loaded(propose("hf:./vit", "cifar:resnet8", "pets", base=Path())).recipe
    assert recipe.data.classes == ["dog", "cat", "emu"]
    assert recipe.teachers == [ModelSpec(model="hf:./vit", weights="pretrained")]


def test_several_teachers_with_and_without_weights(ready_images: None) -> None:
    proposal = propose(
        "cifar:resnet20@teacher.safetensors+cifar:resnet14+cifar:resnet20",
        "cifar:resnet8",
        "pets",
        base=Path(),
    )
    recipe = loaded(proposal).recipe
    assert [stage.id for stage in recipe.stages] == ["teacher-1", "teacher-2", "distil"]
    assert [stage.seed for stage in recipe.stages] == [None, 1, None]
    ready = ModelSpec(model="cifar:resnet20", weights="./teacher.safetensors")
    assert recipe.stages[2].teachers == [ready, "stage:teacher-1", "stage:teacher-2"]
    assert recipe.teachers == []


def test_a_named_set_needs_no_keys_and_digits_are_not_mirrored() -> None:
    recipe = loaded(propose("cifar:resnet20", "cifar:resnet8?width=8", "digits", base=Path())).recipe
    assert (recipe.name, recipe.data.dataset) == ("digits-resnet8", "digits")
    assert recipe.student == ModelSpec(model="cifar:resnet8", options={"width": 8})
    assert not recipe.stages[0].augment.flip


def test_without_training_a_student_with_weights_is_shipped(ready_images: None) -> None:
    student = {"student_weights": "teacher.safetensors", "training": False}
    recipe = loaded(propose("-", "module:my.nets:small", "pets", base=Path(), **student)).recipe
    assert recipe.stages == []
    assert recipe.student == ModelSpec(model="module:my.nets:small", weights="./teacher.safetensors")


def test_images_of_several_sizes_get_one_and_small_classes_are_named() -> None:
    images("mixed", {"cat": 30, "dog": 4}, sizes=((48, 60), (100, 80)))
    proposal = propose("-", "timm:resnet18", "mixed", base=Path())
    recipe = loaded(proposal).recipe
    assert recipe.data.image_size == 48
    assert any("48 x 60 to 100 x 80" in note for note in proposal.notes)
    assert any("1 classes have fewer than 10 rows (dog)" in note for note in proposal.notes)
    assert (
        loaded(propose("-", "timm:resnet18", "mixed", image_size=96, base=Path())).recipe.data.image_size
        == 96
    )


def test_a_teacher_with_another_tokenizer_than_the_students_is_refused() -> None:
    table("tickets.csv", tickets())
    encoder("bert")
    encoder("other", [*reversed(WORDS)])
    with pytest.raises(
        UsageError, match=r"teacher hf:./bert: was trained with another tokenizer .* is \[2, 4"
    ):
        propose("hf:./bert", "hf:./other", "tickets.csv", base=Path())
    encoder("wider", [*WORDS, "refund"])  # which no ticket has
    propose("hf:./wider", "hf:./bert", "tickets.csv", base=Path())


@pytest.mark.parametrize("given", ["bert", "bert/tokenizer.json", "hf:bert"])
def test_a_tokenizer_is_found_from_the_recipes_folder(given: str) -> None:
    table("tickets.csv", tickets())
    encoder("bert")
    Path("recipes").mkdir()
    proposal = propose("-", "encoder:1x32", "tickets.csv", tokenizer=given, base=Path("recipes"))
    data = loaded(proposal, "recipes").recipe.data
    assert find_tokenizer(data.tokenizer or "", Path("recipes")).is_file()


def test_texts_are_cut_where_their_tokens_end_and_at_most_at_what_models_take() -> None:
    """Chinese has no blanks, so that its words tell nothing about its tokens."""
    rows = [{"text": "测" * (40 if row else 70), "label": "ab"[row % 2]} for row in range(60)]
    table("han.csv", rows)
    encoder("bert", ["测"], max_position_embeddings=64)
    write_letters(Path("bert") / "tokenizer.json", "测")
    proposal = propose("-", "encoder:1x32", "han.csv", tokenizer="bert", base=Path())
    assert loaded(proposal).recipe.data.max_tokens == 128
    assert not [note for note in proposal.notes if "cut" in note]
    proposal = propose("-", "hf:./bert", "han.csv", base=Path())
    assert loaded(proposal).recipe.data.max_tokens == 64
    assert "1 of 60 texts is cut at 64 tokens, the most that hf:./bert takes" in proposal.notes


def test_without_training_the_models_own_limit_is_kept() -> None:
    table("tickets.csv", tickets())
    encoder("bert", max_position_embeddings=300, architectures=["BertForSequenceClassification"])
    config = json.loads(Path("bert/config.json").read_text())
    labels = {str(number): name for number, name in enumerate(["billing", "login", "other"])}
    Path("bert/config.json").write_text(json.dumps(config | {"id2label": labels}))
    proposal = propose("-", "hf:./bert", "tickets.csv", training=False, base=Path())
    assert loaded(proposal).recipe.data.max_tokens == 300


REFUSED = [
    (("-", "cifar:resnet8", "pats"), {}, "pats was not found"),
    (("-", "cifer:resnet8", "pets"), {}, "unknown model family 'cifer'; did you mean 'cifar'?"),
    (("-", "resnet8", "pets"), {}, "expected FAMILY:NAME"),
    (("-", "cifar:resnet9", "pets"), {}, r"D = 6n \+ 2"),
    (("-", "timm:resnet_18", "pets"), {}, "timm .* has no such model; did you mean 'resnet18"),
    (("-", "module:nets", "pets"), {}, "expected module:PACKAGE.MODULE:ATTRIBUTE"),
    (("-", "cifar:resnet8@lost.safetensors", "pets"), {}, "lost.safetensors was not found"),
    (("-", "cifar:resnet8@pretrained", "pets"), {}, "has no weights of its own"),
    (("-", "cifar:resnet8@", "pets"), {}, "nothing follows @"),
    (("-", "cifar:resnet8?width", "pets"), {}, "expected MODEL"),
    (("-", "cifar:resnet8@a", "pets"), {"student_weights": "b"}, "weights are given twice"),
    (("-", "cifar:resnet8", "pets"), {"teacher_weights": "b"}, "found 0 teachers, expected one"),
    (("-", "cifar:resnet8", "pets"), {"task": "image-clasification"}, "did you mean 'image-classification'"),
    (("-", "cifar:resnet8", "pets"), {"task": "text-classification"}, "needs a table of texts"),
    (("-", "cifar:resnet8", "pets"), {"label_column": "x"}, "--label-column x means nothing"),
    (("-", "cifar:resnet8", "pets"), {"training": False}, "without training it needs its weights"),
    (("-", "cifar:resnet8", "pets"), {"classes": ["a", "a"]}, "a name occurs twice"),
    (("-", "cifar:resnet8", "flat"), {}, "has no labels, and there is no teacher"),
    (("cifar:resnet20", "cifar:resnet8", "flat"), {}, "no weights that tell classes apart"),
    (("module:a:b@odd.safetensors", "cifar:resnet8", "flat"), {}, "give --classes NUMBER"),
    (("cifar:resnet20@five.safetensors", "cifar:resnet8", "pets"), {}, "tell 5 classes apart, .* has 2"),
    (("-", "cifar:resnet8", "alone"), {}, "nothing to classify: all rows are of class 'cat'"),
    (("-", "cifar:resnet8", "notes.txt"), {}, "found a .txt file, expected a folder of images or a table"),
    (("-", "cifar:resnet8", "numbers.csv"), {}, "nothing to classify: neither images nor texts .* a, b"),
    (("-", "hf:bert", "pairs.csv"), {}, r"2 columns could be the text \(question, answer\)"),
    (("-", "hf:bert", "pairs.csv"), {"text_column": "quest"}, "no column 'quest', found question, answer"),
    (("-", "hf:./bart", "pairs.csv"), {}, "folder ./bart was not found"),
    (("-", "cifar:resnet8", "broken.parquet"), {}, "cannot be read as .parquet"),
]


@pytest.mark.parametrize(("names", "options", "sentence"), REFUSED)
def test_what_cannot_be_meant_is_refused_in_one_sentence(
    names: tuple[str, str, str], options: dict[str, Any], sentence: str
) -> None:
    images("pets", {"cat": 12, "dog": 12})
    images("flat", {"": 12})
    images("alone", {"cat": 12})
    weights("five.safetensors", 5)
    save_file({"scale": torch.zeros(3)}, "odd.safetensors")
    Path("notes.txt").write_text("text")
    Path("broken.parquet").write_bytes(b"PAR1 no")
    table("numbers.csv", [{"a": k, "b": k / 7} for k in range(9)])
    table("pairs.csv", [{"question": f"why {k}", "answer": f"so {k}"} for k in range(30)])
    encoder("bert")
    with pytest.raises(CompactorError, match=sentence) as caught:
        propose(*names, base=Path(), **options)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_columns_are_told_by_what_they_hold() -> None:
    rows = [
        {
            "file": f"{k}.png",
            "stars": k % 5,
            "price": k / 3,
            "note": f"a note of {k} words",
            "lang": "en fr".split()[k % 2],
        }
        for k in range(30)
    ]
    table("all.csv", rows)
    found = {column.name: column for column in peek(Path("all.csv"))}
    assert [found[name].kind for name in ("file", "stars", "price", "note", "lang")] == [
        "image",
        "number",
        "other",
        "text",
        "text",
    ]
    assert found["note"].words == 5
    columns = list(found.values())
    assert image_column(columns, "all.csv") == "file"
    assert text_column(columns, None, "all.csv") == "note"  # "lang" repeats, so it is no text
    with pytest.raises(UsageError, match=r"2 columns could be the label \(stars, lang\); name one with"):
        label_column(columns, "note", "all.csv")


def test_jsonl_and_parquet_are_looked_into() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    Path("a.jsonl").write_text('{"text": "one", "label": 1}\n\n{"text": "two"}\n')
    assert [(column.name, column.kind, column.rows) for column in peek(Path("a.jsonl"))] == [
        ("text", "text", 2),
        ("label", "number", 1),
    ]
    Path("bad.jsonl").write_text("[1]\n")
    with pytest.raises(UsageError, match="line 1: found list, expected one JSON object a line"):
        peek(Path("bad.jsonl"))
    Path("data").mkdir()
    table("data/test.csv", [{"wrong": "file"}])
    image = {"bytes": b"x", "path": None}
    pq.write_table(pa.table({"image": [image], "label": [3], "tokens": [["a"]]}), "data/train.parquet")
    assert [(column.name, column.kind) for column in peek(Path("data"))] == [
        ("image", "image"),
        ("label", "number"),
        ("tokens", "words"),
    ]
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), "empty.parquet")
    with pytest.raises(UsageError, match="holds no row"):
        peek(Path("empty.parquet"))


def test_classes_are_read_off_weights_and_configurations() -> None:
    layers = {
        "encoder.layer.0.output.dense.weight": torch.zeros(6, 6),
        "encoder.layer.0.fc.weight": torch.zeros(9, 6),
        "classifier.weight": torch.zeros(4, 6),
    }
    save_file(layers, "text.safetensors")
    assert classes_of_file(Path("text.safetensors")) == Known(4)
    save_file({"a.weight": torch.zeros(3, 2), "b.weight": torch.zeros(2, 3)}, "unclear.safetensors")
    assert classes_of_file(Path("unclear.safetensors")) == Known()
    Path("pickle.safetensors").write_bytes(b"\x80\x05pickle")
    with pytest.raises(UsageError, match="cannot be read as safetensors"):
        classes_of_file(Path("pickle.safetensors"))
    kind = {"architectures": ["XForSequenceClassification"]}
    assert classes_of_config({"architectures": ["BertModel"], "id2label": {"0": "a"}}) == Known()
    assert classes_of_config(kind) == Known(2)
    assert classes_of_config(kind | {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}) == Known(2)


def test_teachers_are_split_where_a_family_begins() -> None:
    assert split_teachers("-") == []
    assert split_teachers("cifar:resnet8@a+b.safetensors+hf:./c++") == [
        "cifar:resnet8@a+b.safetensors",
        "hf:./c++",
    ]
    named = read_model("cifar:resnet8?width=8", base=None, role="student")
    assert (named.options, named.short) == ({"width": 8}, "resnet8")


@pytest.mark.parametrize(("rows", "size"), [(10_000, 128), (1_279, 64), (640, 64), (100, 8), (3, 8)])
def test_a_batch_leaves_ten_steps_an_epoch(rows: int, size: int) -> None:
    assert batch_size(rows, 128) == size


def test_names_that_yaml_would_misread_are_quoted_and_comments_stay_on_their_line() -> None:
    assert scalar("no") == "'no'"
    assert scalar(5e-5) == "5.0e-5"
    assert scalar(["a: b", None]) == "['a: b', null]"
    assert to_text(["a\nb: c"], [Entry("k", "1e-05", "x\ny")]) == f"# a b: c\n{'k: 1e-05'.ljust(42)}  # x y\n"


def test_a_teacher_may_know_more_classes_than_numbered_labels_show() -> None:
    table("tickets.csv", [row | {"topic": k % 3} for k, row in enumerate(tickets())])
    encoder(
        "topics",
        architectures=["BertForSequenceClassification"],
        id2label={str(k): f"c{k}" for k in range(5)},
    )
    recipe = loaded(
        propose("hf:./topics", "hf:./topics", "tickets.csv", label_column="topic", base=Path())
    ).recipe
    assert recipe.data.classes == ["c0", "c1", "c2", "c3", "c4"]
    assert [stage.id for stage in recipe.stages] == ["distil"]


def test_a_weights_file_for_a_folder_keeps_the_names_of_its_configuration() -> None:
    encoder("vit", architectures=["ViTForImageClassification"], id2label={"0": "dog", "1": "cat"})
    weights("two.safetensors", 2)
    weights("three.safetensors", 3)
    assert read_model("hf:./vit@two.safetensors", base=None, role="teacher").known == Known(2, ["dog", "cat"])
    assert read_model("hf:./vit@three.safetensors", base=None, role="teacher").known == Known(3)


def test_an_encoder_with_a_head_for_other_classes_is_refused() -> None:
    table("tickets.csv", tickets())
    encoder("topics", architectures=["BertForSequenceClassification"], id2label={"0": "yes", "1": "no"})
    with pytest.raises(
        UsageError, match=r"teacher hf:./topics: .* tell 2 classes apart \(yes, no\), .* has 3"
    ):
        propose("hf:./topics", "hf:./topics", "tickets.csv", base=Path())


def test_images_smaller_than_a_network_can_read_are_enlarged() -> None:
    images("tiny", {"cat": 20, "dog": 20}, sizes=((9, 12), (40, 40)))
    assert loaded(propose("-", "timm:resnet18", "tiny", base=Path())).recipe.data.image_size == 32


@pytest.mark.parametrize("sizes", [((16, 16),), ((40, 60), (50, 50)), ((300, 300),)])
def test_a_student_of_one_size_alone_gets_images_of_that_size(sizes: tuple[tuple[int, int], ...]) -> None:
    images("pets", {"cat": 12, "dog": 12}, sizes=sizes)
    student = "timm:vit_tiny_patch16_224?depth=1&embed_dim=24&num_heads=2&img_size=48"
    proposal = propose("-", student, "pets", base=Path())
    assert loaded(proposal).recipe.data.image_size == 48
    assert any("takes images of 48 x 48 pixels alone" in note for note in proposal.notes)
    given = propose("-", student, "pets", image_size=20, base=Path())
    assert loaded(given).recipe.data.image_size == 20


def test_a_data_set_of_the_hub_is_looked_into_like_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("fetched").mkdir()
    table("fetched/train.csv", tickets())
    monkeypatch.setattr("compactor.data.hub.fetch", lambda name, root: Path("fetched").absolute())
    encoder("bert")
    recipe = loaded(propose("-", "hf:./bert", "owner/tickets", base=Path())).recipe
    assert (recipe.data.dataset, recipe.data.text_column) == ("owner/tickets", "body")
    assert recipe.data.label_column == "topic"


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_a_classifier_of_another_problem_is_refused_but_for_its_encoder(problem: str) -> None:
    table("tickets.csv", tickets())
    encoder("bert")
    labels = {str(number): name for number, name in enumerate(["billing", "login", "other"])}
    kind = {"architectures": ["BertForSequenceClassification"], "id2label": labels}
    encoder("multi", problem_type=problem, **kind)
    for names in (("hf:./multi", "hf:./bert"), ("-", "hf:./multi")):
        with pytest.raises(UsageError, match=rf"hf:./multi: was trained .* \(problem_type {problem}\)"):
            propose(*names, "tickets.csv", base=Path())
    propose("hf:./bert", "hf:./multi", "tickets.csv", task="embedding", base=Path())


def test_classes_that_look_like_labels_of_words_stay_classes() -> None:
    kinds = ("B-52", "B-17", "O")
    table("planes.csv", [{"text": f"plane number {row}", "kind": kinds[row % 3]} for row in range(60)])
    assert [column.kind for column in peek(Path("planes.csv"))] == ["text", "text"]


def test_slots_are_surveyed_and_their_column_is_found() -> None:
    rows = [{"tokens": "book a flight to Rome".split(), "ner_tags": [0, 0, 0, 0, 1]} for _ in range(12)]
    rows += [{"tokens": "New York please".split(), "ner_tags": [2, 3, 0]} for _ in range(12)]
    names = json.dumps(["O", "S-city", "B-city", "E-city"])
    talk = pa.Table.from_pylist(rows).replace_schema_metadata({"ner_tags": names})
    pq.write_table(talk, "talk.parquet")
    encoder("bert")
    proposal = propose("-", "hf:./bert", "talk.parquet", task="token-classification", base=Path())
    data = loaded(proposal).recipe.data
    assert (data.text_column, data.slots_column, data.classes) == ("tokens", "ner_tags", None)
    assert "slot labels are BIOES: 24 of them were turned into BIO" in proposal.notes
    assert "3 classes" in proposal.yaml
    table("tickets.csv", tickets())
    with pytest.raises(
        UsageError, match="no column of slot labels among id, body, topic, expected one label a"
    ):
        propose("-", "hf:./bert", "tickets.csv", task="intent-slots", base=Path())


def test_recipes_for_any_number_of_labels_are_not_proposed() -> None:
    with pytest.raises(
        UsageError, match=r"--task text-multi-label: .* write one from the lines in docs/guide"
    ):
        propose("-", "encoder:1x32", "tickets.csv", task="text-multi-label", base=Path())
