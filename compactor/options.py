"""Options of what a recipe names (a method, a sampler, a model family), checked against their record."""

from typing import Any, TypeVar

import msgspec

from compactor_runtimes.errors import UsageError
from compactor_runtimes.tables import nearest

Record = TypeVar("Record", bound=msgspec.Struct)


def checked_options(record: type[Record], options: dict[str, Any], at: str) -> Record:
    """Turn options into their record; `at` says where they were found.

    Raises:
        UsageError: an unknown option or a wrong value.
    """
    known = [item.encode_name for item in msgspec.structs.fields(record)]
    for key in options:
        if key not in known:
            raise UsageError(f"{at}.{key}: unknown option; {nearest(key, known) if known else 'it has none'}")
    try:
        return msgspec.convert(options, record)
    except msgspec.ValidationError as error:
        what, _, where = str(error).replace("`", "").partition(" - at $")
        raise UsageError(f"{at}{where}: {what}") from error
