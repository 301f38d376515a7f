"""What the model has read, and going back in it, whatever kind of memory the model has."""

import time
from collections.abc import Iterator, Sequence

from assistant.engine.common_beginning import common_beginning
from assistant.engine.libllama import Logits
from assistant.engine.strand import Strand, wipe
from assistant.engine.threads import Pace

_MOST_MARKS, _MOST_BYTES = 8, 64 << 20
"""How many places to go back to are kept, and the bytes of their states together; the newest in any case."""


class Memory:
    """A context together with the ids it holds, in order, from position 0."""

    def __init__(self, context: Strand) -> None:
        self._context = context
        self._ids: list[int] = []
        self._marks: list[tuple[int, bytearray]] = []  # lengths, and there the state that cannot be truncated
        self._passing: tuple[int, bytearray] | None = None  # the same within a prompt, for when it is cut off
        self._pace = Pace(context.threads)

    @property
    def room(self) -> int:
        """How many more tokens fit."""
        return self._context.length - len(self._ids)

    @property
    def length(self) -> int:
        """How many tokens are held."""
        return len(self._ids)

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens that are held."""
        return tuple(self._ids)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._context.cancelled

    def hold(self, ids: Sequence[int]) -> int:
        """Forget what `ids` do not begin with; returns how many of them are held.

        At least the last is left to read, since the memory has no logits.
        """
        self._pace.begin()
        common = common_beginning(self._ids, ids[:-1])
        if common < len(self._ids) and not self._go_back(common):
            self.forget()
        return len(self._ids)

    def read(self, ids: Sequence[int]) -> Iterator[int]:
        """Decode tokens after those held, and yield after each chunk how many are done.

        Raises Cancelled, and TakebackError; then what was decoded until then is held.
        """
        for start in range(0, len(ids), self._context.chunk):
            part = list(ids[start : start + self._context.chunk])
            if self._ids and len(part) > 1 and self._context.model.recurrent:  # a chunk cut off undoes it all
                if self._passing:
                    wipe(self._passing[1])
                self._passing = (len(self._ids), self._context.save(partial=True))
            self._decode(part)
            yield start + len(part)

    def read_each(self, ids: Sequence[int], chunk: int = 64) -> Iterator[Logits]:
        """Decode tokens after those held, and yield their logits chunk by chunk, [tokens, n_vocab].

        What is yielded is a view that the next chunk overwrites. `chunk` bounds the memory it takes.
        """
        for start in range(0, len(ids), chunk):
            part = list(ids[start : start + chunk])
            self._decode(part, every=True)
            yield self._context.all_logits(len(part))

    def step(self, token: int) -> None:
        """Decode one token, and see to the number of threads by the time it took."""
        started = time.perf_counter()
        self._decode([token])
        threads = self._pace.observe(time.perf_counter() - started)
        if threads:
            self._context.set_threads(threads)

    def _decode(self, ids: list[int], *, every: bool = False) -> None:
        try:
            self._context.decode(ids, every=every)
        except Exception:
            # Cut off within the chunk: a plain memory holds what its end says, a recurrent one is undefined.
            if not self._context.model.recurrent:
                self._ids += ids
                self._drop(self._context.end)
            elif not self._to_mark(len(self._ids)):
                self.forget()
            raise
        self._ids += ids

    def mark(self) -> None:
        """Remember this place, a reply's start. Costs nothing where the memory can truncate."""
        model = self._context.model
        if not (model.window or model.recurrent):
            return
        length = len(self._ids)
        self._marks = [mark for mark in self._marks if mark[0] < length]
        self._marks.append((length, self._context.save(partial=True)))
        while len(self._marks) > 1 and (
            len(self._marks) > _MOST_MARKS or sum(len(state) for _, state in self._marks) > _MOST_BYTES
        ):
            wipe(self._marks.pop(0)[1])

    def rewind(self, length: int) -> None:
        """Hold only the first `length` tokens: by truncation, else from a mark, else by reading them again.

        There are no logits afterwards. The bytes of what was forgotten stay in the memory until `scrub`.
        """
        wanted = self._ids[:length]
        if not self._go_back(length):
            self.forget()
        for _ in self.read(wanted[len(self._ids) :]):
            pass

    def _go_back(self, length: int) -> bool:
        """Hold at most the first `length` tokens, as many of them as can be; False if that fails."""
        if self._context.truncate(length):
            self._drop(length)
            return True
        return self._to_mark(length)

    def _to_mark(self, length: int) -> bool:
        """Go back to the last mark at or before `length`; False if there is none that will do."""
        passing = [self._passing] if self._passing else []
        reached = [mark for mark in [*self._marks, *passing] if mark[0] <= length]
        if not reached:
            return False
        marked, state = max(reached, key=lambda mark: mark[0])
        if not self._context.restore(state, marked):
            return False
        self._drop(marked)
        return True

    def _drop(self, length: int) -> None:
        """Note that only the first `length` tokens are held. A mark is good only while all before it is."""
        del self._ids[length:]
        for marked, state in [*self._marks, *([self._passing] if self._passing else [])]:
            if marked > length:
                wipe(state)
        self._marks = [mark for mark in self._marks if mark[0] <= length]
        if self._passing and self._passing[0] > length:
            self._passing = None

    def scrub(self, length: int) -> None:
        """Hold only the first `length` tokens, and nothing of any other in the memory's bytes."""
        self.rewind(length)
        state = self._context.save()
        wanted, self._ids = self._ids, []
        self._context.clear()
        loaded = self._context.load(state)
        wipe(state)
        if loaded:
            self._ids = wanted
            return
        self._context.clear()
        for _ in self.read(wanted):
            pass

    @property
    def state_size(self) -> int:
        """The bytes of what `state` would give."""
        return self._context.state_size

    def state(self) -> bytearray:
        """What the memory holds now, for `take`."""
        return self._context.save()

    def take(self, ids: Sequence[int], state: bytearray) -> bool:
        """Hold these tokens, and nothing else, by what `state` gave for them; False, and then nothing, if refused."""
        self.forget()
        if len(ids) > self.room or not self._context.load(state) or self._context.end != len(ids):
            self.forget()
            return False
        self._ids += ids
        return True

    def forget(self) -> None:
        """Hold nothing, not even in the memory's bytes."""
        self._context.clear()
        self._drop(0)
