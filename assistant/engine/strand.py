"""One sequence of tokens in a llama.cpp context: how far it reaches, going back in it, and saving it.

A context of its own holds one (`assistant.engine.libllama.Context`), a shared one several
(`assistant.engine.batch.Slot`). Memory, samplers and the generation loop do not see the difference.
"""

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from llama_cpp import llama_cpp as c

from convert.errors import TakebackError

if TYPE_CHECKING:
    from assistant.engine.libllama import Logits, Model

_PARTIAL_STATE = 1  # LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY: what cannot be truncated, without the plain KV cache


class Strand(ABC):
    """One sequence's memory and logits. Not thread-safe but for `cancel`.

    Positions are counted from 0 without holes: the memory always holds positions 0 to n-1.
    """

    def __init__(self, model: "Model", handle: Any, number: int) -> None:  # noqa: ANN401 (a handle)
        """`number` is llama.cpp's of this sequence."""
        self.model = model  # also keeps it alive for as long as the context
        self.handle = handle
        self.number = number
        self.memory: Any = c.llama_get_memory(handle)
        self.length: int = c.llama_n_ctx_seq(handle)
        """How many tokens it has room for."""
        self.chunk: int = c.llama_n_batch(handle)
        """The most tokens that one `decode` takes."""
        self.threads = 1
        """How many there are to choose from for single tokens."""
        self.output = -1
        """Where llama.cpp keeps this sequence's logits among those of its last decode."""
        self.lock: AbstractContextManager[object] = nullcontext()
        """To be held in every call of llama.cpp on the context, but for `decode`, which sees to it."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop the decode that runs, or else the next one. From any thread."""

    @property
    @abstractmethod
    def cancelled(self) -> bool:
        """Whether `cancel` was called since the last `uncancel`."""

    @abstractmethod
    def uncancel(self) -> None:
        """Let decodes run again."""

    @abstractmethod
    def set_threads(self, threads: int) -> None:
        """Use this many threads for single tokens, of at most `threads`."""

    @abstractmethod
    def decode(self, ids: Sequence[int], *, every: bool = False) -> None:
        """Read at most `chunk` tokens after those in the memory.

        The logits of the last one, or of `every` one, are there afterwards. Raises Cancelled, after which the
        memory may hold a part of them, and TakebackError if llama.cpp fails.
        """

    @abstractmethod
    def logits(self) -> "Logits":
        """The logits of the last token of the last decode, [n_vocab], to read and to write.

        A view into llama.cpp's memory: the next decode overwrites it.
        """

    @abstractmethod
    def all_logits(self, count: int) -> "Logits":
        """The logits of a decode of `count` tokens with `every`, [count, n_vocab]; a view as well."""

    @abstractmethod
    def rest(self) -> None:
        """Say that the logits are used no more, and that nothing is to be decoded for now."""

    @abstractmethod
    def clear(self) -> None:
        """Forget all tokens, and overwrite their bytes in the memory with zeros."""

    @abstractmethod
    def free(self) -> None:
        """Give back what it has of the context. May be called twice."""

    @property
    def end(self) -> int:
        """How many positions the memory holds."""
        with self.lock:
            return int(c.llama_memory_seq_pos_max(self.memory, self.number)) + 1

    def truncate(self, length: int) -> bool:
        """Forget all but the first `length` tokens; False if this memory cannot, and then it is unchanged.

        A sliding window says yes even where the tokens before the cut are gone, so that is asked first. The
        bytes stay in the memory until they are overwritten or `clear` is called.
        """
        if length <= 0:
            self.clear()
            return True
        with self.lock:
            if self.model.window:
                first = int(c.llama_memory_seq_pos_min(self.memory, self.number))
                if first > max(0, length - self.model.window):
                    return False
            return bool(c.llama_memory_seq_rm(self.memory, self.number, length, -1))

    @property
    def state_size(self) -> int:
        """The bytes of what `save` would give."""
        with self.lock:
            return int(c.llama_state_seq_get_size_ext(self.handle, self.number, 0))

    def save(self, *, partial: bool = False) -> bytearray:
        """What the memory holds now, or only the part of it that cannot be truncated. It has no logits."""
        flags = _PARTIAL_STATE if partial else 0
        with self.lock:
            size = c.llama_state_seq_get_size_ext(self.handle, self.number, flags)
            state = bytearray(size)
            buffer = (ctypes.c_uint8 * size).from_buffer(state)
            if c.llama_state_seq_get_data_ext(self.handle, buffer, size, self.number, flags) != size:
                raise TakebackError("llama.cpp cannot save the context")
            return state

    def restore(self, state: bytearray, length: int) -> bool:
        """Hold the first `length` tokens again, by what `save` gave of the partial state there; False if refused.

        The part that can be truncated must still hold them.
        """
        with self.lock:
            return self.load(state, partial=True) and bool(
                # What was put back knows nothing after it.
                c.llama_memory_seq_rm(self.memory, self.number, length, -1)
            )

    def load(self, state: bytearray, *, partial: bool = False) -> bool:
        """Put back what `save` gave, of this very context; False if llama.cpp refuses."""
        flags = _PARTIAL_STATE if partial else 0
        with self.lock:
            buffer = (ctypes.c_uint8 * len(state)).from_buffer(state)
            read = c.llama_state_seq_set_data_ext(self.handle, buffer, len(state), self.number, flags)
            return bool(read == len(state))


def wipe(state: bytearray) -> None:
    """Overwrite a state that is kept no longer, in its place: there may be no memory for a second one."""
    ctypes.memset((ctypes.c_char * len(state)).from_buffer(state), 0, len(state))
