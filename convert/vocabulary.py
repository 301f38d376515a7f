"""A GGUF file's vocabulary: from a checkpoint's tokenizer.json, or from another GGUF file.

The kind comes from tokenizer.json, never from the architecture: `byte_level.py` and `sentencepiece.py` are the
two that are known.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from convert.errors import TakebackError
from convert.gguf_header import GGUFHeader, TypedValue, ValueType
from convert.untrusted import clean_line

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""llama.cpp's token types."""

_TOKENS, _TYPES, _SCORES = (f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "scores"))


@dataclass(frozen=True)
class Vocabulary:
    """Every token's text and type by id, and all other `tokenizer.*` metadata, scores included.

    `takes_space_behind` says that added tokens swallow the white space behind them (`added_tokens.py`).
    """

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    other: Mapping[str, TypedValue]
    takes_space_behind: bool = False

    def with_token(self, token_id: int, text: str) -> "Vocabulary":
        """Add a CONTROL token behind the last one, or give an existing one of this text that type.

        A token that stands for nothing (UNUSED) takes the text. Raises TakebackError where the text is
        another token's already, or the id is neither in the vocabulary nor the next one.
        """
        shown = clean_line(text[:80])
        taken = self.find(text)
        if taken is not None and taken != token_id:
            raise TakebackError(
                f"the token {shown} has the id {taken:,} in the vocabulary, and not {token_id:,}"
            )
        if token_id > len(self.tokens):
            raise TakebackError(
                f"the token {shown} has the id {token_id:,}, which leaves a gap in the vocabulary"
            )
        if token_id == len(self.tokens):
            other = dict(self.other)
            if _SCORES in other:
                other[_SCORES] = other[_SCORES]._replace(data=(*other[_SCORES].data, 0))
            return replace(self, tokens=(*self.tokens, text), types=(*self.types, CONTROL), other=other)
        if self.tokens[token_id] != text and self.types[token_id] != UNUSED:
            raise TakebackError(
                f"the id {token_id:,} of {shown} is {clean_line(self.tokens[token_id][:80])} already"
            )
        tokens, types = list(self.tokens), list(self.types)
        tokens[token_id], types[token_id] = text, CONTROL
        return replace(self, tokens=tuple(tokens), types=tuple(types))

    def find(self, text: str) -> int | None:
        """The id of the token of this text, or None."""
        return self.tokens.index(text) if text in self.tokens else None

    def metadata(self) -> dict[str, TypedValue]:
        """All of it as GGUF metadata."""
        return {
            **self.other,
            _TOKENS: TypedValue(ValueType.ARRAY, self.tokens, ValueType.STRING),
            _TYPES: TypedValue(ValueType.ARRAY, self.types, ValueType.INT32),
        }


def gguf_vocabulary(header: GGUFHeader) -> Vocabulary:
    """The vocabulary of a GGUF file. Raises TakebackError where it has none."""
    tokens = header.metadata.get(_TOKENS)
    types = header.metadata.get(_TYPES)
    if not isinstance(tokens, tuple) or not tokens or header.typed[_TOKENS].element is not ValueType.STRING:
        raise TakebackError("the GGUF file has no vocabulary; it is not a language model")
    if not isinstance(types, tuple):
        types = (NORMAL,) * len(tokens)
    scores = header.metadata.get(_SCORES)
    if not all(type(kind) is int and 0 <= kind <= BYTE for kind in types):
        raise TakebackError("the GGUF file has token types that are not known")
    sound = scores is None or (
        isinstance(scores, tuple)
        and len(scores) == len(tokens)
        and header.typed[_SCORES].element is ValueType.FLOAT32
    )
    if len(types) != len(tokens) or not sound:
        raise TakebackError("the GGUF file's token types or scores are not as many as its tokens")
    keys = (key for key in header.typed if key.startswith("tokenizer.") and key not in (_TOKENS, _TYPES))
    return Vocabulary(tokens, types, {key: header.typed[key] for key in keys})


def padded(tokens: Mapping[int, tuple[str, int]], rows: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Texts and types for every id below `rows`; an id without a token is `[PADi]`, UNUSED."""
    highest = max(tokens, default=-1)
    if highest >= rows:
        raise TakebackError(
            f"tokenizer.json: the token {clean_line(tokens[highest][0][:80])} has the id {highest:,}, "
            f"and the embedding only {rows:,} rows"
        )
    full = [tokens.get(i, (f"[PAD{i}]", UNUSED)) for i in range(rows)]
    texts, types = tuple(text for text, _ in full), tuple(kind for _, kind in full)
    if len(set(texts)) < rows:  # llama.cpp's loader aborts on it
        double = Counter(texts).most_common(1)[0][0]
        raise TakebackError(f"tokenizer.json: the token {clean_line(double[:80])} is there under two ids")
    return texts, types
