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
from assistant.engine.model_file import ModelFile
from assistant.engine.strand import Strand
from assistant.signals import signals_put_off
from convert.errors import TakebackError
from convert.progress import Progress

Logits = npt.NDArray[np.float32]

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
                heed_signals()
                if progress:
                    progress("loading the model", round(part * 1000), 1000)
            except BaseException as error:  # it cannot pass through llama.cpp: stop there, and raise it here
                stopped.append(error)
            return not stopped

        self.file = ModelFile(path)
        callback = c.llama_progress_callback(loaded)
        params.progress_callback = callback
        with signals_put_off() as heed_signals:
            handle = c.llama_model_load_from_file(os.fsencode(path), params)
            self.free = weakref.finalize(self, c.llama_model_free, handle)
        if stopped:
            raise stopped[0]
        if not handle:
            raise TakebackError(f"{path}: llama.cpp cannot load it{last_error()}")
        self.handle: Any = handle
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


class Context(Strand):
    """A context with one sequence of its own; or, if `sequences` is more than one, theirs to share.

    Not thread-safe but for `cancel`.
    """

    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int,
        threads: int,
        chunk: int = 256,
        swa_full: bool = False,
        sequences: int = 1,
    ) -> None:
        """`n_ctx` is each sequence's, in tokens. `chunk` is the most tokens that a decode takes, of all.

        `swa_full` keeps all positions of a sliding window: more memory, and any place to go back to.
        """
        _log.clear()
        params = c.llama_context_default_params()
        params.n_ctx = n_ctx * sequences
        params.n_batch = params.n_ubatch = chunk
        params.n_seq_max = sequences
        params.kv_unified = False  # each sequence has cells of its own: what the others do moves none of them
        params.n_threads = params.n_threads_batch = threads
        self.swa_full = params.swa_full = swa_full
        params.no_perf = True
        with signals_put_off():
            handle = c.llama_init_from_model(model.handle, params)
            self._finalizer = weakref.finalize(self, c.llama_free, handle)
        if not handle:
            several = f"{sequences} times " if sequences > 1 else ""
            raise TakebackError(
                f"not enough memory for a context of {several}{n_ctx:,} tokens{last_error()}; lower --ctx"
            )
        super().__init__(model, handle, 0)
        self.chunk = chunk
        self.threads = threads
        self._logits: tuple[int, Logits] = (0, np.empty(0, np.float32))
        # The abort callback is C's strlen on this byte: "" lets llama.cpp go on, "\1" stops it after the
        # current node of its graph. So any thread can stop a decode, and none waits for Python's lock.
        self._stop = ctypes.create_string_buffer(2)
        self._strlen = ctypes.cast(_c_library().strlen, c.ggml_abort_callback)
        c.llama_set_abort_callback(handle, self._strlen, ctypes.cast(self._stop, ctypes.c_void_p))

    def free(self) -> None:
        """Free it."""
        self._finalizer()

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

    def set_threads(self, threads: int, several: int | None = None) -> None:
        """Use this many threads for single tokens, and as many as `several` for more than one at a time.

        Chunks of a prompt should have all, as without `several`: they never lose by it.
        """
        c.llama_set_n_threads(self.handle, threads, several or self.threads)

    def decode(self, ids: Sequence[int], *, every: bool = False) -> None:
        """Read at most `chunk` tokens after those in the memory. See `Strand.decode`."""
        count = len(ids)
        if not 0 < count <= self.chunk:
            raise ValueError(f"{count} tokens for a chunk of {self.chunk}")
        self.check(ids)
        tokens = (c.llama_token * count)(*ids)  # the batch points into it: it must live until decode returns
        batch = c.llama_batch_get_one(tokens, count)
        flags = (ctypes.c_int8 * count)(*[1] * count) if every else None  # must live as long
        if flags is not None:
            batch.logits = flags
        self.decode_batch(batch)

    def check(self, ids: Sequence[int]) -> None:
        """Raise ValueError for ids that llama.cpp would end the process at."""
        if min(ids) < 0 or max(ids) >= self.model.n_vocab:
            raise ValueError("a token id is outside the vocabulary")

    def decode_batch(self, batch: c.llama_batch) -> None:
        """Read a batch of llama.cpp's, which must be in order. Raises as `decode` does."""
        self.model.file.check()
        code = c.llama_decode(self.handle, batch)
        self.model.file.check()  # what was lost meanwhile was read as zeros
        if code == _ABORTED:
            raise Cancelled
        if code == _NO_SLOT:
            raise TakebackError("the context is full; shorten the conversation or raise --ctx")
        if code != 0:
            raise TakebackError(f"llama.cpp failed to decode (code {code}){last_error()}")

    def logits(self, index: int = -1) -> Logits:
        """The logits of one token of the last decode, [n_vocab]. See `Strand.logits`."""
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

    def rest(self) -> None:
        """Nothing: nobody waits for this context."""

    def clear(self) -> None:
        """Forget all tokens of all sequences, and overwrite the memory's bytes with zeros."""
        c.llama_memory_clear(self.memory, True)


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
