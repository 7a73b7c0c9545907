"""Labels of words in other schemes than BIO, turned into BIO.

1. BIOES, BILOU and BMES say where a slot ends, or that it is one word: E, L, M become I, and S, U become B.
2. In IOB1 a slot begins with I, and with B only right after another of its kind: what begins one becomes B.
   Data where some slots begin with B otherwise are BIO, whatever their I say.
3. Everything else stays as it is, and is refused where it is no BIO.
"""

from collections.abc import Mapping, Sequence

from compactor.data.spec import SplitName
from compactor_runtimes.predict.bio import OUTSIDE

Tags = Sequence[list[str] | None]
SCHEMES = {"BIOES": ("BIES", "ES"), "BILOU": ("BILU", "LU"), "BMES": ("BMES", "MES")}
TO_BIO = {"E": "I", "L": "I", "M": "I", "S": "B", "U": "B"}


def scheme_of(tags: Mapping[SplitName, Tags]) -> str:
    """Name the scheme of the labels of all splits: BIO, BIOES, BILOU, BMES, IOB1, or empty for another."""
    rows = [row for of in tags.values() for row in of if row]
    prefixes = {tag[:1] for row in rows for tag in row if tag != OUTSIDE and tag[1:2] == "-"}
    if any(tag != OUTSIDE and (tag[1:2] != "-" or len(tag) < 3) for row in rows for tag in row):
        return ""
    if prefixes <= set("BI"):
        return "IOB1" if _is_iob1(rows) else "BIO"
    for name, (all_of_them, own) in SCHEMES.items():
        if prefixes <= set(all_of_them) and prefixes & set(own):
            return name
    return ""


def to_bio(tags: Mapping[SplitName, Tags]) -> tuple[dict[SplitName, Tags], list[str]]:
    """Turn the labels of all splits into BIO, and say so where something changed."""
    scheme = scheme_of(tags)
    if scheme in ("BIO", ""):
        return dict(tags), []
    turn = _begun if scheme == "IOB1" else _renamed
    found = {name: [None if row is None else turn(row) for row in of] for name, of in tags.items()}
    changed = sum(
        a != b
        for name, of in tags.items()
        for old, new in zip(of, found[name], strict=True)
        for a, b in zip(old or (), new or (), strict=True)
    )
    return dict(found), [f"slot labels are {scheme}: {changed:,} of them were turned into BIO"]


def _is_iob1(rows: Sequence[list[str]]) -> bool:
    """Rule 2: no B but after its own kind, and an I that begins a slot."""
    begins = False
    for row in rows:
        for before, tag in zip([OUTSIDE, *row], row, strict=False):
            follows = before != OUTSIDE and before[2:] == tag[2:]
            if tag.startswith("B-") and not follows:
                return False
            begins = begins or (tag.startswith("I-") and not follows)
    return begins


def _begun(row: list[str]) -> list[str]:
    found = []
    for before, tag in zip([OUTSIDE, *row], row, strict=False):
        begins = tag.startswith("I-") and (before == OUTSIDE or before[2:] != tag[2:])
        found.append(f"B-{tag[2:]}" if begins else tag)
    return found


def _renamed(row: list[str]) -> list[str]:
    return [tag if tag == OUTSIDE else TO_BIO.get(tag[0], tag[0]) + tag[1:] for tag in row]
