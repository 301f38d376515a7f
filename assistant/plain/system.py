"""The line mode's command for the system message."""

from __future__ import annotations

from assistant.plain.talk import Talk
from convert.errors import TakebackError
from convert.untrusted import clean


def system(talk: Talk, words: str) -> None:
    """Say the chat's system message, or change that of the chats that are begun here."""
    stored = talk.history.chat(talk.chat) if talk.chat is not None else None
    if words:
        if stored is not None:
            raise TakebackError("a chat's system message stands from its beginning; /new, then /system TEXT")
        talk.system = None if words == "-" else words
    now = talk.system if stored is None else stored.system
    talk.say(f"The system message is: {clean(now)}" if now else "There is no system message")
