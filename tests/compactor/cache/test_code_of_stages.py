"""The code digest of a stage holds every module that works on it: stages are run and watched."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from compactor.methods import METHODS
from compactor.models import FAMILIES, WRAPPERS
from compactor.progress import SilentReporter
from compactor.release.export_model import export_model
from compactor.release.variants import parse_variants
from compactor.tasks import TASKS
from tests.compactor.run.test_class_groups import write_classes
from tests.compactor.tasks.test_tasks import pictures, requests, sentences, several
from tests.compactor.text_toys import CLASSES, IDS, bert_folder, write_tokenizer

ROOT = Path(__file__).parents[3]

# what works on a stage and computes nothing of its result
COMPUTES_NOTHING = {
    "compactor.cache.digest": "names what is kept",
    "compactor.cache.journal": "writes events",
    "compactor.progress": "shows progress",
    "compactor_runtimes.errors": "words errors",
    "compactor.release.answers_check": "judges teachers before they teach",
    "compactor.release.labels_check": "judges teachers before they teach",
    "compactor.run.asked": "stops or says what teachers are worth, and changes nothing",
    "compactor.run.planned": "holds what the key is made of",
    "compactor.trainer.processes": "says which process writes",
}
SHORT = {"steps": 2, "batch_size": 8}
SMALL = {"model": "cifar:resnet8", "options": {"width": 4}}


def images(folder: Path) -> dict[str, Any]:
    """Every method on images, on live teachers and on a label store, and most families."""
    labels = {"crops": 2, "quantization": "marginal-smoothing", "k": 3}
    crops = {"augment": {"crop": "random-resized", "scale": [0.5, 1.0]}, "epochs": 2, "batch_size": 8}
    (folder / "own_net.py").write_text(
        "from torch import nn\n\n\ndef net(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    mine = {"model": "module:own_net:net"}
    timm = {"model": "timm:resnet10t"}
    policy = {"crop": "random-resized", "aspect": "uniform", "policy": "randaugment", "erase": 0.5}
    critic = {"options": {"discriminator": {"reduction": 2}}}
    inner = [{"loss": "hint", "name": "stage2"}, {"loss": "attention", "name": "stage3"}, {"loss": "rkd"}]
    parts = {"divergence": "dkd", "features": inner}
    data = {"dataset": "digits", "limit": {"train": 32, "select": 24, "report": 24}}
    mixed = {"data": data | {"also": [{"dataset": "digits", "limit": 40}]}}
    roles = {"pure": 1, "ground": 0}
    chosen = {"teachers": ["stage:first", "stage:pure"], "options": {"alpha": "auto", "roles": roles}}
    counted = {"options": {"record_forgetting": True}, "epochs": 1, "batch_size": 8}
    by = {"share": 0.5, "by": "forgetting", "scores": "stage:first"}
    hardest, fresh = (
        {"name": "scored-subset", "options": by},
        {"name": "fresh-subset", "options": {"share": 0.5}},
    )
    query = {"name": "query", "options": {"budget": 4, "scorer": "stage:first"}}
    return {
        "name": "images",
        "task": "image-classification",
        "data": data,
        "student": SMALL,
        "teachers": ["stage:first"],
        "stages": [
            {"id": "first", "method": "supervised", "augment": {"crop": "pad", "padding": 1}, **counted},
            {"id": "hard", "method": "supervised", "sampler": hardest, **SHORT},
            {"id": "fresh", "method": "supervised", "sampler": fresh, **SHORT},
            {"id": "asked", "method": "kd", "sampler": query, **mixed, **SHORT},
            {"id": "wad", "method": "wad", **mixed, **SHORT},
            {"id": "mutual", "method": "dml", "augment": policy, "options": {"feature": {}}, **SHORT},
            {"id": "nd", "method": "nd", **SHORT},
            {"id": "dual-head", "method": "dual_head", **SHORT},
            {"id": "sla", "method": "sla", **SHORT},
            {"id": "ps-kd", "method": "ps_kd", **SHORT},
            {"id": "timm", "method": "supervised", "student": timm, "stop": {"figure": "accuracy"}, **SHORT},
            {"id": "module", "method": "kd", "student": mine, "options": {"divergence": "js"}, **SHORT},
            {"id": "meal", "method": "meal_v2", "teachers": ["stage:first", "stage:timm"], **critic, **SHORT},
            {"id": "parts", "method": "kd", "options": parts, **SHORT},
            {"id": "ranked", "method": "pld", **SHORT},
            {"id": "pooled", "method": "ssld", **mixed, **SHORT},
            {"id": "simclr", "method": "simclr_v2", "options": {"soft_weight": 0.5}, **mixed, **SHORT},
            {"id": "wide", "method": "lelp", "student": SMALL | {"subclasses": 2}, **SHORT},
            {"id": "sure", "method": "first", "options": {"k": 3}, **SHORT},
            {"id": "stored-sure", "method": "first", "labels": labels, "options": {"k": 3}, **SHORT},
            {"id": "pure", "method": "self_distillation", "options": {"alpha": 0.0}, **SHORT},
            {"id": "again", "method": "self_distillation", **chosen, **SHORT},
            {"id": "stored-pool", "method": "ssld", "labels": labels | {"crops": 1}, **mixed, **SHORT},
            {"id": "stored", "method": "kd", "labels": labels | {"crops": 1}, "epochs": 1, "batch_size": 8},
            {"id": "fkd", "method": "fkd", "labels": labels, "options": {"crops_per_image": 2}, **crops},
            {"id": "ferkd", "method": "ferkd", "labels": labels, "options": {"crops_per_image": 2}, **crops},
        ],
    }


def texts(folder: Path) -> dict[str, Any]:
    """Hidden tokens, intents and slots; an encoder with and without a teacher; further texts mixed in."""
    data = msgspec.to_builtins(requests(folder))
    bert = {"model": f"hf:{bert_folder(folder / 'bert', vocab_size=IDS + 1)}", "weights": "pretrained"}
    small = {"model": "encoder:1x16"}
    masked = {"task": "masked-lm", "data": data}
    distil = {"method": "encoder", "options": {"hidden_weight": 0.1}}
    words = {"task": "token-classification"}
    mutual = {"options": {"feature": {"name": "states"}}}
    return {
        "name": "texts",
        "task": "intent-slots",
        "data": data,
        "student": small,
        "stages": [
            {"id": "guess", "method": "supervised", "student": {"model": "encoder:2x16"}, **masked, **SHORT},
            {"id": "hop", "teachers": ["stage:guess"], **distil, **masked, **SHORT},
            {"id": "bert", "method": "supervised", "student": bert, **SHORT},
            {"id": "words", "method": "supervised", **words, **SHORT},
            {"id": "mutual-words", "method": "dml", **mutual, **SHORT},
            {"id": "mutual-hop", "method": "dml", **mutual, **masked, **SHORT},
            {"id": "distil", "init": "stage:hop", "teachers": ["stage:bert"], **distil, **SHORT},
        ],
    }


def text_bundle(folder: Path) -> Path:
    """A bundle of a classifier of texts that has the data's classes and tokenizer."""
    model = bert_folder(folder / "published", num_labels=3, id2label=dict(enumerate(CLASSES)))
    write_tokenizer(model)
    specs = parse_variants("fp32")
    export_model(f"hf:{model}", specs=specs, bundle=folder / "bundle", reporter=SilentReporter())
    return folder / "bundle"


def vectors(folder: Path) -> dict[str, Any]:
    """Classes with further texts mixed in or from a bundle, and embeddings that learn from an encoder's."""
    data = msgspec.to_builtins(sentences(folder))
    bert = {"model": f"hf:{bert_folder(folder / 'bert')}", "weights": "pretrained"}
    classes = {"task": "text-classification"}
    taught = {"teachers": [{"model": f"bundle:{text_bundle(folder)}"}]}
    mixed = {"data": data | {"also": [{"dataset": data["dataset"], "share": 0.5}]}}
    return {
        "name": "vectors",
        "task": "embedding",
        "data": data,
        "teachers": [bert],
        "student": {"model": "encoder:1x16"},
        "stages": [
            {"id": "classes", "method": "supervised", **classes, **SHORT},
            {"id": "mixed", "method": "kd", "teachers": ["stage:classes"], **classes, **mixed, **SHORT},
            {"id": "bundle", "method": "kd", **taught, **classes, **SHORT},
            {"id": "embed", "method": "embedding", **SHORT},
        ],
    }


def sets_of_images(folder: Path) -> dict[str, Any]:
    """Any number of labels an image, with and without a teacher."""
    return {
        "name": "sets-of-images",
        "task": "image-multi-label",
        "data": msgspec.to_builtins(pictures(folder)),
        "student": SMALL,
        "stages": [
            {"id": "first", "method": "supervised", **SHORT},
            {"id": "distil", "method": "kd", "teachers": ["stage:first"], **SHORT},
        ],
    }


def sets_of_texts(folder: Path) -> dict[str, Any]:
    """The same of texts, whose teachers are asked once."""
    return sets_of_images(folder) | {
        "name": "sets-of-texts",
        "task": "text-multi-label",
        "data": msgspec.to_builtins(several(folder)),
        "student": {"model": "encoder:1x16"},
    }


def class_groups(folder: Path) -> dict[str, Any]:
    """Teachers of some of the data's classes, and a mixer that is fitted, live and into a store."""
    write_classes(folder / "old", ["low", "high"], rows=20)
    write_classes(folder / "all", ["low", "middle", "high"], rows=20)
    taught = {"teachers": ["stage:old"]}
    mixed = {"method": "kd", "mixer": "parc", **taught, **SHORT}
    return {
        "name": "class-groups",
        "task": "image-classification",
        "data": {"dataset": str(folder / "all")},
        "student": SMALL,
        "stages": [
            {"id": "old", "method": "supervised", "data": {"dataset": str(folder / "old")}, **SHORT},
            {"id": "grow", "method": "weight_aligning", "init": "stage:old", **taught, **SHORT},
            {"id": "mixed", **mixed},
            {"id": "mixed-store", "labels": {"crops": 1}, **mixed},
        ],
    }


RECIPES = (images, texts, vectors, sets_of_images, sets_of_texts, class_groups)
# families without a stage here
ELSEWHERE = {"package": "is hf"}


def test_every_method_task_and_family_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bert_folder", "text_bundle"):  # which take their time
        monkeypatch.setattr(sys.modules[__name__], name, lambda folder, **options: folder)
    watched = [recipe(tmp_path) for recipe in RECIPES]
    stages = [stage for recipe in watched for stage in recipe["stages"]]
    assert {stage["method"] for stage in stages} == set(METHODS)
    tasks = {recipe["task"] for recipe in watched} | {stage["task"] for stage in stages if "task" in stage}
    assert tasks == set(TASKS) == set(WRAPPERS)
    models = [one["model"] for part in (*watched, *stages) if (one := part.get("student"))]
    models += [one["model"] for part in stages for one in part.get("teachers", []) if isinstance(one, dict)]
    assert {model.partition(":")[0] for model in models} == set(FAMILIES) - set(ELSEWHERE)


@pytest.mark.heavy
@pytest.mark.parametrize("recipe", RECIPES)
def test_what_executes_while_a_stage_is_trained_is_in_its_digest(recipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(tmp_path)))
    places = os.pathsep.join([str(tmp_path), *map(str, (ROOT, ROOT / "exporters", ROOT / "runtimes"))])
    done = subprocess.run(
        [sys.executable, "-m", "tests.compactor.cache.executed", str(path)],
        env={**os.environ, "COMPACTOR_CACHE": str(tmp_path / "cache"), "PYTHONPATH": places},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for stage, found in json.loads(done.stdout).items():
        works = "compactor.label_store.make" if stage.startswith("labels of") else "compactor.trainer.stepper"
        assert works in found["executed"], stage  # it was watched
        missing = set(found["executed"]) - set(found["counted"]) - set(COMPUTES_NOTHING)
        assert not missing, stage
