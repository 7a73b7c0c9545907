"""Start a student from one that knows fewer classes, or others: rows of its last layer are taken by name."""

from pathlib import Path

import torch

from compactor.data.class_names import match_group, shown
from compactor.models.class_order import last_linear
from compactor.models.student import Student
from compactor.models.weights_file import fill, read_weights
from compactor_runtimes.errors import UsageError


def load_by_class(model: Student, path: Path, theirs: list[str], *, source: str) -> str:
    """Load weights of the same architecture whose last layer has the rows of other classes.

    1. All weights but those of the last layer are taken as they are.
    2. Of the last layer, the row of each class that both know is taken by its name.
    3. The rows of all other classes stay as they were drawn.

    Args:
        model: the student, with the data's classes.
        path: the safetensors file.
        theirs: the classes of the file, in the order of its rows.
        source: where they come from, for messages.

    Returns:
        What was done, for people.

    Raises:
        UsageError: they share no class, the last layer is not one linear layer, or the file is of another
            architecture.
    """
    head = model.info.heads[0].name
    ours = model.info.classes[head]
    match = match_group(theirs, ours, subset=True, where=f"init {source}")
    layer = last_linear(model, head)
    if match is None or layer is None:
        why = "share no class" if match is None else "differ, and the last layer is not one linear layer"
        raise UsageError(
            f"init {source}: its classes ({shown(theirs)}) and the data's ({shown(ours)}) {why}, so that its "
            "rows cannot be taken by name; start from a stage of the data's classes, or name it as a teacher"
        )
    expected = model.backbone.state_dict()
    mine = {id(parameter) for parameter in layer.parameters()}
    rows = [name for name, parameter in model.backbone.named_parameters() if id(parameter) in mine]
    state = read_weights(path)
    taken = [ours.index(name) for name in match.data]
    for name in rows:
        if name in state and state[name].shape == (len(theirs), *expected[name].shape[1:]):
            whole = expected[name].detach().clone()
            whole[torch.tensor(taken)] = state[name][torch.tensor(match.order)].to(whole)
            state[name] = whole
    fill(model.backbone, expected, state, path)
    new = [name for place, name in enumerate(ours) if place not in taken]
    left = len(theirs) - len(taken)
    return (
        f"starts from {source}, whose rows are taken by name: {shown(match.data)}"
        + (f"; {shown(new)} are new, their rows are random" if new else "")
        + (f"; {left} classes of its own are left out" if left else "")
    )
