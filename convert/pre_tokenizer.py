"""Which of llama.cpp's pre-tokenizers a tokenizer.json means, recognised by its structure.

A wrong one passes every smoke test and quietly costs quality, so nothing is guessed: what is not known here
is refused. Each structure below was compared with llama.cpp's `unicode_regex_split` expressions.
"""

from collections.abc import Mapping
from typing import Any

from convert.errors import TakebackError

_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_BYTES = ("ByteLevel", True)
_ONLY_BYTES = ("ByteLevel", False)
_KNOWN: Mapping[tuple[Any, ...], str] = {
    (_BYTES,): "gpt-2",
    (("Digits", True), _BYTES): "smollm",
    (("Split", _LETTERS + r"\p{N}{1,3}" + _REST), _ONLY_BYTES): "llama-bpe",
    (("Split", _LETTERS + r"\p{N}" + _REST), _ONLY_BYTES): "qwen2",
}
_IGNORES_MERGES = {"llama-bpe"}
"""The ones with which llama.cpp takes a word that is a token as that token, without merging."""
_NORMALIZERS = {"qwen2": ("NFC",)}
"""Normalizers that a pre-tokenizer may come with. llama.cpp applies none; text is mostly NFC already."""


def recognise(tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name of a tokenizer.json's pre-tokenizer. TakebackError where it is not known."""
    steps = tuple(_step(step) for step in _sequence(tokenizer.get("pre_tokenizer")))
    name = _KNOWN.get(steps)
    if name is None:
        raise TakebackError(
            f"tokenizer.json: its pre-tokenizer is not known; known are {', '.join(sorted(_KNOWN.values()))}"
        )
    if bool(tokenizer["model"].get("ignore_merges")) != (name in _IGNORES_MERGES):
        raise TakebackError(f"tokenizer.json: ignore_merges is not what llama.cpp's {name} does")
    normalizers = tuple(step.get("type") for step in _sequence(tokenizer.get("normalizer"), "normalizers"))
    if normalizers not in ((), _NORMALIZERS.get(name)):
        raise TakebackError(f"tokenizer.json: its normalizer is not what llama.cpp's {name} does")
    return name


def _sequence(given: object, inner: str = "pretokenizers") -> list[dict[str, Any]]:
    """The steps of a part of tokenizer.json, which may be nothing, one step or a sequence."""
    if given is None:
        return []
    if not isinstance(given, dict):
        raise TakebackError("tokenizer.json: the normalizer or pre-tokenizer is no object")
    steps = given.get(inner, []) if given.get("type") == "Sequence" else [given]
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise TakebackError("tokenizer.json: the normalizer or pre-tokenizer is no list of objects")
    return steps


def _step(step: Mapping[str, Any]) -> tuple[Any, ...]:
    """One step with all that changes what it does, as a key; `trim_offsets` changes no token."""
    kind = step.get("type")
    if kind == "ByteLevel" and step.get("add_prefix_space") is False:
        return (kind, bool(step.get("use_regex", True)))
    if kind == "Digits":
        return (kind, bool(step.get("individual_digits")))
    pattern = step.get("pattern")
    if (
        kind == "Split"
        and step.get("behavior") == "Isolated"
        and not step.get("invert")
        and isinstance(pattern, dict)
    ):
        return (kind, str(pattern.get("Regex")))
    return (str(kind), "unknown")
