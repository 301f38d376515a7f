"""Which of a chat's messages the model sees: as many of the last ones as fit its context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assistant.conversation.records import Entry
from assistant.engine.message import Message
from convert.errors import TakebackError

RESERVED_FOR_REPLY = 1024
"""Tokens kept free for the reply, or a quarter of a small context."""


@dataclass(frozen=True)
class Window:
    """What the model sees of a chat."""

    messages: list[Message]
    left_out: int
    """How many of the chat's oldest messages the model does not see."""
    tokens: int
    """Of those that it sees."""


def as_messages(entries: Sequence[Entry], system: str | None = None) -> list[Message]:
    """A stored chat as a conversation whose roles take turns, which many chat templates insist on."""
    messages = [Message("system", system)] if system else []
    for turn in turns(entries):
        if len(turn) == 1:
            messages.append(Message(turn[0].role, turn[0].text, turn[0].ids, turn[0].vocab_sha256))
        else:
            messages.append(Message(turn[0].role, "\n\n".join(entry.text for entry in turn)))
    return messages


def turns(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The messages of one role in a row, which are one to the model. Replies without text are passed over."""
    rows: list[list[Entry]] = []
    for entry in entries:
        if entry.role == "assistant" and not entry.text:
            continue
        if rows and rows[-1][0].role == entry.role:
            rows[-1].append(entry)
        else:
            rows.append([entry])
    return rows


def fit(
    messages: Sequence[Message],
    count: Callable[[Sequence[Message]], int],
    context_length: int,
    left_out_before: int = 0,
) -> Window:
    """Leave out the oldest messages until the rest fits, with room for a reply.

    A system message at the beginning always stays, and what follows it begins with the user. `count` gives
    the tokens of a conversation as the model would be given it. What was left out for the turn before stays
    out; where more must go, it goes down to three quarters of the room, so that the beginning stays the same
    for some turns, and what the model has read of it need not be read again.

    Raises:
        TakebackError: the last message alone does not fit.
    """
    room = context_length - min(RESERVED_FOR_REPLY, context_length // 4)
    system, rest = _split(messages)
    starts = [number for number, message in enumerate(rest) if message.role == "user"]
    if not starts:
        raise TakebackError("there is no message of the user to reply to; write one first")
    first = next((start for start in starts if start >= left_out_before), starts[-1])
    if (size := count([*system, *rest[first:]])) <= room:
        return Window([*system, *rest[first:]], first, size)
    first = _first_that_fits(starts, room * 3 // 4, lambda start: count([*system, *rest[start:]]))
    size = count([*system, *rest[first:]])
    if size > room:
        raise TakebackError(
            f"the message is too long: {size:,} tokens, where the model has room for {room:,}; shorten it"
        )
    return Window([*system, *rest[first:]], first, size)


def _split(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    head = 1 if messages and messages[0].role == "system" else 0
    return list(messages[:head]), list(messages[head:])


def _first_that_fits(starts: list[int], room: int, size_from: Callable[[int], int]) -> int:
    """The earliest start whose rest fits, found by halving; the last start where none does."""
    low, high = 0, len(starts) - 1
    while low < high:
        middle = (low + high) // 2
        if size_from(starts[middle]) <= room:
            high = middle
        else:
            low = middle + 1
    return starts[low]
