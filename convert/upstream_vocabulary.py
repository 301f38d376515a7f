"""The vocabulary that the upstream converter wrote, with what it loses of a checkpoint's added tokens put back.

It may write fewer tokens than the embedding has rows, which llama.cpp does not load, may call an added token
`[PADi]` where it reads a tokenizer.model that does not know it, and changes the ends of a template's lines.
"""

from dataclasses import replace
from pathlib import Path

from convert.added_tokens import added_tokens
from convert.checkpoint import read_json
from convert.errors import TakebackError
from convert.folder_vocabulary import chat_template
from convert.gguf_header import GGUFHeader, ValueType
from convert.untrusted import clean_line
from convert.vocabulary import CONTROL, UNUSED, USER_DEFINED, Vocabulary, gguf_vocabulary

_SCORES = "tokenizer.ggml.scores"
_LOWEST_SCORE = -1000.0


def tokenizer_folder(folder: Path, adapter: Path | None) -> Path:
    """The folder whose tokenizer counts: the adapter's, where it brings its own."""
    return adapter if adapter is not None and (adapter / "tokenizer.json").exists() else folder


def mended(header: GGUFHeader, folder: Path, adapter: Path | None, rows: int) -> Vocabulary:
    """The file's vocabulary, one token for each of the embedding's `rows`, with the tokenizer's added tokens."""
    vocabulary = _padded(gguf_vocabulary(header), rows)
    place = tokenizer_folder(folder, adapter)
    if not (place / "tokenizer.json").exists():
        return vocabulary
    settings = place / "tokenizer_config.json"
    entries = added_tokens(
        read_json(place / "tokenizer.json"), read_json(settings) if settings.exists() else {}
    )
    texts, types = list(vocabulary.tokens), list(vocabulary.types)
    for entry in entries:
        if entry.id >= len(texts):
            raise TakebackError(
                f"tokenizer.json: the token {clean_line(entry.text[:80])} has the id {entry.id:,}, and the "
                f"embedding only {len(texts):,} rows"
            )
        if types[entry.id] == UNUSED:
            texts[entry.id] = entry.text
            types[entry.id] = CONTROL if entry.said("special") else USER_DEFINED
        elif entry.said("special") and texts[entry.id] == entry.text:
            types[entry.id] = CONTROL
    if len(set(texts)) < len(texts):
        raise TakebackError("tokenizer.json: two tokens have one text, on which llama.cpp ends")
    other = {**vocabulary.other, **chat_template(place, folder)}
    return replace(vocabulary, tokens=tuple(texts), types=tuple(types), other=other)


def _padded(vocabulary: Vocabulary, rows: int) -> Vocabulary:
    have = len(vocabulary.tokens)
    if have >= rows:
        return vocabulary
    more = range(have, rows)
    other = dict(vocabulary.other)
    if _SCORES in other and other[_SCORES].element is ValueType.FLOAT32:
        other[_SCORES] = other[_SCORES]._replace(data=(*other[_SCORES].data, *(_LOWEST_SCORE for _ in more)))
    return replace(
        vocabulary,
        tokens=(*vocabulary.tokens, *(f"[PAD{i}]" for i in more)),
        types=(*vocabulary.types, *(UNUSED for _ in more)),
        other=other,
    )
