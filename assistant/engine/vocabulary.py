"""A model's vocabulary: text to token ids and back."""

import ctypes
import hashlib
from functools import cached_property

from llama_cpp import llama_cpp as c

from assistant.engine.libllama import Model
from convert.errors import TakebackError
from convert.gguf_header import GGUFHeader

_UNKNOWN, _CONTROL, _USER_DEFINED = 1 << 0, 1 << 3, 1 << 4  # LLAMA_TOKEN_ATTR_…


class Vocabulary:
    """The vocabulary of a loaded model. Ids are checked before llama.cpp sees them."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.handle = self._vocab = model.vocab
        self._pieces: dict[int, bytes] = {}
        self.size = model.n_vocab
        self.puts_space = b"".join(map(self.piece, self.tokenize("a"))) == b" a"
        """Whether `tokenize` puts a space before its text, each time: sentencepiece vocabularies may."""

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """The text's ids, without any that start or end a sequence.

        `special` reads the texts of control tokens as these tokens. Without it they are ordinary text.
        """
        data = text.encode("utf-8", "replace")
        room = len(data) + 16
        while True:
            ids = (c.llama_token * room)()
            count = c.llama_tokenize(self._vocab, data, len(data), ids, room, False, special)
            if count >= 0:
                return list(ids[:count])
            if -count <= room:
                raise TakebackError("the text is too long for llama.cpp's tokenizer; shorten it")
            room = -count

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for, perhaps a part of a character; none for control tokens."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._read_piece(self._checked(token), special=False)
        return found

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = c.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            room = -count

    def text(self, token: int) -> str:
        """The token's text, that of control tokens included."""
        return self._read_piece(self._checked(token), special=True).decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        """Whether the token ends a reply."""
        return bool(c.llama_vocab_is_eog(self._vocab, self._checked(token)))

    def is_control(self, token: int) -> bool:
        """Whether the token is a control token, which no text may become."""
        return bool(c.llama_vocab_is_control(self._vocab, self._checked(token)))

    def can_take_back(self, token: int) -> bool:
        """Whether llama.cpp holds the token for what a reset token must be: control, and no end of a reply."""
        return 0 <= token < self.size and self.is_control(token) and not self.is_end(token)

    @property
    def bos(self) -> int | None:
        """The token that a sequence starts with, or None."""
        token = int(c.llama_vocab_bos(self._vocab))
        return token if token >= 0 else None

    @property
    def eos(self) -> int | None:
        """The token that a sequence ends with, or None."""
        token = int(c.llama_vocab_eos(self._vocab))
        return token if token >= 0 else None

    @property
    def adds_bos(self) -> bool:
        """Whether a sequence must start with `bos`."""
        return bool(c.llama_vocab_get_add_bos(self._vocab)) and self.bos is not None

    @cached_property
    def unseen(self) -> frozenset[int]:
        """Tokens that no reader gets to see and that do not end a reply: control tokens and the unknown one."""
        return frozenset(
            token
            for token in range(self.size)
            if c.llama_vocab_get_attr(self._vocab, token) & (_UNKNOWN | _CONTROL) and not self.is_end(token)
        )

    @cached_property
    def markers(self) -> tuple[str, ...]:
        """Texts such as <|channel|> of tokens that are no control tokens, yet matched in ordinary text."""
        attributes = ((token, c.llama_vocab_get_attr(self._vocab, token)) for token in range(self.size))
        texts = (self.text(token) for token, attribute in attributes if attribute & _USER_DEFINED)
        return tuple(
            text for text in texts if len(text) > 4 and text.startswith("<|") and text.endswith("|>")
        )

    def _checked(self, token: int) -> int:
        if not 0 <= token < self.size:
            raise ValueError(f"the token id {token} is outside the vocabulary")
        return token


def vocabulary_sha256(header: GGUFHeader) -> str:
    """What tells vocabularies apart: ids mean the same text in two files where this agrees."""
    digest = hashlib.sha256()
    for key in ("tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"):
        value = header.metadata.get(key, ())
        words = map(str, value) if isinstance(value, tuple) else [str(value)]
        digest.update("\0".join(words).encode("utf-8", "surrogatepass") + b"\1")
    return digest.hexdigest()
