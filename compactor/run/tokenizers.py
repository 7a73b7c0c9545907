"""Whose tokenizers a stage compares with its data's before it is trained: student, init and teachers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compactor.data.packed_texts import PackedTexts
from compactor.data.splits import Dataset
from compactor.locate import locate
from compactor.models.trained_tokenizers import Trained, beside_weights, compared, trained_model
from compactor.recipe.spec import STAGE, ModelSpec
from compactor.run.planned import PlannedStage


def with_tokenizers_compared(
    data: Dataset,
    *,
    student: ModelSpec | None,
    teachers: Sequence[ModelSpec | str],
    init: str | None = None,
    stages: Sequence[PlannedStage] = (),
    base: Path,
) -> Dataset:
    """Compare the tokenizers of all trained models with the data's; the data's notes say what was found.

    Args:
        data: what they read; of images nothing is compared.
        student: the model that is trained or shipped.
        teachers: models, or earlier stages.
        init: weights file or earlier stage that the student starts from, in the place of its own weights.
        stages: the earlier stages.
        base: folder of the recipe.

    Raises:
        UsageError: a model was trained with another tokenizer, and nobody says to trust it.
        IntegrityError: a tokenizer or a bundle that cannot be read.
    """
    text = data.info.text
    if text is None:
        return data
    models: list[Trained | None] = []
    if init is not None:
        models.append(_init(init, student, stages, base))
    elif student is not None:
        models.append(trained_model("student", student, base))
    for one in teachers:
        models.append(
            _stage("teacher", one, stages) if isinstance(one, str) else trained_model("teacher", one, base)
        )
    found = dict.fromkeys(one for one in models if one is not None)
    if not found:
        return data
    inputs = {id(split.inputs): split.inputs for split in (data.train, data.select, data.report)}
    said = compared(list(found), text, PackedTexts.joined(list(inputs.values())))
    return replace(data, notes=(*data.notes, *said))


def _stage(role: str, reference: str, stages: Sequence[PlannedStage]) -> Trained | None:
    """An earlier stage, whose student reads what its data were cut by; None where it cannot run here."""
    found = next((one for one in stages if one.id == reference.removeprefix(STAGE)), None)
    if found is None or found.data.info.text is None:
        return None
    return Trained(f"{role} {reference}", found.data.info.text.tokenizer)


def _init(init: str, student: ModelSpec | None, stages: Sequence[PlannedStage], base: Path) -> Trained | None:
    if init.startswith(STAGE):
        return _stage("init", init, stages)
    trust = None if student is None else student.trust_tokenizer
    return Trained(f"init {init}", beside_weights(locate(init, base, what="init")), trust=trust)
