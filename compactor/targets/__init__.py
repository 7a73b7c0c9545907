"""Target policies: where soft labels come from (live teachers, a label store, the model's own memory).

The contract, which makes no soft target, is `compactor.trainer.contracts.TargetPolicy`.
"""
