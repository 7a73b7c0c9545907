"""The one training loop: optimisation, schedule, checkpoints and interruption."""
