"""The baseline "off, and a refusal at the first token only": a model that may turn away, but not take back.

The reset token counts at one place, the very start of the reply, before any token; there it is what a refusal
token is: the model goes on after it, to say what it says instead. Everywhere else it is off. A prefilled
beginning skips this place, as it skips every defence that lies in the first token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assistant.engine.events import Event
from assistant.engine.generate import Model, ResetRule, generate
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from assistant.engine.rewind import Reply
from assistant.engine.sampler import Sampler
from assistant.engine.session import Session
from assistant.engine.voice import Voice


@dataclass(frozen=True)
class FirstTokenRule(ResetRule):
    """A reset rule that holds only while the memory has `start` tokens, those of the prompt."""

    start: int = 0

    def fires(self, model: Model) -> bool:
        """Whether the model turns away now. In any case its reset token will not be sampled."""
        return super().fires(model) and model.length == self.start


def first_refusal(session: Session, messages: Sequence[Message], options: GenerateOptions) -> Iterator[Event]:
    """Write one reply by this rule; the events are those of `Session.generate`.

    Raises:
        TakebackError: the model failed, or the prompt does not fit.
    """
    session.generate(messages, options).close()  # ends the reply before, and begins none
    prompt = session.template.ids(messages)
    prefill = session.template.content(options.prefill, prompt) if options.prefill else []
    contract = session.info.contract
    rule = ResetRule()
    if contract:
        rule = FirstTokenRule(contract.token_id, "rewind", contract.reset_bias, start=len(prompt))
    sampler = Sampler(session.context, options, options.seed or 0)
    voice = Voice(session.info.name, session.memory, session.vocabulary, sampler, session.context.uncancel)
    reply = Reply(max_tokens=options.max_tokens, show_discarded=options.show_discarded)
    try:
        yield from generate(voice, prompt, prefill, rule, reply)
    finally:
        sampler.close()
