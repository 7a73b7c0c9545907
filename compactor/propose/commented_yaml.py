"""Write YAML with a comment beside every key; PyYAML alone writes none."""

import re
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import yaml

COMMENT_COLUMN = 44
WIDEST = 110


@dataclass(frozen=True)
class Entry:
    """`key: value  # comment`; the value is a scalar, a flow collection, `Entries` or a list of `Entries`."""

    key: str
    value: Any
    comment: str = ""


Entries = list[Entry]


def to_text(head: list[str], entries: Entries) -> str:
    """Lay comment lines and entries out, the comments in one column where there is room."""
    lines = [
        text
        for line in head
        for text in wrap(
            f"# {line}", WIDEST, subsequent_indent="#   ", break_on_hyphens=False, break_long_words=False
        )
    ]
    for text, comment in _block(entries, "", ""):
        if not comment:
            lines.append(text)
        elif max(len(text) + 2, COMMENT_COLUMN) + len(comment) + 2 > WIDEST:
            lines += [f"{' ' * (len(text) - len(text.lstrip()))}# {_one_line(comment)}", text]
        else:
            lines.append(f"{text.ljust(COMMENT_COLUMN - 2)}  # {_one_line(comment)}")
    return "\n".join(lines) + "\n"


def scalar(value: Any) -> str:
    """One line of YAML for a value that is no `Entries`."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10**9, allow_unicode=True, sort_keys=False
    ).removesuffix("...\n")
    return re.sub(r"e-0", "e-", text.strip()) if isinstance(value, float) else text.strip()


def _block(entries: Entries, indent: str, dash: str) -> list[tuple[str, str]]:
    """Lay entries out; `dash` opens the first line where they are one item of a list."""
    found = []
    for number, entry in enumerate(entries):
        start = dash if number == 0 and dash else indent
        value = entry.value
        if _is_entries(value):
            found.append((f"{start}{entry.key}:", entry.comment))
            found += _block(value, f"{indent}  ", "")
        elif isinstance(value, list) and value and all(_is_entries(item) for item in value):
            found.append((f"{start}{entry.key}:", entry.comment))
            for item in value:
                found += _block(item, f"{indent}    ", f"{indent}  - ")
        else:
            found.append((f"{start}{entry.key}: {scalar(value)}", entry.comment))
    return found


def _is_entries(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Entry) for item in value)


def _one_line(text: str) -> str:
    """A comment ends with its line, so a name with a line break in it must not go on."""
    return " ".join(text.split())
