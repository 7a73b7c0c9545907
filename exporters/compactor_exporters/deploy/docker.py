"""Target `docker`: a Dockerfile with all that its build needs beside it, but for Python itself."""

from pathlib import Path

from compactor_exporters.deploy.served import put_served, template_values
from compactor_exporters.deploy.writing import Options, put, template
from compactor_runtimes.bundle.open import Bundle


def write(bundle: Bundle, folder: Path, options: Options) -> list[str]:
    """Write Dockerfile, .dockerignore, requirements.txt, our wheel, bundle/ and a README.

    Raises:
        UsageError, UnfitEnvironmentError: see `put_served`.
    """
    values = template_values(bundle, options, "docker", unit="m")
    return [
        *put_served(bundle, folder, "docker"),
        put(folder, "Dockerfile", template("docker/Dockerfile", **values)),
        put(folder, ".dockerignore", template("docker/dockerignore", **values)),
        put(folder, "README.md", template("docker/README.md", **values)),
    ]
