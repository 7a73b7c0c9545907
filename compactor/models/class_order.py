"""Put what a trained model answers into the order of the data's classes.

1. A model that does not say its classes is taken to have the data's, in their order.
2. Where all classes match by name (`data/class_names.py`), the rows of the head's last layer are put in the
   data's order, if that is one Linear; an exported teacher's answers are permuted as they come out. Classes
   of the model that the data do not have are left out (`classes: subset`).
3. Where they do not match, a student that is trained gets a new head; all others are refused.
"""

from itertools import chain
from typing import Any

import torch
from torch import nn

from compactor.data.class_names import ClassMatch
from compactor.models.features import Feature, capture
from compactor.models.student import Student
from compactor.records import DataInfo
from compactor_runtimes.errors import UsageError


def put_in_order(model: Student, match: ClassMatch, info: DataInfo, name: str) -> None:
    """Let the answers of `model` be those of the data's classes, by rule 2.

    Args:
        model: a student whose `info` has its own classes.
        match: where the data's classes are among them.
        info: the data.
        name: of the model, for messages.

    Raises:
        UsageError: its head is not one linear layer.
    """
    head, order = info.heads[0].name, torch.tensor(match.order)
    if not match.is_identity:
        take = getattr(model.backbone, "take", None)  # an exported teacher
        if take is not None:
            take(match.order)
        else:
            layer = last_linear(model, head)
            if layer is None:
                raise UsageError(
                    f"model {name}: {match.told()}, and its last layer is not one linear layer whose rows "
                    "could be put in order; list the data's classes in its order in data.classes"
                )
            with torch.no_grad():
                layer.weight = nn.Parameter(layer.weight[order].clone())
                if layer.bias is not None:
                    layer.bias = nn.Parameter(layer.bias[order].clone())
            layer.out_features = len(order)
    model.info = info
    model.class_note = match.told()
    renamed: Any = getattr(model.backbone, "rename_classes", None)
    if renamed is not None:
        renamed(info.classes[head])


def last_linear(model: Student, head: str) -> nn.Linear | None:
    """The linear layer whose output is a head's logits as they are; the model runs once."""
    layers = {path: one for path, one in model.named_modules() if isinstance(one, nn.Linear)}
    place = next(chain(model.parameters(), model.buffers()), torch.empty(0)).device
    modes = [(one, one.training) for one in model.modules()]
    outputs = {path: Feature(path, one.out_features) for path, one in layers.items()}
    try:
        with torch.no_grad(), capture(model, outputs) as seen:
            answers = model.eval()(**{key: value.to(place) for key, value in model.example().items()})
    finally:
        for one, mode in modes:
            one.training = mode
    return next((layers[path] for path, output in seen.items() if output is answers[head]), None)
