"""Models by name: `PREFIX:NAME` -> a backbone with its own input normalisation.

A new family is one file with a `build`, one line in FAMILIES and one test.
"""

FAMILIES = {
    "cifar": "compactor.models.cifar:build",
    "timm": "compactor.models.timm_models:build",
    "hf": "compactor.models.hf:build",
    "module": "compactor.models.imported:build",
}

# task -> function (backbone, ModelSpec, DataInfo) -> Student
WRAPPERS = {
    "image-classification": "compactor.models.classifier:wrap",
}
