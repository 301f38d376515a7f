"""The GGUF vocabulary of a BPE of SentencePiece's kind, as Llama 2, Mistral, Gemma and Phi-3 have it.

llama.cpp has no merges there but a score for each token, and merges whatever two neighbours make the token of
the highest score. That is the same where the merges of tokenizer.json hold every way to make a token, together:
so it was when they were made of scores. Where it is not so, the vocabulary is refused.
"""

import re
from collections.abc import Mapping

from convert.checkpoint import Json
from convert.errors import TakebackError
from convert.gguf_header import TypedValue, ValueType
from convert.merges import merge_pairs
from convert.untrusted import clean_line
from convert.vocabulary import BYTE, NORMAL, UNKNOWN, USER_DEFINED

SPACE = "\u2581"
"""What stands for a space in a token."""

_KEY = "tokenizer.ggml."
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_NEVER = -1e6
"""The score of a token that no merge makes."""
_TO_SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_PREPEND = {"type": "Prepend", "prepend": SPACE}
_NOTHING_LEFT = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}
"""Splits at spaces, of which the normalizer has left none."""


def is_sentencepiece(tokenizer: Mapping[str, Json]) -> bool:
    """Whether tokenizer.json holds a BPE of this kind."""
    return bool(tokenizer["model"].get("byte_fallback"))


def sentencepiece_tokens(
    vocab: Mapping[str, int],
    added: Mapping[int, tuple[str, int]],
    normalized: frozenset[int],
    unknown: str | None,
) -> dict[int, tuple[str, int]]:
    """Every token's text and type by its id; `normalized` are the added tokens that are sought in normalized text.

    Those stand in the file with the spaces that they are found by. One that is sought as it is, and holds the
    sign for a space, is made by merges wherever it stands for spaces: an ordinary token.
    """
    tokens = {
        i: (text, BYTE if _BYTE.fullmatch(text) else NORMAL)
        for text, i in vocab.items()
        if not _alias(text, vocab)
    }
    for i, (text, kind) in added.items():
        if kind == USER_DEFINED and SPACE in text:
            tokens[i] = (text.replace(SPACE, " "), kind) if i in normalized else (text, NORMAL)
        else:
            tokens[i] = (text, UNKNOWN if text == unknown else kind)
    if unknown is not None and unknown in vocab:
        tokens[vocab[unknown]] = (unknown, UNKNOWN)
    if sum(kind == BYTE for _, kind in tokens.values()) < 256:
        raise TakebackError("tokenizer.json: byte_fallback is set, and there is not a token for each byte")
    return tokens


def _alias(text: str, vocab: Mapping[str, int]) -> bool:
    """Whether a text is a byte's second name: Gemma's has one for the tabulator, so that merges can name it."""
    return len(text) == 1 and ord(text) < 128 and vocab.get(f"<0x{ord(text):02X}>") == vocab[text]


def sentencepiece_metadata(
    tokenizer: Mapping[str, Json], texts: tuple[str, ...], types: tuple[int, ...]
) -> dict[str, TypedValue]:
    """llama.cpp's keys of such a vocabulary."""
    if tokenizer["model"].get("ignore_merges") or tokenizer["model"].get("dropout"):
        raise TakebackError(
            "tokenizer.json: ignore_merges or dropout is set, which SentencePiece does not know"
        )
    scores = _scores(merge_pairs(tokenizer["model"]), texts, types)
    return {
        _KEY + "model": TypedValue(ValueType.STRING, "llama"),
        _KEY + "pre": TypedValue(ValueType.STRING, "default"),
        _KEY + "scores": TypedValue(ValueType.ARRAY, scores, ValueType.FLOAT32),
        _KEY + "add_space_prefix": TypedValue(ValueType.BOOL, data=_puts_space(tokenizer)),
    }


def _scores(
    pairs: list[tuple[str, str]], texts: tuple[str, ...], types: tuple[int, ...]
) -> tuple[float, ...]:
    """A score for each token: the sooner its merges, the higher."""
    made = {text for text, kind in zip(texts, types, strict=True) if kind == NORMAL}
    order: dict[str, int] = {}
    last = None
    for left, right in pairs:
        text = left + right
        if text in made and text != last:
            if text in order:
                _refuse(f"the merges that make {clean_line(text[:40])} do not stand together")
            order[text] = len(order)
        last = text if text in made else last
    known = set(pairs)
    for text in made:
        for i in range(1, len(text)):
            left, right = text[:i], text[i:]
            parts = (i == 1 or left in made) and (len(right) == 1 or right in made)
            if parts and (left, right) not in known:
                _refuse(
                    f"no merge makes {clean_line(text[:40])} of {clean_line(left)} and {clean_line(right)}"
                )
    scores = (float(-order[text]) if text in order and text in made else _NEVER for text in texts)
    return tuple(0.0 if kind == BYTE else score for kind, score in zip(types, scores, strict=True))


def _refuse(why: str) -> None:
    raise TakebackError(f"tokenizer.json: {why}, so scores, as llama.cpp has them, cannot say the same")


def _puts_space(tokenizer: Mapping[str, Json]) -> bool:
    """Whether a space is put before each text between special tokens.

    A tokenizer that puts it only before the very first text ("first") puts none in a chat, which begins with a
    special token. llama.cpp puts it everywhere or nowhere, so it is to put none.
    """
    normalizer, splitter = tokenizer.get("normalizer") or {}, tokenizer.get("pre_tokenizer") or {}
    if not isinstance(normalizer, dict) or not isinstance(splitter, dict):
        raise TakebackError("tokenizer.json: the normalizer or pre-tokenizer is no object")
    steps = normalizer.get("normalizers") if normalizer.get("type") == "Sequence" else [normalizer]
    if steps == [_PREPEND, _TO_SPACE] and not splitter:
        return True
    if steps == [_TO_SPACE] and splitter in ({}, _NOTHING_LEFT):
        return False
    if not normalizer and splitter.get("type") == "Metaspace":
        scheme = splitter.get("prepend_scheme")
        same = splitter.get("replacement") == SPACE and splitter.get("split") is False
        if same and scheme in ("always", "first", "never"):
            return bool(scheme == "always")
    raise TakebackError("tokenizer.json: its way to treat spaces is not known, so llama.cpp's may be another")
