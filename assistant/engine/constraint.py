"""Holds a reply to a grammar, beside the chain of samplers and not in it.

In the chain it would see the reset token, which no grammar lets through, and llama.cpp ends the process where a
grammar is made to accept what does not fit.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as c

from assistant.engine.libllama import Logits, Owned
from assistant.engine.vocabulary import Vocabulary
from convert.errors import TakebackError

_TOKEN = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data


class Candidates:
    """Tokens with logits, as llama.cpp's samplers take them. `array` is the struct to hand over."""

    def __init__(self, ids: npt.NDArray[np.int32], logits: Logits) -> None:
        self._data = np.zeros(len(ids), _TOKEN)
        self._data["id"], self._data["logit"] = ids, logits
        pointer = self._data.ctypes.data_as(ctypes.POINTER(c.llama_token_data))
        self.array = c.llama_token_data_array(pointer, len(ids), -1, False)

    @property
    def best(self) -> float:
        """The largest logit."""
        return float(self._data["logit"].max())

    @property
    def selected(self) -> int | None:
        """The id that a sampler has chosen, or None."""
        index = self.array.selected
        return int(self.array.data[index].id) if 0 <= index < self.array.size else None


class Constraint:
    """A grammar, and how far a reply has got in it.

    The text must have come through `assistant.engine.grammar`. Raises TakebackError if llama.cpp refuses it.
    """

    def __init__(self, vocabulary: Vocabulary, text: str) -> None:
        handle = c.llama_sampler_init_grammar(vocabulary.handle, text.encode("utf-8", "replace"), b"root")
        if not handle:
            raise TakebackError("llama.cpp cannot use the grammar")
        self._vocabulary = vocabulary
        self._start = Owned(handle)
        self._ids = np.arange(vocabulary.size, dtype=np.int32)
        # A grammar reads a control token as its text, which is not what a reader gets of it.
        self._unseen = np.array(sorted(vocabulary.unseen), np.int64)
        self._now = Owned(c.llama_sampler_clone(handle))

    def restart(self) -> None:
        """Go back to the reply's start."""
        self._now.free()
        self._now = Owned(c.llama_sampler_clone(self._start.handle))

    def close(self) -> None:
        """Free what llama.cpp holds. May be called twice."""
        self._now.free()
        self._start.free()

    def allows(self, token: int) -> bool:
        """Whether the token may come next. An end of the reply may once the grammar is complete."""
        if token in self._vocabulary.unseen:
            return False
        one = Candidates(self._ids[token : token + 1], np.zeros(1, np.float32))
        self._apply(one)
        return one.best == 0

    def choose(self, logits: Logits, chain: Any, undo: Callable[[], None]) -> int:  # noqa: ANN401 (a handle)
        """Let a chain of samplers choose the next token. Neither is told of it: see `accept`.

        To hold all tokens against a grammar takes as long as a step of a small model. So the chain chooses
        freely first, and only where that does not fit among those that do: then `undo` takes the first choice
        out of its state. Raises TakebackError if none fits.
        """
        free = Candidates(self._ids, logits)
        c.llama_sampler_apply(chain, ctypes.byref(free.array))
        if free.selected is not None and self.allows(free.selected):
            return free.selected
        bound = Candidates(self._ids, logits)
        bound._data["logit"][self._unseen] = -np.inf
        self._apply(bound)
        undo()
        if bound.best > -np.inf:
            c.llama_sampler_apply(chain, ctypes.byref(bound.array))
            if bound.selected is not None and self.allows(bound.selected):
                return bound.selected
        end = self._vocabulary.eos  # the file may forbid every token that could end the reply
        if end is not None and self.allows(end):
            return end
        raise TakebackError("the grammar asks for text that this model has no tokens for")

    def accept(self, token: int) -> None:
        """Go on in the grammar. Raises TakebackError if the token does not fit."""
        if not self.allows(token):  # llama.cpp would end the process
            raise TakebackError("the reply's given beginning does not fit the grammar")
        c.llama_sampler_accept(self._now.handle, token)

    def _apply(self, candidates: Candidates) -> None:
        c.llama_sampler_apply(self._now.handle, ctypes.byref(candidates.array))
