"""What the server says of itself."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

NAME = "compactor"
EXTENSIONS = ["binary_tensor_data"]


def version() -> str:
    """The installed version; "unknown" in a checkout that was not installed."""
    try:
        return installed("compactor-toolkit")
    except PackageNotFoundError:
        return "unknown"
