"""Write and read the file of a MachineProfile: JSON, in which raw samples are compressed strings.

A list of samples is `{"n": 3, "zlib": "..."}`: base64 of the compressed little-endian 64-bit integers, each
less the one before.
"""

import base64
import zlib
from array import array
from itertools import accumulate, pairwise
from pathlib import Path
from sys import byteorder
from typing import Any

import msgspec

from compactor_runtimes.errors import IntegrityError, UsageError
from compactor_runtimes.files import write_whole
from compactor_runtimes.measure.machine_profile import PROFILE_VERSION, MachineProfile

MOST_BYTES = 512 << 20
MOST_SAMPLES = 50_000_000
_PACKED = ("samples_ns", "blocks")


def write_profile(profile: MachineProfile, path: Path) -> None:
    """Write a profile, whole or not at all."""
    plain = msgspec.to_builtins(profile)
    for holder, key in _lists(plain):
        holder[key] = pack(holder[key])
    write_whole(path, msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n")


def read_profile(path: Path) -> MachineProfile:
    """Read what `write_profile` wrote.

    Raises:
        UsageError: there is no such file.
        IntegrityError: it is damaged, too large, no profile, or of another version.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{path}: {found}; give the file that `compactor measure BUNDLE --out FILE` wrote")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise IntegrityError(f"{path}: more than {MOST_BYTES >> 20} MiB found, which no profile has")
    return decode_profile(content, where=str(path))


def decode_profile(content: bytes, *, where: str) -> MachineProfile:
    """Parse the bytes of a profile's file; see `read_profile`."""
    again = "measure again with: compactor measure BUNDLE"
    try:
        plain = msgspec.json.decode(content)
        version = plain["schema_version"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError) as error:
        raise IntegrityError(f"{where}: is no profile of a machine ({error}); {again}") from error
    if version != PROFILE_VERSION:
        raise IntegrityError(
            f"{where}: version {version!r} of profiles found, this release reads {PROFILE_VERSION}; {again}"
        )
    try:
        for holder, key in _lists(plain):
            holder[key] = unpack(holder[key])
        return msgspec.convert(plain, MachineProfile)
    except (msgspec.ValidationError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{where}: {error}; the profile is damaged, {again}") from error


def schema() -> dict[str, Any]:
    """JSON schema of the file."""
    found = msgspec.json.schema(MachineProfile)
    packed = {
        "type": "object",
        "required": ["n", "zlib"],
        "properties": {"n": {"type": "integer", "minimum": 0}, "zlib": {"type": "string"}},
        "additionalProperties": False,
        "description": "base64 of zlib of little-endian int64, each value less the one before",
    }
    definitions = found["$defs"]
    for name in _PACKED:
        definitions["Measurement"]["properties"][name] = packed
    definitions["Split"]["properties"]["samples_ns"] = {
        "type": "object",
        "additionalProperties": packed,
    }
    return found


def pack(values: list[int]) -> dict[str, Any]:
    """Compress integers."""
    steps = array("q", values[:1] + [after - before for before, after in pairwise(values)])
    if byteorder == "big":
        steps.byteswap()
    return {"n": len(values), "zlib": base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()}


def unpack(packed: dict[str, Any]) -> list[int]:
    """Undo `pack`.

    Raises:
        ValueError: it is not what `pack` gives, or holds more than it says.
    """
    count = packed["n"]
    if not isinstance(count, int) or not 0 <= count <= MOST_SAMPLES:
        raise ValueError(f"{count!r} samples found, 0 to {MOST_SAMPLES:,} expected")
    engine, size = zlib.decompressobj(), 8 * count
    try:
        content = engine.decompress(base64.b64decode(packed["zlib"], validate=True), size + 1)
    except zlib.error as error:
        raise ValueError(f"samples that cannot be unpacked found ({error})") from error
    if len(content) != size:
        raise ValueError(f"other samples than the {count:,} that are stated found")
    steps = array("q")
    steps.frombytes(content)
    if byteorder == "big":
        steps.byteswap()
    return list(accumulate(steps))


def _lists(plain: Any) -> list[tuple[Any, str]]:
    """Every holder of a list of samples with its key."""
    found: list[tuple[Any, str]] = [(one, key) for one in plain["measurements"] for key in _PACKED]
    for anatomy in plain["anatomies"]:
        if anatomy.get("split") is not None:
            times = anatomy["split"]["samples_ns"]
            found += [(times, stage) for stage in times]
    return found
