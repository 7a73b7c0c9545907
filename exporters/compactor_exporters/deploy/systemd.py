"""Target `systemd`: a hardened unit that serves a bundle on the loopback address, and how to install it."""

from pathlib import Path

from compactor_exporters.deploy.served import put_served, template_values
from compactor_exporters.deploy.writing import Options, put, template
from compactor_runtimes.bundle.open import Bundle


def write(bundle: Bundle, folder: Path, options: Options) -> list[str]:
    """Write NAME.service, requirements.txt, our wheel, bundle/ and a README.

    Raises:
        UsageError, UnfitEnvironmentError: see `put_served`.
    """
    values = template_values(bundle, options, "systemd", unit="M")
    return [
        *put_served(bundle, folder, "systemd"),
        put(folder, f"{options.name}.service", template("systemd/unit.service", **values)),
        put(folder, "README.md", template("systemd/README.md", **values)),
    ]
