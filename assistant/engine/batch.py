"""Several sequences in one context, decoded together.

Each is used in a thread of its own, by the same memory, samplers and loop that a single chat has; only what
they decode meets here. A batch takes one token of each reply that is being written, and pieces of prompts. It
waits for the sequences that have logits, since a decode overwrites them: they are about to choose a token.
"""

import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress

from llama_cpp import llama_cpp as c

from assistant.engine.cancelled import Cancelled
from assistant.engine.libllama import Context, Logits
from assistant.engine.strand import Strand, wipe
from assistant.engine.threads import Pace
from convert.errors import TakebackError

_BESIDE = 64
"""Tokens of prompts in a batch at most, where replies are being written: their next tokens wait for it."""


class Slot(Strand):
    """One sequence of a batch. Use it in one thread; only `cancel` is for any.

    A cancel ends its part in a decode at once only if nobody else has a part in it, else after that decode.
    """

    def __init__(self, batch: "Batch", number: int) -> None:
        super().__init__(batch.context.model, batch.context.handle, number)
        self.chunk = batch.context.chunk
        self.lock = batch.lock
        self._batch = batch
        self._cancelled = False
        self._lost = False
        self._logits: Logits | None = None

    def cancel(self) -> None:
        """Stop what it decodes, or else the next. From any thread."""
        self._cancelled = True
        self._batch.heed(self)

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called since the last `uncancel`."""
        return self._cancelled

    def uncancel(self) -> None:
        """Let decodes run again."""
        self._cancelled = False

    def set_threads(self, threads: int) -> None:
        """Nothing: the batch sees to it, for all."""

    def decode(self, ids: Sequence[int], *, every: bool = False) -> None:
        """Read at most `chunk` tokens, in the next batches. See `Strand.decode`; `every` is not for slots."""
        if every or not 0 < len(ids) <= self.chunk:
            raise ValueError(f"{len(ids)} tokens for a chunk of {self.chunk}, of which each may have logits")
        self._batch.context.check(ids)
        self._logits = None
        if self._lost:
            self._lost = False
            raise TakebackError("not enough memory to keep several conversations; lower --parallel or --ctx")
        self._batch.read(self, ids)

    def receive(self, output: int, logits: Logits) -> None:
        """Take what a decode gave."""
        self.output, self._logits = output, logits

    def logits(self) -> Logits:
        """The logits of the last token. See `Strand.logits`."""
        if self._logits is None:
            raise ValueError("there are no logits: nothing was decoded")
        return self._logits

    def all_logits(self, count: int) -> Logits:
        """Not for slots."""
        raise ValueError("a slot has the logits of its last token only")

    def rest(self) -> None:
        """Let the others go on without this one."""
        self._logits = None
        self._batch.rest(self)

    def clear(self) -> None:
        """Forget this sequence's tokens, and overwrite the whole memory but for the other sequences' tokens.

        llama.cpp can only overwrite all of it. So the others' states are put aside meanwhile.
        """
        with self.lock:
            others = [slot for slot in self._batch.slots if slot is not self and slot.end]
            kept: list[tuple[Slot, bytearray]] = []
            with suppress(
                MemoryError, TakebackError
            ):  # no draft stays for another's sake: it will hear of it
                kept += ((slot, slot.save()) for slot in others)
            self._batch.context.clear()
            held = [slot for slot, state in kept if slot.load(state)]
            for slot in others:
                slot._lost = slot not in held
            for _, state in kept:
                wipe(state)

    def free(self) -> None:
        """Leave the batch, which ends with its last slot. May be called twice."""
        self._batch.leave(self)


class _Request:
    """Tokens that a slot wants to have read. `over` says that they are, or why not."""

    def __init__(self, slot: Slot, ids: Sequence[int]) -> None:
        self.slot = slot
        self.left = list(ids)
        self.failure: Exception | None = None
        self.over = False

    def end(self, failure: Exception | None = None) -> None:
        """All is read, or it failed."""
        self.failure = failure
        self.over = True


_Part = tuple[_Request, int]
"""A request, and how many of its tokens a batch reads."""


class Batch:
    """Owns a context, whose sequences are its `slots`, and the one thread that decodes.

    It is one thread, for OpenMP keeps threads of its own for each that calls it. When the last slot is freed,
    the context and its model are freed too.
    """

    def __init__(self, context: Context, count: int) -> None:
        self.context = context
        self.lock = threading.RLock()
        self.slots = tuple(Slot(self, number) for number in range(count))
        self._open = set(self.slots)
        self._rows = c.llama_batch_init(context.chunk, 0, 1)
        self._free_rows = weakref.finalize(self, c.llama_batch_free, self._rows)
        gate = threading.Lock()  # never asked for by one who waits for `lock` with it
        self._work, self._done = threading.Condition(gate), threading.Condition(gate)
        self._waiting: list[_Request] = []
        self._running: list[_Part] = []
        self._choosing: set[Slot] = set()  # they have logits
        self._paces: dict[int, Pace] = {}  # by the number of single tokens in a batch
        self._threads: dict[int, int] = {}
        self._singles = 0  # in the last batch that had nothing else
        self._threads_now = context.threads
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)
        self._thread.start()

    def read(self, slot: Slot, ids: Sequence[int]) -> None:
        """Decode a slot's tokens; waits until that is done. Raises Cancelled, and TakebackError if it fails."""
        request = _Request(slot, ids)
        with self._work:
            self._choosing.discard(slot)
            if slot.cancelled:
                request.end(Cancelled())
            else:
                self._waiting.append(request)
            self._work.notify()
            self._done.wait_for(lambda: request.over)
        if request.failure:
            raise request.failure

    def rest(self, slot: Slot) -> None:
        """Wait no more for a slot."""
        with self._work:
            self._choosing.discard(slot)
            self._work.notify()

    def heed(self, slot: Slot) -> None:
        """See that a slot was cancelled."""
        with self._work:
            running = [request for request, _ in self._running]
            for request in self._waiting:
                if request.slot is slot and request not in running:
                    request.end(Cancelled())
            self._waiting = [request for request in self._waiting if not request.over]
            if running and all(request.slot.cancelled for request in running):
                self.context.cancel()
            self._done.notify_all()

    def leave(self, slot: Slot) -> None:
        """A slot is used no more; with the last one all is freed."""
        with self._work:
            last = self._open == {slot}
            self._open.discard(slot)
            self._choosing.discard(slot)
            self._work.notify()
        if last:
            self._thread.join()
            self._free_rows()
            self.context.free()
            self.context.model.free()

    def _run(self) -> None:
        while parts := self._next():
            found: list[tuple[int, Logits]] = []
            failure: Exception | None = None
            try:
                with self.lock:
                    found = self._decode(parts)
            except Exception as error:  # whatever it is: those who wait for it must hear of it
                failure = error
            self._finish(parts, found, failure)

    def _next(self) -> list[_Part]:
        """What the next decode reads; waits for it. Nothing: all slots have left."""
        with self._work:
            self._work.wait_for(lambda: not self._open or (self._waiting and not self._choosing))
            singles = [request for request in self._waiting if len(request.left) == 1]
            self._running = [(request, 1) for request in singles]
            room = min(_BESIDE, self.context.chunk - len(singles)) if singles else self.context.chunk
            for request in self._waiting:
                if room and request not in singles:
                    count = min(room, len(request.left))
                    self._running.append((request, count))
                    room -= count
            # llama.cpp takes them together only in this order, and in any other they would round otherwise.
            self._running.sort(key=lambda part: part[0].slot.number)
            return self._running

    def _decode(self, parts: Sequence[_Part]) -> list[tuple[int, Logits]]:
        """Read a batch; returns for each part where its last token's logits are, and the logits."""
        rows, at, last = self._rows, 0, []
        for request, count in parts:
            for place, token in enumerate(request.left[:count], request.slot.end):
                rows.token[at], rows.pos[at], rows.logits[at] = token, place, 0
                rows.n_seq_id[at], rows.seq_id[at][0] = 1, request.slot.number
                at += 1
            rows.logits[at - 1] = 1
            last.append(at - 1)
        rows.n_tokens = at
        singles = len(parts) if at == len(parts) else 0
        self._set_threads(self._threads.get(singles, self.context.threads))
        started = time.perf_counter()
        self.context.decode_batch(rows)
        if singles:
            self._observe(singles, time.perf_counter() - started)
        # Asked for here, and not by the slots: the first call puts the rows into order.
        return [(index, self.context.logits(index)) for index in last]

    def _observe(self, singles: int, seconds: float) -> None:
        """Choose the threads for the next batch of so many single tokens by the time that this one took."""
        if singles not in self._paces:
            self._paces[singles] = Pace(self.context.threads)
        if singles != self._singles:
            self._singles = singles
            self._paces[singles].begin()
        self._threads[singles] = self._paces[singles].observe(seconds) or self._threads_now

    def _set_threads(self, threads: int) -> None:
        if threads != self._threads_now:
            self._threads_now = threads
            self.context.set_threads(threads, threads)

    def _finish(
        self, parts: Sequence[_Part], found: Sequence[tuple[int, Logits]], failure: Exception | None
    ) -> None:
        """Tell those who wait what came of a decode."""
        with self._work:
            for number, (request, count) in enumerate(parts):
                del request.left[:count]
                if failure:
                    request.end(type(failure)(*failure.args))  # each its own: it is raised in another thread
                elif not request.left:
                    request.slot.receive(*found[number])
                    self._choosing.add(request.slot)
                    request.end()
                elif request.slot.cancelled:
                    request.end(Cancelled())
            self._waiting = [request for request in self._waiting if not request.over]
            self._running = []
            self.context.uncancel()
            self._done.notify_all()
