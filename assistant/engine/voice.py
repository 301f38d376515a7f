"""The model as the generation loop sees it: memory, vocabulary and sampler in one."""

from collections.abc import Callable

from assistant.engine.memory import Memory
from assistant.engine.sampler import Sampler, reset_margin
from assistant.engine.vocabulary import Vocabulary


class Voice:
    """The real `assistant.engine.generate.Model`, for one reply: its methods are those of its three parts."""

    def __init__(
        self, name: str, memory: Memory, vocabulary: Vocabulary, sampler: Sampler, resume: Callable[[], None]
    ) -> None:
        self.name = name
        self._memory = memory
        self._sampler = sampler
        self.resume = resume
        self.hold, self.read, self.step = memory.hold, memory.read, memory.step
        self.mark, self.rewind, self.scrub = memory.mark, memory.rewind, memory.scrub
        self.sample, self.accept, self.restart = sampler.sample, sampler.accept, sampler.restart
        self.is_end, self.piece = vocabulary.is_end, vocabulary.piece

    @property
    def room(self) -> int:
        """How many more tokens fit into the memory."""
        return self._memory.room

    @property
    def length(self) -> int:
        """How many tokens the memory holds."""
        return self._memory.length

    @property
    def cancelled(self) -> bool:
        """Whether the user asked to stop."""
        return self._memory.cancelled

    def reset_margin(self, token: int) -> float:
        """By how much the reset token leads, after the last token read; masks the token."""
        return reset_margin(self._sampler.logits(), token)
