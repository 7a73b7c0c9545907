"""What the label stores of a plan can teach, for those that are there already; nothing is trained."""

import numpy as np

from compactor.data.spec import SplitName
from compactor.data.splits import Split
from compactor.label_store.diagnosis import Diagnosis, diagnose
from compactor.label_store.store import open_store
from compactor.label_store.visits import visits_of
from compactor.methods import method_named, stage_options, views_of
from compactor.progress import Reporter
from compactor.run.planned import Plan, PlannedStage
from compactor.samplers import only_kept, sampler_options


def diagnosed_labels(plan: Plan, reporter: Reporter) -> dict[str, Diagnosis]:
    """The diagnosis of each stage whose labels are made, by its id.

    Raises:
        IntegrityError: a store is damaged.
    """
    made = [stage for stage in plan.stages if stage.labels is not None and stage.labels.is_made]
    return {stage.id: _diagnosed(plan, stage, reporter) for stage in made}


def _diagnosed(plan: Plan, stage: PlannedStage, reporter: Reporter) -> Diagnosis:
    assert stage.labels is not None
    spec, at = stage.spec, f"stage {stage.id}"
    store = open_store(stage.labels.folder, reporter=reporter)
    method = method_named(spec.method, at)
    seed = plan.loaded.recipe.seed if spec.seed is None else spec.seed
    visits = visits_of(
        epochs=spec.epochs,
        steps=spec.steps,
        batch_size=spec.batch_size,
        views=views_of(spec, stage_options(method, spec, at), at),
        stored=store.train.views,
        rows=len(only_kept(stage.data.train, sampler_options(spec, at), seed)),
    )
    splits: dict[SplitName, Split] = {"train": stage.data.train, "select": stage.data.select}
    head = store.header.heads[0].name
    truth = {
        name: split.labels[head][np.asarray(store.parts[name].ids)]
        for name, split in splits.items()
        if name in store.parts and head in split.labels
    }
    return diagnose(store, truth, visits)
