"""Rows of the store as records, and values as the store keeps them."""

from __future__ import annotations

import array
import sqlite3
import sys

from assistant.conversation.records import Chat, Entry, Hit

_PADDING = bytes(4096)
"""Put before a live text. A row's first 4,061 bytes at most share a page with other rows; the rest has pages
of its own. SQLite leaves copies of rows behind when it splits a shared page, and overwrites a row's own pages
with zeros when they are freed: so the text must never lie in the shared part."""

CHAT = "SELECT id, title, system, created, updated, chosen FROM chats"

_PLACE = "twin.chat = messages.chat AND twin.parent IS messages.parent AND twin.role = messages.role"
ENTRY = f"""SELECT id, chat, role, state, reason, resets, shown_resets, created, vocab_sha256, ids,
    CASE state WHEN 'writing' THEN (SELECT body FROM live WHERE message = id) ELSE text END AS text,
    (SELECT count(*) FROM messages AS twin WHERE {_PLACE}) AS versions,
    (SELECT count(*) FROM messages AS twin WHERE {_PLACE} AND twin.id <= messages.id) AS version
    FROM messages"""  # noqa: S608 - made of constants


def as_chat(row: sqlite3.Row) -> Chat:
    """A row of `CHAT`."""
    return Chat(row["id"], row["title"], row["system"], row["created"], row["updated"], row["chosen"])


def as_hit(row: sqlite3.Row) -> Hit:
    """A chat's row with `message`, `role` and `excerpt`."""
    return Hit(as_chat(row), row["message"], row["role"], row["excerpt"])


def as_entry(row: sqlite3.Row) -> Entry:
    """A row of `ENTRY`."""
    text, ids = row["text"], row["ids"]
    return Entry(
        id=row["id"],
        chat=row["chat"],
        role=row["role"],
        text=as_text(text) if isinstance(text, bytes) else text,
        state=row["state"],
        reason=row["reason"],
        resets=row["resets"],
        shown_resets=row["shown_resets"],
        created=row["created"],
        ids=None if ids is None else _unpacked(ids),
        vocab_sha256=row["vocab_sha256"],
        version=row["version"],
        versions=row["versions"],
    )


def new_id(cursor: sqlite3.Cursor) -> int:
    """The id of the row that was just inserted."""
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def storable(text: str) -> str:
    """The text without lone surrogates, which have no bytes."""
    return text.encode(errors="replace").decode()


def as_body(shown: str) -> bytes:
    """A live text as it is stored."""
    return _PADDING + shown.encode(errors="replace")


def as_text(body: bytes) -> str:
    """The live text of a stored body."""
    return body[len(_PADDING) :].decode(errors="replace")


def packed(ids: tuple[int, ...]) -> bytes:
    """Token ids as little-endian unsigned 32-bit numbers."""
    numbers = array.array("I", ids)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _unpacked(stored: bytes) -> tuple[int, ...]:
    numbers = array.array("I")
    numbers.frombytes(stored)
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)
