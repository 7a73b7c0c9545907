"""The recipe as entries with comments: what each key means here, in the order that a reader needs it."""

import yaml

from compactor.propose.commented_yaml import Entries, Entry, to_text
from compactor.propose.data import Found
from compactor.propose.export import variants
from compactor.propose.models import Named
from compactor.propose.teachers import Roles
from compactor.propose.training import Amount, image_numbers, stage, text_numbers
from compactor.propose.wished_method import method_lines, student_lines
from compactor.records import IMAGES

DATA_COMMENTS = {
    "dataset": "named set, table, folder of tables, or folder of images",
    "report": "read once, by the finished run",
    "image_column": "column of encoded images or paths",
    "text_column": "column of texts",
    "label_column": "column of class names or numbers",
    "slots_column": "column of labels of words, BIO",
    "classes": "in the order of the labels",
    "tokenizer": "tokenizer.json, or a model that has one",
    "max_tokens": "texts are cut to that many, special ones included",
    "image_size": "stored side: short side resized, centre cut",
}
NOT_MIRRORED = frozenset({"digits"})  # named sets where a mirrored image is another class or none


def to_recipe(title: str, found: Found, roles: Roles, notes: list[str], *, method: str | None = None) -> str:
    """Write the recipe and check that it loads; `method` is the student's, absent: the usual one.

    Raises:
        UsageError: what was asked for cannot be a recipe.
    """
    entries = [
        Entry("name", title, "folder of its runs"),
        Entry("task", found.task, "what is learned"),
        Entry("seed", 0, "of training; the splits do not depend on it"),
        Entry("data", _data(found), "split into train, select (choices) and report (read once)"),
    ]
    if roles.ready and not roles.unready:
        comment = "their probabilities are averaged" if len(roles.ready) > 1 else "whom the student follows"
        entries.append(Entry("teachers", [_model(one) for one in roles.ready], comment))
    entries.append(Entry("student", [*_model(roles.student), *student_lines(method)], "the model that ships"))
    entries.append(Entry("stages", _stages(found, roles, method), _stages_comment(roles)))
    entries += _rest(found, roles)
    text = to_text(_head(found, roles, notes), entries)
    _check(text)
    return text


def _head(found: Found, roles: Roles, notes: list[str]) -> list[str]:
    who = " + ".join(one.model for one in roles.teachers)
    what = f"{who} teaches {roles.student.model}" if who else f"{roles.student.model} learns from labels"
    if not roles.training:
        what = f"{roles.student.model} as it is" + (f", judged by {who}" if who else "")
    rows = ", ".join(f"{count:,} {name}" for name, count in found.survey.rows.items())
    classes = f"; {len(found.class_names)} classes" if found.class_names else ""
    return [
        f"Written by `compactor init`: {what}.",
        f"Rows: {rows}{classes}.",
        *(f"Note: {note}" for note in notes),
        "Try every step on a handful of samples with: compactor run THIS_FILE --smoke",
    ]


def _data(found: Found) -> Entries:
    return [Entry(key, found.keys[key], DATA_COMMENTS[key]) for key in DATA_COMMENTS if key in found.keys]


def _model(model: Named) -> Entries:
    entries = [Entry("model", model.model, "cifar:, timm:, hf:, package: or module:")]
    if model.weights is not None:
        comment = "the source's own" if model.weights == "pretrained" else "safetensors file"
        entries.append(Entry("weights", model.weights, comment))
    if model.options:
        entries.append(Entry("options", model.options, "what makes it differ from its name"))
    return entries


def _stages_comment(roles: Roles) -> str:
    if not roles.training:
        return "none: straight to export, verification and measurement"
    return "run in this order; a finished one is reused"


def _stages(found: Found, roles: Roles, method: str | None) -> list[Entries]:
    if not roles.training:
        return []
    stages, names = [], []
    for number, teacher in enumerate(roles.unready):
        names.append("teacher" if len(roles.unready) == 1 else f"teacher-{number + 1}")
        lines = [
            Entry("method", "supervised", "cross-entropy to the labels"),
            Entry("student", _model(teacher), "the model that this stage trains"),
        ]
        lines += [Entry("seed", number, "of this stage")] if number else []
        stages.append(stage(names[-1], "trained here, then it teaches", lines, _numbers(found, teacher)))
    stages.append(_student_stage(found, roles, names, method))
    return stages


def _student_stage(found: Found, roles: Roles, trained: list[str], method: str | None) -> Entries:
    numbers = _numbers(found, roles.student)
    lines = _usual_method(found, roles)
    if method not in (None, lines[0].value):
        lines = method_lines(method, found, roles)
    if trained:
        ready = [{entry.key: entry.value for entry in _model(one)} for one in roles.ready]
        teachers = [*ready, *(f"stage:{name}" for name in trained)]
        lines.append(Entry("teachers", teachers, "models, or what earlier stages trained"))
    name = "distil" if roles.teachers else "train"
    return stage(name, f"stage:{name} elsewhere means this one", lines, numbers)


def _usual_method(found: Found, roles: Roles) -> Entries:
    if not roles.teachers:
        return [Entry("method", "supervised", "cross-entropy to the labels")]
    if not found.is_judged:
        return [Entry("method", "embedding", "follow the teacher's embeddings")]
    soft = 1.0 if found.is_unlabelled else 0.9
    temperature = 4.0 if found.task == IMAGES else 2.0
    comment = "soft_weight: share of the teacher, the rest is the labels'"
    return [
        Entry("method", "kd", "follow the teacher's probabilities"),
        Entry("options", {"temperature": temperature, "soft_weight": soft}, comment),
    ]


def _numbers(found: Found, model: Named) -> Entries:
    rows = max(found.survey.rows.get("train", 0), 1)
    if found.task != IMAGES:
        return text_numbers(model, Amount(rows))
    sizes = found.survey.sizes
    side = found.keys.get("image_size") or (min(sizes[:2]) if sizes else 32)
    return image_numbers(model, Amount(rows, side, flip=found.where not in NOT_MIRRORED))


def _rest(found: Found, roles: Roles) -> Entries:
    entries = [Entry("export", variants(found), "artifacts, each verified; the fastest that passes is used")]
    if roles.teachers and found.is_judged:
        gate = [
            Entry("student_vs_teacher", {"max_drop_points": None}, "a number = fail if it loses more points")
        ]
        entries.append(Entry("gates", gate, "what the results must reach"))
    measure = [Entry("profile", "quick", "smoke, quick, standard or long: how long is measured")]
    entries.append(Entry("measure", measure, "latency, memory, throughput on this machine"))
    entries.append(Entry("licences", {}, 'for the bundle, as far as known: {data: "CC BY 4.0"}'))
    return entries


def _check(text: str) -> None:
    """What the recipe's own reader refuses is refused here, before anything is written."""
    from compactor.recipe.load import parse_recipe

    parse_recipe(yaml.safe_load(text))
