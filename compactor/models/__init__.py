"""Models by name: `PREFIX:NAME` -> a backbone that the task's student wraps.

A new family is one file with a `build`, one line in FAMILIES and one test.
"""

# family -> function (name, DataInfo, options, whether pretrained, base folder) -> Backbone or TextBackbone
FAMILIES = {
    "cifar": "compactor.models.cifar:build",
    "timm": "compactor.models.timm_models:build",
    "hf": "compactor.models.hf.build:build",
    "encoder": "compactor.models.encoder:build",
    "package": "compactor.models.hf.build:build_package",
    "module": "compactor.models.imported:build",
    "bundle": "compactor.models.bundled:build",
}

TEACHES_ON = "ort-cpu"  # the runtime of a bundle that teaches
TEACH_ONLY = ("bundle",)  # families that are trained and cannot learn: no weights to give, none to change

# task -> function (backbone, ModelSpec, DataInfo) -> Student
WRAPPERS = {
    "image-classification": "compactor.models.classifier:wrap",
    "text-classification": "compactor.models.text_students:wrap_classifier",
    "image-multi-label": "compactor.models.classifier:wrap",
    "text-multi-label": "compactor.models.text_students:wrap_classifier",
    "embedding": "compactor.models.text_students:wrap_embedder",
    "masked-lm": "compactor.models.text_students:wrap_masked_lm",
    "intent-slots": "compactor.models.text_students:wrap_tagger",
    "token-classification": "compactor.models.text_students:wrap_tagger",
}
