"""The store of chats: nothing that was said is lost, and nothing that was taken back is kept.

What the user says is stored before the model is asked. A reply grows in a row of its own, in the table
`live`, with shown text only, and moves to its place among the messages when it is settled. When a draft is
taken back its row is overwritten and SQLite's write-ahead log is emptied before a new word is stored; a kill
in between is mended when the file is next opened.
"""

from __future__ import annotations

import array
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from assistant.conversation.records import Chat, Entry, Hit
from assistant.conversation.schema import connect, explained, transaction
from assistant.conversation.writer import Writer, is_alive
from convert.untrusted import clean_line

_PADDING = bytes(4096)
"""Put before a live text. A row's first 4,061 bytes at most share a page with other rows; the rest has pages
of its own. SQLite leaves copies of rows behind when it splits a shared page, and overwrites a row's own pages
with zeros when they are freed: so the text must never lie in the shared part."""

TITLE_LENGTH = 60

_ENTRY = """SELECT id, chat, role, state, reason, resets, shown_resets, created, vocab_sha256, ids,
    CASE state WHEN 'writing' THEN (SELECT body FROM live WHERE message = id) ELSE text END AS text
    FROM messages"""
_CHAT = "SELECT id, title, system, created, updated FROM chats"


class History:
    """All chats on this machine. Any thread may use it, and any number of processes the same file.

    Every method raises `TakebackError`, with what to do, where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        """Open the store, make it where there is none, and mend what a killed process left."""
        self.path = path
        self._lock = threading.RLock()
        self._writer = Writer(path.parent / "writers")
        self._log_holds_draft = False
        self._database = connect(path)
        self._database.row_factory = sqlite3.Row
        try:
            with self._use():
                self._mend()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close the file. A reply that is still being written then counts as unfinished."""
        with self._lock:
            if self._log_holds_draft:
                self._empty_log()
            self._database.close()
            self._writer.stop()

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Writing

    def new_chat(self, first: str, system: str | None = None) -> tuple[int, int]:
        """Begin a chat with what the user says first, and return the ids of the chat and of that message."""
        title = clean_line(first)[:TITLE_LENGTH] or "Untitled"
        now = time.time()
        with self._change():
            sql = "INSERT INTO chats (title, system, created, updated) VALUES (?, ?, ?, ?)"
            chat = _new_id(self._database.execute(sql, (title, system, now, now)))
            message = self._say(chat, first, now)
        return chat, message

    def say(self, chat: int, text: str) -> int:
        """Store what the user says and return the message's id. On return it is on the disk."""
        with self._change():
            return self._say(chat, text, time.time())

    def begin(self, chat: int) -> int:
        """Begin a reply, empty as yet, and return the message's id."""
        with self._change():
            self._writer.start()
            reply = self._insert(chat, "assistant", "", "writing", time.time())
            live = (reply, self._writer.name, _body(""))
            self._database.execute("INSERT INTO live (message, writer, body) VALUES (?, ?, ?)", live)
        return reply

    def grow(self, reply: int, shown: str) -> None:
        """Store all that has been shown of a reply so far.

        It is left out while the log cannot be emptied of an earlier draft, as another process reads in it.
        """
        with self._use():
            if self._log_holds_draft and not self._empty_log():
                return
            with transaction(self._database):
                self._set_live(reply, shown)

    def take_back(self, reply: int) -> None:
        """Forget the shown text of a reply: overwrite its row, then empty the log."""
        with self._use():
            with transaction(self._database):
                self._set_live(reply, "")
            self._log_holds_draft = True
            self._empty_log()

    def settle(
        self,
        reply: int,
        text: str,
        *,
        reason: str,
        resets: int = 0,
        shown_resets: int = 0,
        ids: tuple[int, ...] | None = None,
        vocab_sha256: str | None = None,
    ) -> None:
        """Finish a reply with its final text; from now on searches find it.

        `reason` is that of the reply's `done` event; with `error` the reply counts as unfinished.
        """
        state = "unfinished" if reason == "error" else "settled"
        stored = None if ids is None else _packed(ids)
        with self._use():
            if self._log_holds_draft:
                self._empty_log()
            with transaction(self._database):
                sql = (
                    "UPDATE messages SET text = ?, state = ?, reason = ?, resets = ?, shown_resets = ?, "
                    "ids = ?, vocab_sha256 = ? WHERE id = ?"
                )
                values = (_storable(text), state, reason, resets, shown_resets, stored, vocab_sha256, reply)
                self._database.execute(sql, values)
                self._database.execute("DELETE FROM live WHERE message = ?", (reply,))
                self._touch(reply)

    def delete(self, chat: int) -> None:
        """Delete a chat so that none of it remains in the file, in the index or in the log."""
        with self._use():
            with transaction(self._database):
                self._database.execute("DELETE FROM chats WHERE id = ?", (chat,))
                # Deleting from an index only marks what is gone; building it anew leaves nothing. (FTS5's own
                # secure-delete would make the file unreadable for SQLite before 3.42, which is still common.)
                self._database.execute("INSERT INTO search (search) VALUES ('rebuild')")
            self._database.execute("VACUUM")  # pages that were once split hold copies of their rows
            self._empty_log()

    # Reading

    def chats(self, limit: int = -1) -> list[Chat]:
        """The chats, the one that was used last first; all of them, or at most `limit`."""
        with self._use():
            rows = self._database.execute(f"{_CHAT} ORDER BY updated DESC, id DESC LIMIT ?", (limit,))
            return [_chat(row) for row in rows.fetchall()]

    def chat(self, chat: int) -> Chat | None:
        """One chat, or None where there is none of this id."""
        with self._use():
            rows = self._database.execute(f"{_CHAT} WHERE id = ?", (chat,)).fetchall()
            return _chat(rows[0]) if rows else None

    def entries(self, chat: int, *, before: int | None = None, limit: int = -1) -> list[Entry]:
        """A chat's messages in order: all, or the last `limit` of those before the message `before`."""
        sql = f"{_ENTRY} WHERE chat = ? AND id < ? ORDER BY id DESC LIMIT ?"
        with self._use():
            rows = self._database.execute(sql, (chat, before or sys.maxsize, limit)).fetchall()
        return [_entry(row) for row in reversed(rows)]

    def search(self, words: str, limit: int = 50) -> list[Hit]:
        """The messages that hold all these words, or words that begin so; the best match first."""
        query = " ".join('"{}"*'.format(word.replace('"', '""')) for word in words.replace("\0", " ").split())
        if not query:
            return []
        sql = """SELECT search.rowid AS message, messages.role,
            snippet(search, 0, '[', ']', '…', 12) AS excerpt,
            chats.id, chats.title, chats.system, chats.created, chats.updated
            FROM search JOIN messages ON messages.id = search.rowid JOIN chats ON chats.id = messages.chat
            WHERE search MATCH ? ORDER BY search.rank LIMIT ?"""
        with self._use():
            rows = self._database.execute(sql, (query, limit)).fetchall()
        return [Hit(_chat(row), row["message"], row["role"], row["excerpt"]) for row in rows]

    # Inside

    @contextmanager
    def _use(self) -> Iterator[None]:
        with self._lock, explained(self.path):
            yield

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._use(), transaction(self._database):
            yield

    def _say(self, chat: int, text: str, now: float) -> int:
        message = self._insert(chat, "user", _storable(text), "settled", now)
        self._touch(message)
        return message

    def _insert(self, chat: int, role: str, text: str, state: str, now: float) -> int:
        sql = "INSERT INTO messages (chat, role, text, state, created) VALUES (?, ?, ?, ?, ?)"
        return _new_id(self._database.execute(sql, (chat, role, text, state, now)))

    def _touch(self, message: int) -> None:
        sql = "UPDATE chats SET updated = ? WHERE id = (SELECT chat FROM messages WHERE id = ?)"
        self._database.execute(sql, (time.time(), message))

    def _set_live(self, reply: int, shown: str) -> None:
        self._database.execute("UPDATE live SET body = ? WHERE message = ?", (_body(shown), reply))

    def _empty_log(self) -> bool:
        """Bring the log's pages into the file and cut the log to nothing; whether that could be done."""
        busy = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        self._log_holds_draft = bool(busy)
        return not busy

    def _mend(self) -> None:
        """Mark the replies of dead writers as unfinished, and empty the log that they may have left."""
        live = self._database.execute("SELECT message, writer, body FROM live").fetchall()
        left = [row for row in live if not is_alive(self.path.parent / "writers", row["writer"])]
        if not left and live:
            return  # another process writes a reply at this moment
        if left:
            with transaction(self._database):
                for row in left:
                    sql = "UPDATE messages SET text = ?, state = 'unfinished', reason = 'killed' WHERE id = ?"
                    self._database.execute(sql, (_text(row["body"]), row["message"]))
                    self._database.execute("DELETE FROM live WHERE message = ?", (row["message"],))
        self._empty_log()


def _new_id(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _storable(text: str) -> str:
    """The text without lone surrogates, which have no bytes."""
    return text.encode(errors="replace").decode()


def _body(shown: str) -> bytes:
    return _PADDING + shown.encode(errors="replace")


def _text(body: bytes) -> str:
    return body[len(_PADDING) :].decode(errors="replace")


def _packed(ids: tuple[int, ...]) -> bytes:
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


def _chat(row: sqlite3.Row) -> Chat:
    return Chat(row["id"], row["title"], row["system"], row["created"], row["updated"])


def _entry(row: sqlite3.Row) -> Entry:
    text, ids = row["text"], row["ids"]
    return Entry(
        id=row["id"],
        chat=row["chat"],
        role=row["role"],
        text=_text(text) if isinstance(text, bytes) else text,
        state=row["state"],
        reason=row["reason"],
        resets=row["resets"],
        shown_resets=row["shown_resets"],
        created=row["created"],
        ids=None if ids is None else _unpacked(ids),
        vocab_sha256=row["vocab_sha256"],
    )
