"""When a session takes what it has read before from the disk, and when it keeps what it has read there."""

import time
from array import array
from collections.abc import Callable, Sequence

from assistant.engine.common_beginning import common_beginning
from assistant.engine.memory import Memory
from assistant.engine.prompt_cache import PromptCache
from assistant.engine.strand import wipe

LEAST = 256
"""Tokens that it must save reading: fewer are read in a second."""
_TAIL = 32


class ReadingAgain:
    """Between one session's memory and the disk.

    Only what is a prompt and its finished reply is kept: what the memory holds must be their beginning.
    """

    def __init__(self, cache: PromptCache, memory: Memory, *, whole: bool, least: int = LEAST) -> None:
        """`whole`: the memory cannot be cut anywhere, so a state is of use only to what begins with all of it."""
        self._cache, self._memory = cache, memory
        self._whole, self._least = whole, least
        self._said: Sequence[int] = ()
        self._begun = 0

    def begin(self, prompt: Sequence[int], *, switch: bool) -> None:
        """Before a prompt is read: hold what is known of it; `switch`: and keep what the memory loses by it."""
        held = self._memory.ids
        same = common_beginning(held, prompt)
        again = same == len(prompt)  # what is held behind it is a reply that is to be written anew
        if switch and not again and len(held) - same >= self._least and not _is_in(held[-_TAIL:], prompt):
            self.keep()
        self._said, self._begun = (), time.time_ns()
        known = prompt[:-1]  # the last token must be read in any case
        if len(known) < same + self._least:
            return
        path = self._cache.find(known, same + self._least, whole=self._whole)
        found = self._cache.read(path) if path else None
        if path and found:
            ids, state = found
            if not self._memory.take(ids, state):
                self._cache.drop(path)
            wipe(state)

    def end(self, said: Sequence[int]) -> None:
        """After a reply: `said` is its prompt and what stands of it."""
        self._said = said

    def keep(self, beginning: Callable[[], Sequence[int]] | None = None) -> None:
        """Keep what the memory holds, or only a beginning of it, which the memory then holds alone."""
        held = self._memory.ids
        if len(held) < self._least or tuple(self._said[: len(held)]) != held:
            return
        if beginning:
            first = tuple(beginning())
            if self._whole or len(first) < self._least or held[: len(first)] != first:
                return
            self._memory.rewind(len(first))
            held = first
        if self._cache.takes(self._memory.state_size) and not self._cache.covers(held):
            try:
                state = self._memory.state()
            except MemoryError:
                return  # then it will be read again
            self._cache.write(held, state, self._begun)
            wipe(state)


def _is_in(tail: Sequence[int], ids: Sequence[int]) -> bool:
    """Whether the ids go on with the same chat, of which only the oldest messages were left out."""
    return array("i", tail).tobytes() in array("i", ids).tobytes()
