"""What the model sees of a stored chat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assistant.conversation.history import GONE, History
from assistant.conversation.records import Entry
from assistant.conversation.window import as_messages, fit, turns
from assistant.engine.message import Message
from convert.errors import TakebackError


@dataclass(frozen=True)
class Sight:
    """The conversation that the model is given, and how it lies in the chat."""

    messages: list[Message]
    left_out: int
    """How many of the chat's oldest messages are not in it."""
    first: int | None
    """The id of the first stored message that is in it, where some are left out."""
    tokens: int


def see(
    history: History,
    chat: int,
    count: Callable[[Sequence[Message]], int],
    context_length: int,
    *,
    first_before: int | None = None,
    before: int | None = None,
    pending: str = "",
) -> Sight:
    """What the model sees of the branch that is shown, or of what comes before the message `before` there.

    `first_before` is the last sight's `first`: what was left out for it stays out. `pending` is what the user
    is writing: it counts as said.

    Raises:
        TakebackError: the chat is gone, or its last message alone does not fit.
    """
    stored = history.chat(chat)
    if stored is None:
        raise TakebackError(GONE)
    # What is still being written, in another program, may yet be taken back there.
    entries = [entry for entry in history.entries(chat, before=before) if entry.state != "writing"]
    if pending:
        entries.append(_unsaid(chat, pending))
    starts = [turn[0].id for turn in turns(entries)]
    before_that = starts.index(first_before) if first_before in starts else 0
    try:
        window = fit(as_messages(entries, stored.system), count, context_length, before_that)
    except TakebackError:
        # Messages in a row are one to the model, and those not answered before may be what is too long.
        window = fit(as_messages(entries[-1:], stored.system), count, context_length)
        return Sight(window.messages, len(entries) - 1, entries[-1].id, window.tokens)
    first = starts[window.left_out] if window.left_out else None
    return Sight(window.messages, window.left_out, first, window.tokens)


def _unsaid(chat: int, text: str) -> Entry:
    return Entry(0, chat, "user", text, "settled", "", 0, 0, 0.0, None, None)
