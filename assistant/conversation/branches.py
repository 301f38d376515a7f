"""The branches of a chat: which messages are shown, and what else was said at their places.

Every message has a parent, the one that it was said after; messages of one role with the same parent are the
versions of a place. A chat's tip is the last message of the branch that is shown.
"""

from __future__ import annotations

import sqlite3

from assistant.conversation.rows import ENTRY

_PATH = """WITH RECURSIVE path (id, parent) AS (
    SELECT id, parent FROM messages WHERE id = {start}
    UNION ALL
    SELECT messages.id, messages.parent FROM messages JOIN path ON messages.id = path.parent
    LIMIT :limit
)"""

_BELOW = """WITH RECURSIVE below (id) AS (
    VALUES (:top) UNION ALL SELECT messages.id FROM messages JOIN below ON messages.parent = below.id
    WHERE messages.chat = :chat
) SELECT max(id) FROM below"""
"""A message is newer than its parent: the newest of all is the end of a branch."""


def path(database: sqlite3.Connection, chat: int, before: int | None, limit: int) -> list[sqlite3.Row]:
    """The rows of the branch that is shown, in order: its last `limit` ones, or those before a message."""
    start = "(SELECT tip FROM chats WHERE id = :chat)"
    if before is not None:
        start = "(SELECT parent FROM messages WHERE id = :before AND chat = :chat)"
    sql = f"{_PATH.format(start=start)} {ENTRY} WHERE id IN (SELECT id FROM path) ORDER BY id"  # noqa: S608
    return database.execute(sql, {"chat": chat, "before": before, "limit": limit}).fetchall()


def parent(database: sqlite3.Connection, message: int) -> int | None:
    """The message that this one was said after."""
    rows = database.execute("SELECT parent FROM messages WHERE id = ?", (message,)).fetchall()
    return rows[0][0] if rows else None


def sibling(database: sqlite3.Connection, message: int, step: int) -> int | None:
    """The version `step` places after this one (before it, where negative), or None where there is none."""
    sql = """SELECT other.id FROM messages AS this JOIN messages AS other
        ON other.chat = this.chat AND other.parent IS this.parent AND other.role = this.role
        WHERE this.id = ? ORDER BY other.id"""
    ids = [row[0] for row in database.execute(sql, (message,)).fetchall()]
    place = ids.index(message) + step if message in ids else -1
    return ids[place] if 0 <= place < len(ids) else None


def show(database: sqlite3.Connection, message: int) -> None:
    """Make the branch with this message the one that is shown, to its newest end."""
    rows = database.execute("SELECT chat FROM messages WHERE id = ?", (message,)).fetchall()
    if rows:
        chat = rows[0][0]
        tip = database.execute(_BELOW, {"top": message, "chat": chat}).fetchone()[0]
        database.execute("UPDATE chats SET tip = ? WHERE id = ?", (tip, chat))
