"""Samplers: which samples an epoch visits and in which order, and how much each item of a loss weighs.

The contract is `compactor.trainer.contracts.Sampler`.
"""
