"""Damaged and hostile bundles, made of whole ones from a seed: what is changed, and what must become of it.

1. Without new digests nothing that was changed may be answered with: it is refused, or the change is in what
   was not read.
2. With new digests it may load; then answers are the whole bundle's, or golden cases find the change.
3. Whatever happens, errors are of the family CompactorError, in bounded time and memory.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

HOSTILE: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        7,
        2**31,
        2**53,
        2**63,
        2**70,
        -(2**70),
        0.0,
        -0.5,
        1e-320,
        1e300,
        1e308,
    ),
    *(
        "",
        "a",
        "../x",
        "/etc/passwd",
        "a\0b",
        "\n\r",
        "x" * 5000,
        "\ud800",
        "float8_e4m3fn",
        "complex64",
        "logits",
    ),
    *([], {}, [[]], [None], [0], [-1, 0, 2**40], {"a": 1}, [[1], [2]], ["batch"] * 9),
]
NAMED = ("manifest.json", "tokenizer.json", "cases.json")


def change(folder: Path, chance: random.Random) -> str:
    """Change one thing in a bundle's folder; returns what, in words."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    how = chance.choice([_in_json, _in_json, _in_json, _in_bytes, _in_bytes, _in_tensors, _in_place])
    return how(folder, files, chance)


def hash_again(folder: Path) -> None:
    """Write the digests and sizes that files have now into the manifest, as far as that can be read."""
    path = folder / "manifest.json"
    if not path.is_file():
        return
    try:
        manifest = json.loads(path.read_bytes())
        entries = list(_entries(manifest))
    except (ValueError, RecursionError, OSError):
        return
    for entry in entries:
        try:
            file = folder / entry["path"]
            if file.is_file():
                content = file.read_bytes()
                entry["sha256"], entry["bytes"] = sha256(content).hexdigest(), len(content)
        except (TypeError, ValueError, KeyError, OSError):
            continue
    try:
        if isinstance(manifest, dict):
            import msgspec

            from compactor_runtimes.bundle.manifest import digest_of_manifest

            manifest = msgspec.json.decode(json.dumps(manifest))
            manifest.pop("digest", None)
            manifest["digest"] = digest_of_manifest(manifest)
        path.write_text(json.dumps(manifest))
    except (ValueError, RecursionError):
        return


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if {"path", "sha256"} <= set(value):
            yield value
        for one in value.values():
            yield from _entries(one)
    elif isinstance(value, list):
        for one in value:
            yield from _entries(one)


def _in_json(folder: Path, files: list[Path], chance: random.Random) -> str:
    """Replace, drop, repeat or nest one value of a JSON file."""
    path = chance.choice([one for one in files if one.name in NAMED])
    if chance.random() < 0.02:
        path.write_bytes(chance.choice([b"[", b'{"a":']) * chance.choice([50, 5000]))
        return f"{path.name}: nested"
    content = json.loads(path.read_bytes())
    holder, key = chance.choice(list(_places(content)))
    act = chance.random()
    if act < 0.7:
        new = chance.choice(HOSTILE)
        said = f"{path.name}: {key!r} = {str(new)[:40]!r}"
        holder[key] = new
    elif act < 0.8:
        said = f"{path.name}: {key!r} dropped"
        del holder[key]
    elif act < 0.9:
        said = f"{path.name}: {key!r} nudged"
        holder[key] = _nudged(holder[key], chance)
    else:
        others = list(_places(content))
        other, name = chance.choice(others)
        said = f"{path.name}: {key!r} takes the place of {name!r}"
        other[name] = json.loads(json.dumps(holder[key]))
    path.write_text(json.dumps(content))
    return said


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _nudged(value: Any, chance: random.Random) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + chance.choice([-1, 1, 2, 100])
    if isinstance(value, float):
        return value * chance.choice([0.5, -1.0, 3.0, 1e9])
    if isinstance(value, str):
        return value + chance.choice([" ", "s", "\n", "ä"]) if chance.random() < 0.5 else value[:-1]
    if isinstance(value, list):
        return value[:-1] if chance.random() < 0.5 else value + value[:1]
    return {}


def _in_bytes(folder: Path, files: list[Path], chance: random.Random) -> str:
    """Flip, cut, repeat or replace bytes of any file."""
    path = chance.choice(files)
    content = bytearray(path.read_bytes())
    if not content:
        return f"{path.name}: empty as it was"
    act, at = chance.randrange(5), chance.randrange(len(content))
    if act == 0:
        content[at] ^= 1 << chance.randrange(8)
    elif act == 1:
        del content[at:]
    elif act == 2:
        content[at:at] = chance.randbytes(chance.choice([1, 4, 100]))
    elif act == 3:
        content[at : at + 8] = chance.choice([b"\0" * 8, b"\xff" * 8, chance.randbytes(8)])
    else:
        for _ in range(20):
            content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(content)
    return f"{path.name}: bytes, way {act}, at {at}"


def _in_tensors(folder: Path, files: list[Path], chance: random.Random) -> str:
    """Change the header of the golden arrays: types, shapes and places."""
    path = next(one for one in files if one.suffix == ".safetensors")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    holder, key = chance.choice([one for one in _places(header) if one[1] != "__metadata__"])
    holder[key] = chance.choice(
        [
            *HOSTILE,
            "F8_E4M3",
            "F8_E5M2",
            "BF16",
            "F16",
            "F64",
            "I32",
            "U8",
            "BOOL",
            "C64",
            [1],
            [1, 1, 1],
            [2, 5],
        ]
    )
    new = json.dumps(header).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + content[8 + length :])
    return f"{path.name}: header, {key!r}"


def _in_place(folder: Path, files: list[Path], chance: random.Random) -> str:
    """Put something else in a file's place: nothing, a folder, a link, a pipe, what nobody may read."""
    path = chance.choice(files)
    act = chance.choice(["gone", "folder", "link out", "link in", "loop", "pipe", "empty", "swapped"])
    if act == "swapped":
        other = chance.choice(files)
        first, second = path.read_bytes(), other.read_bytes()
        path.write_bytes(second)
        other.write_bytes(first)
        return f"{path.name}: swapped with {other.name}"
    path.unlink()
    acts: dict[str, Callable[[], object]] = {
        "gone": lambda: None,
        "folder": path.mkdir,
        "link out": lambda: path.symlink_to("/etc/hostname"),
        "link in": lambda: path.symlink_to(chance.choice([one for one in files if one != path])),
        "loop": lambda: path.symlink_to(path.name),
        "pipe": lambda: os.mkfifo(path),
        "empty": path.touch,
    }
    acts[act]()
    return f"{path.name}: {act}"


def copy_of(bundle: Path, target: Path) -> Path:
    """A fresh copy of a whole bundle."""
    shutil.copytree(bundle, target)
    return target
