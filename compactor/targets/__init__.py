"""Target policies: where soft labels come from (live teachers, a label store, the model's own memory).

The contract, which makes no soft target, is `compactor.trainer.contracts.TargetPolicy`. A new policy is one
file, one line in TARGETS, its name among the `targets` of the methods that use it, and one test.
"""

TARGETS = {
    "live": "compactor.targets.live_teacher:LiveTeacher",
    "stored": "compactor.targets.stored:StoredLabels",
    "calibrated": "compactor.targets.calibrated:CalibratedLabels",
    "prototypes": "compactor.targets.prototypes:Prototypes",
    "forgetting": "compactor.targets.forgetting:Forgetting",
    "recalibrated": "compactor.targets.recalibrated:Recalibrated",
    "subclasses": "compactor.targets.subclasses:SubclassTargets",
    "with_truth": "compactor.targets.with_truth:MixedWithTruth",
    "transformed": "compactor.targets.transformed:TransformedCopies",
    "own-past": "compactor.targets.own_past:OwnPast",
}
