"""Data sets of the hub: fetched once through the `datasets` library, then read like any folder of tables."""

import json
import shutil
from pathlib import Path
from ssl import SSLError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from compactor.data.spec import SPLIT_NAMES
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError, needs_extra
from compactor_runtimes.files import new_folder

SECONDS = 5.0  # until the hub counts as unreachable


def fetch(name: str, root: Path) -> Path:
    """Fetch `owner/name` or `owner/name:config` into `root`; what is there already is not fetched again.

    Args:
        name: id of the data set; a local folder that `datasets` reads will do as well.
        root: folder that gets one folder for each data set.

    Returns:
        Folder with one parquet file for each split.

    Raises:
        UnfitEnvironmentError: the hub cannot be reached or has no such data set.
        UsageError: it has no split that is named train.
    """
    target = root / ("dataset--" + name.strip("/").replace("/", "--").replace(":", "--"))
    if target.is_dir():
        return target
    with needs_extra("train"):
        import datasets
    identifier, _, config = name.partition(":")
    try:
        if not Path(identifier).is_dir():
            reach_hub()
        found = datasets.load_dataset(identifier, config or None)
    except (OSError, ValueError, RuntimeError) as error:  # offline, unknown id, unreadable files
        raise UnfitEnvironmentError(
            f"data set {name!r}: is no local path and could not be fetched from the hub "
            f"({' '.join(str(error).split())[:160]}); where there is internet, download its parquet files "
            "(train, and validation or test if it has them) into one folder and give it as data.dataset"
        ) from error
    known = {split: part for split, part in found.items() if split in SPLIT_NAMES}
    if "train" not in known:
        raise UsageError(f"data set {name!r}: has the splits {', '.join(found)}, expected one named train")
    temporary = new_folder(root, ".fetching.")
    try:
        for split, part in known.items():
            _write(part, temporary / f"{split}.parquet")
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def reach_hub() -> None:
    """Fail at once where there is no network; the library itself would retry for half a minute.

    Raises:
        OSError: the hub cannot be reached.
    """
    with needs_extra("train"):
        from huggingface_hub.constants import ENDPOINT
    try:  # urllib takes the proxies of the environment, as the library does
        urlopen(Request(ENDPOINT, method="HEAD"), timeout=SECONDS).close()
    except HTTPError as error:  # an answer, whichever
        error.close()
    except URLError as error:
        if not isinstance(error.reason, SSLError):  # the library may trust other certificates
            raise


def _write(part: Any, path: Path) -> None:
    """Write one split; the library's own metadata keep the names of the classes."""
    part.to_parquet(path)
    with needs_extra("train"):
        import pyarrow.parquet as pq
    if b"huggingface" not in (pq.read_schema(path).metadata or {}):  # pragma: no cover  # older releases
        table = pq.read_table(path)
        features = {name: {"names": getattr(kind, "names", None)} for name, kind in part.features.items()}
        told = json.dumps({"info": {"features": features}}).encode()
        pq.write_table(table.replace_schema_metadata({b"huggingface": told}), path)
