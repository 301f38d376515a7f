"""A suffix of a request as ids, and which ids may stand in it: only those that text can be typed for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assistant.engine.common_beginning import common_beginning
from assistant.engine.message import Message
from assistant.engine.session import Session
from convert.errors import TakebackError

LENGTH = 20
_FIRST = " !"


@dataclass(frozen=True)
class Slots:
    """A prompt's ids with room for a suffix: `head`, the suffix, `tail`. `first` is the one to start from."""

    request: str
    head: tuple[int, ...]
    first: tuple[int, ...]
    tail: tuple[int, ...]

    def ids(self, suffix: Sequence[int]) -> tuple[int, ...]:
        """The whole prompt's ids with this suffix."""
        return (*self.head, *suffix, *self.tail)


def open_slots(session: Session, request: str) -> Slots:
    """A request with room for a suffix of 20 exclamation marks' ids, in the engine's own reading of it.

    Raises TakebackError where this vocabulary melts the suffix into the request.
    """
    plain = prompt_ids(session, request)
    full = prompt_ids(session, request + _FIRST * LENGTH)
    extra = len(full) - len(plain)
    head = common_beginning(plain, full)
    slots = Slots(request, tuple(full[:head]), tuple(full[head : head + extra]), tuple(full[head + extra :]))
    if extra < 1 or list(slots.ids(())) != plain:
        raise TakebackError("this model's tokenizer leaves no room for a suffix after the request")
    return slots


def prompt_ids(session: Session, text: str) -> list[int]:
    """A user's message as the model reads it, up to the reply's start."""
    return session.template.ids([Message("user", text)])


def typed(session: Session, slots: Slots, suffix: Sequence[int]) -> str | None:
    """The message to type for these ids; None where typing it would give others."""
    try:
        text = slots.request + b"".join(map(session.vocabulary.piece, suffix)).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if tuple(prompt_ids(session, text)) == slots.ids(suffix) else None


def usable(session: Session) -> list[int]:
    """The ids that a suffix may hold: printable ASCII, no control token."""
    vocabulary = session.vocabulary
    return [token for token in range(vocabulary.size) if _printable(vocabulary.piece(token))]


def _printable(piece: bytes) -> bool:
    """Control tokens have no bytes, and so are none."""
    return bool(piece) and all(32 <= byte < 127 for byte in piece)
