"""`python -m compactor`, which is also what `torchrun -m compactor run RECIPE` starts."""

from compactor.cli import main

main()
