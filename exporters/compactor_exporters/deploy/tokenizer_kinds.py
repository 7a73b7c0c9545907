"""Which tokenizers the page's JavaScript library computes; others are refused by name."""

import json
from collections.abc import Iterator
from typing import Any

from compactor_runtimes.errors import IntegrityError, UsageError, one_line

MODELS = ("WordPiece", "BPE", "Unigram", "WordLevel")  # of WordLevel the page itself looks unknown words up
NORMALIZERS = (
    *("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "Replace", "Prepend"),
    *("BertNormalizer", "Precompiled", "Sequence"),
)
PRE_TOKENIZERS = (
    *("BertPreTokenizer", "ByteLevel", "Whitespace", "WhitespaceSplit", "Metaspace", "Split", "Punctuation"),
    *("Digits", "Sequence"),
)
POST_PROCESSORS = ("TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel", "Sequence")

_KINDS = {"normalizer": NORMALIZERS, "pre_tokenizer": PRE_TOKENIZERS, "post_processor": POST_PROCESSORS}


def check_tokenizer(content: bytes, where: str) -> None:
    """Refuse a tokenizer.json with a part that the page would not compute.

    Raises:
        UsageError: it has one; the part and its kind are named.
        IntegrityError: it is no JSON object.
    """
    try:
        parts: dict[str, Any] = json.loads(content)
        model = str(parts["model"].get("type", "BPE"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{where}: is no tokenizer.json ({one_line(error)}); copy it again") from error
    found: list[tuple[str, str, tuple[str, ...]]] = [("model", model, MODELS)]
    for part, kinds in _KINDS.items():
        found += [(part, kind, kinds) for kind in _types(parts.get(part))]
    for part, kind, kinds in found:
        if kind not in kinds:
            raise UsageError(
                f"{where}: {part} {kind} found, the web page computes {', '.join(kinds)}; serve this bundle "
                "with --to docker"
            )


def _types(part: Any) -> Iterator[str]:
    """The kind of a part and of the parts within it."""
    if isinstance(part, dict):
        yield str(part.get("type"))
        for name in ("normalizers", "pretokenizers", "processors"):
            for each in part.get(name, []):
                yield from _types(each)
