"""What a chat and the model's thread tell each other, and what both need of a model."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from assistant.engine.events import Event
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions


class Info(Protocol):
    """What the chat needs to know of a model."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def context_length(self) -> int:
        """In tokens."""

    @property
    def contract(self) -> object | None:
        """None where the model cannot take back."""

    @property
    def note(self) -> str | None:
        """One line for the user, or None."""

    @property
    def vocab_sha256(self) -> str:
        """Of the vocabulary that generated ids belong to."""


class Model(Protocol):
    """What the chat needs of a loaded model; `assistant.engine.session.Session` is one."""

    @property
    def info(self) -> Info:
        """What it is."""

    def generate(
        self, messages: Sequence[Message], options: GenerateOptions | None = None
    ) -> Iterator[Event]:
        """Write the next reply."""

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The tokens of a conversation."""

    def prompt_parts(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """The prompt of a conversation in pieces, each with whether it is the template's own text."""

    @property
    def held(self) -> int:
        """How many tokens of the reply that is being written are held back, from any thread."""

    def cancel(self) -> None:
        """Stop the reply, from any thread."""

    def close(self) -> None:
        """Free it."""


@dataclass(frozen=True)
class Loading:
    """The model is being built or loaded: what is done now, and how many per cent of it; -1: not known."""

    what: str
    percent: int


@dataclass(frozen=True)
class Loaded:
    """The model is ready; `name` is None for the one that the program began with."""

    info: Info
    name: str | None = None


@dataclass(frozen=True)
class LoadFailed:
    """There is no model; one line for the user."""

    message: str
    name: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """So many of the chat's oldest messages did not fit the context."""

    messages: int

    @property
    def told(self) -> str:
        """The same for the user."""
        what = "the first message" if self.messages == 1 else f"the first {self.messages} messages"
        return f"The model no longer sees {what}: the context is full"


@dataclass(frozen=True)
class Seen:
    """What the model sees of a chat: so many tokens of so many, from the message `first` on, or all of it."""

    chat: int
    tokens: int
    context: int
    first: int | None


@dataclass(frozen=True)
class Problem:
    """Something went wrong beside the reply; one line for the user."""

    message: str


@dataclass(frozen=True)
class Replied:
    """The next event of a request's reply."""

    request: Request
    event: Event


@dataclass(frozen=True)
class Stored:
    """A request's reply has a place in the store: the id of its message, and which version of how many."""

    request: Request
    entry: int
    version: int = 1
    versions: int = 1


@dataclass(frozen=True)
class Recorded:
    """A request is over in the store as well, or was never begun there."""

    request: Request


Report = Loading | Loaded | LoadFailed | LeftOut | Seen | Problem | Stored | Replied | Recorded


@dataclass(eq=False)
class Request:
    """A chat whose last message waits for a reply.

    With `instead_of`, a stored reply is to be written again; `beginning` is its text where the new one goes on
    with it.
    """

    chat: int
    instead_of: int | None = None
    beginning: str = ""
    cancelled: threading.Event = field(default_factory=threading.Event)
