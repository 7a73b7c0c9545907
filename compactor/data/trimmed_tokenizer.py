"""The tokenizer that `data.vocabulary` asks for, made once and kept in the cache.

Layout: `<root>/tokenizers/<digest>/{kept.json, tokenizer.json}`, see compactor.data.cache for the root. The
digest covers all that the two depend on, and the tokenizer is written last, so that it stands for both.
"""

import hashlib
import json
from pathlib import Path

from compactor.data.cache import CACHE_VARIABLE, INSTEAD, Opening, cache_root
from compactor.data.extra_texts import further_texts, naming
from compactor.data.packed_texts import PackedTexts
from compactor.data.spec import VocabularySpec
from compactor.data.vocabulary import pieces, trim
from compactor_runtimes.errors import UsageError
from compactor_runtimes.files import write_whole

FORMAT = 1  # to be raised when the same input gives another tokenizer
KEY = "data.vocabulary.texts"
TOKENIZER, KEPT = "tokenizer.json", "kept.json"


def trimmed_tokenizer(tokenizer: Path, spec: VocabularySpec, opening: Opening) -> Path:
    """Return the folder with the trimmed tokenizer.json and, in kept.json, the ids that its ids had before.

    All of the texts are read, also for a smoke run: else that would train another model.

    Raises:
        UsageError: a table that is missing or damaged, a tokenizer that cannot be trimmed, or a cache folder
            that cannot be written.
    """
    sources = [
        further_texts(name, spec.text_column, opening, key=KEY, column_key="vocabulary.text_column")
        for name in spec.texts
    ]
    with naming(KEY):
        tables = sorted(json.dumps(source.fingerprint(), sort_keys=True) for source in sources)
    made_from = [FORMAT, hashlib.sha256(tokenizer.read_bytes()).hexdigest(), spec.most, tables]
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
    folder = cache_root(opening.cache) / "tokenizers" / digest
    if (folder / TOKENIZER).is_file() and (folder / KEPT).is_file():
        return folder
    with naming(KEY):
        texts = PackedTexts.joined([source.texts() for source in sources])
    found = trim(tokenizer, pieces(tokenizer, texts), most=spec.most)
    try:
        write_whole(folder / KEPT, json.dumps(found.kept).encode(), INSTEAD)
        write_whole(folder / TOKENIZER, found.to_json().encode(), INSTEAD)
    except (OSError, UsageError) as error:  # no place for a file there
        raise UsageError(
            f"cache folder {folder} cannot be written ({error.__cause__ or error}); "
            f"set ${CACHE_VARIABLE} to one that can"
        ) from error
    return folder
