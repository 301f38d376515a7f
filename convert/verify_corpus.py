"""The texts on which a tokenizer is compared with llama.cpp's, and where the two are known to differ."""

import json
import unicodedata
from pathlib import Path
from typing import Any

from convert.errors import TakebackError
from convert.gguf_header import GGUFHeader
from convert.untrusted import clean_line

CORPUS: tuple[str, ...] = (
    "The quick brown fox jumps over the lazy dog. It's 12:45; we've paid $1,234.56!",
    "  leading, trailing  and   inner spaces \n\n\n\tand\ttabs \r\n",
    "def f(x: int) -> dict[str, int]:\n    return {'a': x ** 2, \"b\": [i for i in range(10)]}\n",
    "Größe, naïve, Ελληνικά, русский, 日本語のテキスト, 한국어, العربية, हिन्दी, ไทย",
    "👩\u200d👩\u200d👧 🇨🇭 e\u0301 \u00a0\u2009\ufeff… — “quotes” ½ ² ９ ٣",
    "I'LL you'Re don't 's 't 0 00 000 0000 1234567890 a1b2c3 _x__y",
    "<html><!-- comment --></html> [[x]] <|im_end|> <|im_start|>user </s>",
)
"""Texts that pre-tokenizers disagree about."""


class SourceTokenizer:
    """A checkpoint's tokenizer.json, and the corpus as far as llama.cpp can be held to it.

    llama.cpp applies no Unicode normalization, so a tokenizer that does is asked for composed text. It knows
    no space that is put before the very first text alone, so SentencePiece's kind is compared behind the
    beginning of text, where a chat is; and none that is left out where the text begins with one.
    """

    def __init__(self, path: Path, header: GGUFHeader) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 (a library that is needed here only)

        try:
            self._tokenizer = Tokenizer.from_file(str(path))
            given: dict[str, Any] = json.loads(path.read_bytes())
        except Exception as error:
            raise TakebackError(f"{path}: {clean_line(str(error)[:120])}") from error
        self.note = ""
        self.corpus = CORPUS
        if "NFC" in _types(given.get("normalizer"), "normalizers"):
            self.note = " of composed characters"
            self.corpus = tuple(unicodedata.normalize("NFC", text) for text in CORPUS)
        if header.metadata.get("tokenizer.ggml.model") == "llama":
            begin = _begin(header)
            self.note += " behind the beginning of text"
            steps = given.get("pre_tokenizer") or {}
            if steps.get("prepend_scheme") == "always":
                self.corpus = tuple(text.lstrip(" ") for text in self.corpus)
            self.corpus = tuple(begin + text for text in self.corpus)

    def ids(self) -> list[list[int]]:
        """The ids of each text of the corpus, without what tokenizing puts around a text."""
        return [self._tokenizer.encode(text, add_special_tokens=False).ids for text in self.corpus]


def _begin(header: GGUFHeader) -> str:
    tokens, begin = (header.metadata.get(f"tokenizer.ggml.{key}") for key in ("tokens", "bos_token_id"))
    if not isinstance(tokens, tuple) or type(begin) is not int or not 0 <= begin < len(tokens):
        raise TakebackError("the file names no token that begins a text (tokenizer.ggml.bos_token_id)")
    return str(tokens[begin])


def _types(step: Any, inner: str) -> list[str]:  # noqa: ANN401 (of a JSON file)
    if not isinstance(step, dict):
        return []
    return [str(step.get("type")), *(kind for part in step.get(inner) or [] for kind in _types(part, inner))]
