"""What the store of chats gives back."""

from __future__ import annotations

from dataclasses import dataclass

CUT_OFF = ("cancelled", "length", "context_full", "killed", "error")
"""The reasons of replies that can be continued."""


@dataclass(frozen=True)
class Chat:
    """A chat without its messages. Times are seconds since 1970."""

    id: int
    title: str
    system: str | None
    created: float
    updated: float
    chosen: str | None = None
    """What was chosen for it, as `conversation.chosen` reads it."""


@dataclass(frozen=True)
class Entry:
    """A message of a chat as it is stored."""

    id: int
    chat: int
    role: str
    """`user` or `assistant`."""
    text: str
    """For a reply that is being written: what has been shown of it so far."""
    state: str
    """`settled`; `writing`: some process is at it; `unfinished`: its writer ended before it was."""
    reason: str
    """Why a reply ended: as its `done` event says, or `error`, or `killed`; empty for the user's messages."""
    resets: int
    """How many drafts were taken back."""
    shown_resets: int
    """How many of those had been shown, at least in part."""
    created: float
    ids: tuple[int, ...] | None
    """The token ids that the model generated, or None where they are not known."""
    vocab_sha256: str | None
    """Of the vocabulary that the ids belong to."""
    version: int = 1
    """Which one it is of the messages that were said at its place, the oldest first; counted from 1."""
    versions: int = 1
    """How many messages were said at its place, each with a branch of the chat below it."""


@dataclass(frozen=True)
class Hit:
    """A message that a search found."""

    chat: Chat
    message: int
    role: str
    excerpt: str
    """A piece of the message around the words, each found word between `[` and `]`."""
