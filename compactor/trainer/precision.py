"""Whether a machine has a precision of training: what it lacks is refused, what is slow on it is said."""

import torch

from compactor_runtimes.errors import UnfitEnvironmentError

# what torch calls the instructions that multiply bfloat16, on x86 and on Arm
IN_BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


def require_precision(precision: str, at: str) -> None:
    """Refuse what would be computed in another precision than was asked for.

    Raises:
        UnfitEnvironmentError: fp16 without a GPU, which Accelerate computes in fp32 there.
    """
    if precision == "fp16" and not torch.cuda.is_available():
        raise UnfitEnvironmentError(
            f"{at}.precision: fp16 is computed on a GPU alone, and there is none here; use fp32, or bf16"
        )


def told_precision(precision: str, at: str) -> list[str]:
    """What is to be said of a precision that this machine has, but not the instructions for it."""
    if precision != "bf16" or torch.cuda.is_available():
        return []
    has = torch.cpu.get_capabilities()
    if any(has.get(name) for name in IN_BF16):
        return []
    return [
        f"{at}: precision bf16 is computed as asked, but this CPU has no instructions for it, so that it is "
        "slower than fp32 and saves memory alone"
    ]
