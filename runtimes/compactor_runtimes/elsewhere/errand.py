"""What is measured elsewhere: bundles, samples, options, and what must be installed for them there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compactor_runtimes.backends import choose_runtime, find_runtime
from compactor_runtimes.bundle.open import Bundle, open_bundle, resolve_inside
from compactor_runtimes.errors import UsageError
from compactor_runtimes.profiling.samples import kind_of

GPU = "ort-gpu"
_DECODERS = {"image": "pillow", "text": "tokenizers"}


@dataclass(frozen=True)
class Errand:
    """One `compactor measure` for another machine.

    Attributes:
        bundles: bundles of one kind of input.
        words: options of `compactor measure` that hold there as they are; none names a file of this machine.
        runtimes: those of them that name runtimes; none is each artifact's default.
        samples: files and folders to feed.
        command: how to do it again.
        wheels: folder with a wheel of every package that is needed there; None takes them from the network.
        ssh_config: file instead of ssh's own configuration.
        keep: leave there what was made there.
    """

    bundles: Sequence[Path]
    words: Sequence[str] = ()
    runtimes: Sequence[str] = ()
    samples: Sequence[Path] = ()
    command: str = "compactor measure"
    wheels: Path | None = None
    ssh_config: Path | None = None
    keep: bool = False

    def wheel_files(self) -> list[Path]:
        """The wheels to take along.

        Raises:
            UsageError: `wheels` is no folder with wheels.
        """
        if self.wheels is None:
            return []
        found = sorted(self.wheels.glob("*.whl"))
        if not found:
            raise UsageError(f"--wheels {self.wheels}: no wheel found; fill it with: pip download -d DIR ...")
        return found

    def bundle_files(self) -> list[tuple[str, Path]]:
        """What goes there of the bundles, by its name there: what their manifests list and nothing beside.

        A link in a bundle of somebody else would otherwise take a file of this machine along.

        Raises:
            UsageError, IntegrityError: a bundle does not exist or is damaged.
        """
        return [
            (f"bundles/{number}/{name}", resolve_inside(path, name))
            for number, path in enumerate(self.bundles)
            for name in open_bundle(path).listed
        ]

    def requirements(self) -> tuple[list[str], list[str]]:
        """What is installed there: extras of ours, and packages besides.

        ONNX Runtime for a GPU replaces the other, and both together break each other.

        Raises:
            UsageError, IntegrityError: a bundle or a sample does not exist or is damaged.
        """
        for place in self.samples:
            if not place.exists():
                raise UsageError(f"--samples {place}: no such file or folder; give images, or a text file")
        bundles = [open_bundle(path) for path in self.bundles]
        kind = kind_of(bundles)
        extras = sorted({find_runtime(name).extra for name in self.runtimes or _defaults(bundles)})
        if GPU in extras:
            return [name for name in extras if name != "ort"], [_DECODERS[kind]]
        return [kind, *(name for name in extras if name != "ort")], []


def _defaults(bundles: Sequence[Bundle]) -> list[str]:
    return [choose_runtime(one) for bundle in bundles for one in bundle.manifest.main.artifacts if one.ships]
