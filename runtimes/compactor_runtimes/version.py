"""Which release this is, as it was installed."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """The installed version; "unknown" in a checkout that was not installed."""
    try:
        return installed("compactor-toolkit")
    except PackageNotFoundError:
        return "unknown"
