"""Owned handles on llama.cpp's model and context. Errors are exceptions; nothing here may abort the process.

llama.cpp ends the process where a program breaks its rules, so every argument is checked before a call. The
bindings are llama-cpp-python's lowest layer, `llama_cpp.llama_cpp`, which is llama.h in ctypes.
"""

import ctypes
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as c

from assistant.engine.cancelled import Cancelled
from convert.errors import TakebackError
from convert.progress import Progress

Logits = npt.NDArray[np.float32]

_PARTIAL_STATE = 1  # LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY: what cannot be truncated, without the plain KV cache
_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR; a warning says nothing of why a call failed
_ABORTED, _NO_SLOT = 2, 1

_log: deque[str] = deque(maxlen=4)


@c.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
def _remember(level: int, text: bytes, _data: object) -> None:
    """Keep the last errors for messages; llama.cpp would write them to the terminal."""
    if level == _ERROR_LEVEL:
        _log.append(text.decode("utf-8", "replace").strip())


# The module keeps `_remember`, and so the callback that llama.cpp holds stays alive.
c.llama_log_set(_remember, ctypes.c_void_p(0))
_backend = threading.Lock()


def last_error() -> str:
    """What llama.cpp last said of a failure, in brackets after a space; or nothing."""
    return f" ({_log[-1]})" if _log else ""


class Model:
    """A loaded GGUF file.

    Raises TakebackError if llama.cpp cannot load it. `progress` is called in the loading thread.
    """

    def __init__(self, path: Path, *, gpu_layers: int = 0, progress: Progress | None = None) -> None:
        _log.clear()
        with _backend:
            c.llama_backend_init()
        params = c.llama_model_default_params()
        params.n_gpu_layers = gpu_layers

        stopped: list[BaseException] = []

        def loaded(part: float, _data: object) -> bool:
            try:
                if progress:
                    progress("loading the model", round(part * 1000), 1000)
            except BaseException as error:  # it cannot pass through llama.cpp: stop there, and raise it here
                stopped.append(error)
            return not stopped

        callback = c.llama_progress_callback(loaded)
        params.progress_callback = callback
        handle = c.llama_model_load_from_file(os.fsencode(path), params)
        if stopped:
            raise stopped[0]
        if not handle:
            raise TakebackError(f"{path}: llama.cpp cannot load it{last_error()}")
        self.handle: Any = handle
        self.free = weakref.finalize(self, c.llama_model_free, handle)
        self.vocab: Any = c.llama_model_get_vocab(handle)
        self.n_vocab: int = c.llama_vocab_n_tokens(self.vocab)
        self.trained_context: int = c.llama_model_n_ctx_train(handle)
        self.window: int = c.llama_model_n_swa(handle)
        """The sliding window of attention in tokens; 0 where there is none."""
        self.suppressed = _suppressed(self.vocab)
        """Tokens that the file says are never to be sampled."""
        self.recurrent = bool(c.llama_model_is_recurrent(handle) or c.llama_model_is_hybrid(handle))
        if c.llama_model_has_encoder(handle) or not c.llama_model_has_decoder(handle):
            self.free()
            raise TakebackError(f"{path}: not a model that writes text; choose a chat model")

    @property
    def template(self) -> str | None:
        """The chat template in the file, untrusted; None where it has none."""
        source = c.llama_model_chat_template(self.handle, None)
        return source.decode("utf-8", "replace") if source else None


class Context:
    """One sequence's memory and logits. Not thread-safe but for `cancel`.

    Positions are counted from 0 without holes: the memory always holds positions 0 to n-1.
    """

    def __init__(
        self, model: Model, *, n_ctx: int, threads: int, chunk: int = 256, swa_full: bool = False
    ) -> None:
        """`swa_full` keeps all positions of a sliding window: more memory, and any place to go back to."""
        _log.clear()
        self.model = model  # also keeps it alive for as long as the context
        self.chunk = chunk
        """The most tokens that one `decode` takes."""
        params = c.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = chunk
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads
        self.swa_full = params.swa_full = swa_full
        params.no_perf = True
        handle = c.llama_init_from_model(model.handle, params)
        if not handle:
            raise TakebackError(
                f"not enough memory for a context of {n_ctx:,} tokens{last_error()}; lower --ctx"
            )
        self.handle: Any = handle
        self.free = weakref.finalize(self, c.llama_free, handle)
        self.memory: Any = c.llama_get_memory(handle)
        self.length: int = c.llama_n_ctx_seq(handle)
        self.threads = threads
        self._logits: tuple[int, Logits] = (0, np.empty(0, np.float32))
        # The abort callback is C's strlen on this byte: "" lets llama.cpp go on, "\1" stops it after the
        # current node of its graph. So any thread can stop a decode, and none waits for Python's lock.
        self._stop = ctypes.create_string_buffer(2)
        self._strlen = ctypes.cast(_c_library().strlen, c.ggml_abort_callback)
        c.llama_set_abort_callback(handle, self._strlen, ctypes.cast(self._stop, ctypes.c_void_p))

    def cancel(self) -> None:
        """Stop the decode that runs, or else the next one. From any thread."""
        self._stop[0] = b"\x01"

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called since the last `uncancel`."""
        return self._stop[0] != b"\x00"

    def uncancel(self) -> None:
        """Let decodes run again."""
        self._stop[0] = b"\x00"

    def set_threads(self, threads: int) -> None:
        """Use this many threads for single tokens. Chunks of a prompt keep all: they never lose by it."""
        c.llama_set_n_threads(self.handle, threads, self.threads)

    def decode(self, ids: Sequence[int], *, every: bool = False) -> None:
        """Read at most `chunk` tokens after those in the memory.

        The logits of the last one, or of `every` one, are there afterwards. Raises Cancelled, after which the
        memory may hold a part of them, and TakebackError if llama.cpp fails.
        """
        count = len(ids)
        if not 0 < count <= self.chunk:
            raise ValueError(f"{count} tokens for a chunk of {self.chunk}")
        if min(ids) < 0 or max(ids) >= self.model.n_vocab:
            raise ValueError("a token id is outside the vocabulary")
        tokens = (c.llama_token * count)(*ids)  # the batch points into it: it must live until decode returns
        batch = c.llama_batch_get_one(tokens, count)
        flags = (ctypes.c_int8 * count)(*[1] * count) if every else None  # must live as long
        if flags is not None:
            batch.logits = flags
        code = c.llama_decode(self.handle, batch)
        if code == _ABORTED:
            raise Cancelled
        if code == _NO_SLOT:
            raise TakebackError("the context is full; shorten the conversation or raise --ctx")
        if code != 0:
            raise TakebackError(f"llama.cpp failed to decode (code {code}){last_error()}")

    def logits(self, index: int = -1) -> Logits:
        """The logits of one token of the last decode, [n_vocab], to read and to write.

        A view into llama.cpp's memory: the next decode overwrites it.
        """
        pointer = c.llama_get_logits_ith(self.handle, index)
        if not pointer:
            raise ValueError("there are no logits: nothing was decoded")
        address = ctypes.addressof(pointer.contents)
        if address != self._logits[0]:
            self._logits = (address, np.ctypeslib.as_array(pointer, shape=(self.model.n_vocab,)))
        return self._logits[1]

    def all_logits(self, count: int) -> Logits:
        """The logits of a decode of `count` tokens with `every`, [count, n_vocab]; a view as well."""
        pointer = c.llama_get_logits(self.handle)
        return np.ctypeslib.as_array(pointer, shape=(count, self.model.n_vocab))

    @property
    def end(self) -> int:
        """How many positions the memory holds."""
        return int(c.llama_memory_seq_pos_max(self.memory, 0)) + 1

    def truncate(self, length: int) -> bool:
        """Forget all but the first `length` tokens; False if this memory cannot, and then it is unchanged.

        A sliding window says yes even where the tokens before the cut are gone, so that is asked first. The
        bytes stay in the memory until they are overwritten or `clear` is called.
        """
        if length <= 0:
            self.clear()
            return True
        if self.model.window:
            first = int(c.llama_memory_seq_pos_min(self.memory, 0))
            if first > max(0, length - self.model.window):
                return False
        return bool(c.llama_memory_seq_rm(self.memory, 0, length, -1))

    def clear(self) -> None:
        """Forget all tokens, and overwrite the memory's bytes with zeros."""
        c.llama_memory_clear(self.memory, True)

    def save(self, *, partial: bool = False) -> bytearray:
        """What the memory holds now, or only the part of it that cannot be truncated. It has no logits."""
        flags = _PARTIAL_STATE if partial else 0
        size = c.llama_state_seq_get_size_ext(self.handle, 0, flags)
        state = bytearray(size)
        buffer = (ctypes.c_uint8 * size).from_buffer(state)
        if c.llama_state_seq_get_data_ext(self.handle, buffer, size, 0, flags) != size:
            raise TakebackError("llama.cpp cannot save the context")
        return state

    def restore(self, state: bytearray, length: int) -> bool:
        """Hold the first `length` tokens again, by what `save` gave of the partial state there; False if refused.

        The part that can be truncated must still hold them.
        """
        return self.load(state, partial=True) and bool(
            c.llama_memory_seq_rm(self.memory, 0, length, -1)  # what was put back knows nothing after it
        )

    def load(self, state: bytearray, *, partial: bool = False) -> bool:
        """Put back what `save` gave, of this very context; False if llama.cpp refuses."""
        flags = _PARTIAL_STATE if partial else 0
        buffer = (ctypes.c_uint8 * len(state)).from_buffer(state)
        read = c.llama_state_seq_set_data_ext(self.handle, buffer, len(state), 0, flags)
        return bool(read == len(state))


class Owned:
    """A sampler that no chain owns, freed with this object or before."""

    def __init__(self, handle: Any) -> None:  # noqa: ANN401 (a handle)
        self.handle = handle
        self.free = weakref.finalize(self, c.llama_sampler_free, handle)


def _suppressed(vocab: Any) -> tuple[int, ...]:  # noqa: ANN401 (a handle)
    """The vocabulary's `tokenizer.ggml.suppress_tokens`; llama.h has a function for it, the bindings not yet."""
    get = c._lib.llama_vocab_get_suppress_tokens
    get.argtypes, get.restype = (
        [c.llama_vocab_p_ctypes, ctypes.POINTER(ctypes.c_int32)],
        ctypes.POINTER(c.llama_token),
    )
    count = ctypes.c_int32()
    tokens = get(vocab, ctypes.byref(count))
    return tuple(tokens[: count.value]) if tokens else ()


def _c_library() -> ctypes.CDLL:
    """The C library that has strlen."""
    return ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
