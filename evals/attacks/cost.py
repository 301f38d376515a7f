"""What an attack costs whoever makes it."""

from __future__ import annotations

import time

from evals.answers import Answer


class Cost:
    """A running count, from when it is made.

    `forwards`: sequences that a model was given to read, and tokens that it was let write; `tokens`: all that
    it read or wrote. A pass with a gradient counts as one.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.forwards = 0
        self.tokens = 0

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started

    def read(self, sequences: int, tokens: int) -> None:
        """Count `sequences` of `tokens` each."""
        self.forwards += sequences
        self.tokens += sequences * tokens

    def reply(self, answer: Answer, prompt_tokens: int) -> None:
        """Count a reply with what was taken back of it, and the reading of its prompt as one sequence."""
        written = len(answer.ids) + sum(draft.tokens for draft in answer.drafts)
        self.forwards += 1 + written
        self.tokens += prompt_tokens + written
