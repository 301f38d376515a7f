"""The loop: what the model writes, and what of it stands."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from assistant.engine.cancelled import Cancelled
from assistant.engine.events import Done, Event, Prefill, Reason, Start
from assistant.engine.rewind import Reply
from convert.errors import TakebackError

LEAST_TEMPERATURE = 0.7
"""From the second reset on. Its state is that after the first, so greedy decoding would repeat itself."""


class Model(Protocol):
    """What the loop needs of a model and its memory. Token ids everywhere."""

    name: str

    @property
    def room(self) -> int:
        """How many more tokens fit into the memory."""

    @property
    def length(self) -> int:
        """How many tokens the memory holds."""

    @property
    def cancelled(self) -> bool:
        """Whether the user asked to stop."""

    def hold(self, ids: Sequence[int]) -> int:
        """Keep what the memory holds of these ids' beginning, at most all but one; returns how many.

        Of none it keeps nothing, not even the bytes.
        """

    def read(self, ids: Sequence[int]) -> Iterator[int]:
        """Read tokens in chunks; yields how many are done. May raise Cancelled."""

    def step(self, token: int) -> None:
        """Read one token. May raise Cancelled."""

    def mark(self) -> None:
        """This is a place that `rewind` and `scrub` may be asked to go back to."""

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""

    def scrub(self, length: int) -> None:
        """The same, and wipe the memory of all else."""

    def resume(self) -> None:
        """Forget that the user asked to stop."""

    def reset_margin(self, token: int) -> float:
        """The token's raw logit less the largest other one, after the last token read; masks the token."""

    def sample(self) -> int:
        """The next token, by the user's options."""

    def accept(self, token: int) -> None:
        """Count a prefilled token among the sampled ones."""

    def restart(self, resets: int, *, least_temperature: float) -> None:
        """Sample as at the reply's start, with the random stream of this reset."""

    def is_end(self, token: int) -> bool:
        """Whether the token ends the reply."""

    def piece(self, token: int) -> bytes:
        """The bytes that the token stands for."""


@dataclass(frozen=True)
class ResetRule:
    """When the model takes back, and what it then sees. `token` is None for an ordinary model."""

    token: int | None = None
    after: Literal["rewind", "keep", "off"] = "off"
    bias: float = 0.0

    def fires(self, model: Model) -> bool:
        """Whether the model takes back now. In any case its reset token will not be sampled."""
        if self.token is None:
            return False
        margin = model.reset_margin(self.token)
        return self.after != "off" and margin + self.bias >= 0


class _Clock:
    """The times that `Done` reports."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.first: float | None = None
        self.tokens = 0

    def token(self) -> None:
        """A token was chosen."""
        self.tokens += 1
        if self.first is None:
            self.first = time.perf_counter()

    def ttft_ms(self) -> float | None:
        """Milliseconds to the first token."""
        return None if self.first is None else (self.first - self.started) * 1e3

    def tokens_per_s(self) -> float | None:
        """The speed after the first token."""
        if self.first is None or self.tokens < 2:
            return None
        return (self.tokens - 1) / max(time.perf_counter() - self.first, 1e-9)


def generate(
    model: Model, prompt: Sequence[int], prefill: Sequence[int], rule: ResetRule, reply: Reply
) -> Iterator[Event]:
    """Write one reply to `prompt` (ids up to the start of the reply), and yield what happens.

    After the last event, or when the iterator is closed, the memory holds the prompt and the final reply, and
    nothing of a draft or of a tail that was never shown. Raises TakebackError if the model fails or the
    prompt does not fit.
    """
    return _Turn(model, prompt, prefill, rule, reply).events()


@dataclass
class _Turn:
    """The state of one call of `generate`."""

    model: Model
    prompt: Sequence[int]
    prefill: Sequence[int]
    rule: ResetRule
    reply: Reply
    clock: _Clock = field(default_factory=_Clock)

    def events(self) -> Iterator[Event]:
        model, reply = self.model, self.reply
        cached = model.hold(self.prompt)
        total = len(self.prompt) + len(self.prefill)
        if total - cached >= model.room:
            raise TakebackError(
                f"the conversation has {total:,} tokens, and the context {model.length + model.room:,}; "
                "shorten it or raise --ctx"
            )
        yield Start(model.name, total, cached, self.rule.token is not None and self.rule.after != "off")
        try:
            reason = yield from self._write(cached)
            speed = self.clock.tokens_per_s()
            yield from reply.finish(reason)
            yield Done(
                reply.ended or reason,
                reply.text,
                len(reply.ids),
                reply.discarded_tokens,
                reply.resets,
                self.clock.ttft_ms(),
                speed,
                reply.ids,
            )
        finally:
            reply.abandon()  # does nothing unless the iterator was closed early, or the model failed
            self._settle()

    def _write(self, cached: int) -> Generator[Event, None, Reason]:
        """Read the prompt and write until the reply ends; returns why."""
        model, reply = self.model, self.reply
        try:
            yield from self._read(cached)
            while not model.cancelled:
                if self.rule.fires(model):
                    yield from self._take_back()
                else:
                    token = model.sample()
                    self.clock.token()
                    if model.is_end(token):
                        return "stop"
                    yield from reply.add(token, model.piece(token))
                    self._go_on(token)
                if reply.ended:
                    return reply.ended
        except Cancelled:
            pass
        return "cancelled"

    def _read(self, cached: int) -> Iterator[Event]:
        """Read the prompt, and then the prefilled beginning as the first part of the draft."""
        model = self.model
        for done in model.read(self.prompt[cached:]):
            yield Prefill(done, len(self.prompt) - cached)
        model.mark()
        if self.prefill:
            yield from self.reply.prefill(self.prefill, [model.piece(token) for token in self.prefill])
            for token in self.prefill:
                model.accept(token)
            for _ in model.read(self.prefill):
                pass

    def _go_on(self, token: int) -> None:
        """Let the model read what it has just said, unless the reply is over."""
        if self.reply.ended or self.model.cancelled:
            return
        if self.model.room < 1:
            self.reply.ended = "context_full"
        else:
            self.model.step(token)

    def _take_back(self) -> Iterator[Event]:
        """Take the draft back, and let the model see its reset token."""
        model, reply = self.model, self.reply
        begun = time.perf_counter()
        event = reply.reset()
        try:
            if not reply.ended and self.rule.token is not None:
                if self.rule.after == "rewind":
                    model.rewind(len(self.prompt))
                model.restart(reply.resets, least_temperature=LEAST_TEMPERATURE if reply.resets > 1 else 0)
                self._go_on(self.rule.token)
        finally:
            # Also where the step was cut off: the reader must forget the draft in any case.
            yield replace(event, rewind_ms=(time.perf_counter() - begun) * 1e3)

    def _settle(self) -> None:
        """Let the memory hold the prompt and the final reply, as if no draft had ever been in it."""
        model, reply = self.model, self.reply
        if not reply.resets and model.length <= len(self.prompt) + len(reply.ids):
            return
        model.resume()
        try:
            model.scrub(min(len(self.prompt), model.length))
        except (Cancelled, TakebackError):
            model.hold(())  # nothing at all is also nothing of a draft; the next turn reads it all anew
            return
        with suppress(Cancelled, TakebackError):  # the next turn will read the rest
            for _ in model.read([*self.prompt[model.length :], *reply.ids]):
                pass
