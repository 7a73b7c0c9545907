"""Find the `tokenizer.json` that a recipe names, and what it pads with."""

import json
from pathlib import Path
from typing import Any

from compactor.data.cache import Opening
from compactor.data.hub import reach_hub
from compactor.data.spec import DataSpec
from compactor.data.token_limits import read_json
from compactor.data.trimmed_tokenizer import KEPT, TOKENIZER, trimmed_tokenizer
from compactor.locate import locate, locate_model
from compactor.records import TextInfo
from compactor_runtimes.errors import UnfitEnvironmentError, UsageError, needs_extra

FILE = "tokenizer.json"
PADS = ("[PAD]", "<pad>", "<|pad|>")


def find_tokenizer(spec: str, base: Path | None) -> Path:
    """Find the file: `spec` is a tokenizer.json, a folder that holds one, or a model (`hf:`, `package:`).

    Raises:
        UsageError: nothing there, or a folder without the file.
        UnfitEnvironmentError: a model of the hub, and the hub cannot be reached.
    """
    if spec.partition(":")[0] in ("hf", "package"):
        folder = locate_model(spec, base)
        path = _from_hub(spec) if folder is None else folder / FILE
    else:
        path = locate(spec, base or Path.cwd(), what="data.tokenizer")
        path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise UsageError(
            f"data.tokenizer: {spec} has no {FILE} (looked at {path}); save it with the fast tokenizer of "
            "transformers, or name another"
        )
    return path


def text_info(spec: DataSpec, base: Path | None, *, cache: Path | None = None) -> TextInfo:
    """Say how the texts of a data set are cut; a trimmed tokenizer lies in the cache.

    Raises:
        UsageError: no tokenizer is named, its file is none, or its vocabulary cannot be trimmed as asked.
        UnfitEnvironmentError: see `find_tokenizer`.
    """
    if spec.tokenizer is None:
        raise UsageError("data.tokenizer: absent; name a tokenizer.json, or a model (hf:, package:) with one")
    path = find_tokenizer(spec.tokenizer, base)
    if spec.vocabulary is None:
        return TextInfo(path, _pad_id(path), spec.max_tokens)
    folder = trimmed_tokenizer(path, spec.vocabulary, Opening(base, cache))
    trimmed = folder / TOKENIZER
    kept = json.loads((folder / KEPT).read_text(encoding="utf-8"))
    whole = _pad_id(path)
    pad_id = kept.index(whole) if whole in kept else _pad_id(trimmed)
    return TextInfo(trimmed, pad_id, spec.max_tokens, kept=folder / KEPT, made_from=path)


def _pad_id(path: Path) -> int:
    """Find the id that texts are padded with.

    1. What config.json beside the tokenizer says, as the model itself reads it.
    2. The token that tokenizer_config.json names.
    3. What the tokenizer itself pads with, else a token called [PAD], <pad> or <|pad|>.
    4. Where nothing says it, the token that ends texts, which none holds; else 0.
    """
    config, named = read_json(path.parent / "config.json"), read_json(path.parent / "tokenizer_config.json")
    ids, own = _vocabulary(path)
    said = [config.get("pad_token_id"), ids.get(_token(named.get("pad_token"))), own]
    said += [ids.get(name) for name in PADS]
    said += [config.get("eos_token_id"), ids.get(_token(named.get("eos_token")))]
    known = {*ids.values(), own}
    return next((int(one) for one in said if type(one) is int and one in known), 0)


def _token(entry: object) -> str:
    """The token of an entry of tokenizer_config.json: its text, or an object that holds it."""
    found = entry.get("content") if isinstance(entry, dict) else entry
    return found if isinstance(found, str) else ""


def _vocabulary(path: Path) -> tuple[dict[str, int], int | None]:
    """All tokens with their ids, and the id that the file itself pads with.

    Raises:
        UsageError: it is no tokenizer.json.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        padding = content.get("padding")
        vocabulary = (content.get("model") or {}).get("vocab") or {}
        if isinstance(vocabulary, list):  # of a unigram model: [token, score] by id
            vocabulary = {token: number for number, (token, *_) in enumerate(vocabulary)}
        added = {token["content"]: int(token["id"]) for token in content.get("added_tokens") or []}
        ids = {token: int(number) for token, number in (vocabulary | added).items()}
        return ids, int(padding["pad_id"]) if padding else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: is no tokenizer.json ({error!r}); save the tokenizer again") from error


def _from_hub(spec: str) -> Path:
    with needs_extra("train"):
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
    name = spec.partition(":")[2]
    try:
        kept = try_to_load_from_cache(name, FILE)
        if isinstance(kept, str):  # an earlier download, of use offline too
            return Path(kept)
        reach_hub()
        return Path(hf_hub_download(name, FILE))
    except (OSError, ValueError, RuntimeError) as error:
        raise UnfitEnvironmentError(
            f"tokenizer of {spec}: is in no local folder and could not be downloaded "
            f"({' '.join(str(error).split())[:160]}); where there is "
            f"internet, download {FILE} of {name} and give its path as data.tokenizer"
        ) from error
