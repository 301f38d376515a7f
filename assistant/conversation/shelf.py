"""The store's file, and the chats in it as wholes: listed, found, renamed, deleted and brought back."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from assistant.conversation.records import Chat, Hit
from assistant.conversation.rows import CHAT, as_chat, as_hit, storable
from assistant.conversation.schema import connect, explained, transaction
from assistant.engine.prompt_cache import forget_prompts
from convert.errors import TakebackError
from convert.untrusted import clean_line

TITLE_LENGTH = 60
NOT_BEGUN = 0
"""Stands for a chat that is not begun yet, where what was written for it is kept."""

SECONDS_TO_BRING_BACK = 3600.0
"""A chat that was deleted longer ago, by a program that has ended since, is gone at the next start."""


class Shelf:
    """All chats on this machine. Any thread may use it, and any number of processes the same file.

    Every method raises `TakebackError`, with what to do, where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, and make it where there is none."""
        self.path = path
        self._lock = threading.RLock()
        self._log_holds_draft = False
        self._hidden: set[int] = set()
        self._database = connect(path)
        self._database.row_factory = sqlite3.Row

    def close(self) -> None:
        """Close the file. What was deleted can no longer be brought back."""
        with self._lock:
            with suppress(TakebackError):  # the next start will try again
                hidden = self._hidden & {
                    chat.id for chat in self.deleted()
                }  # some may have been brought back
                if hidden:
                    self.delete(*hidden)
            with suppress(TakebackError), explained(self.path):
                if self._log_holds_draft:
                    self._empty_log()
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Reading

    def chats(self, limit: int = -1) -> list[Chat]:
        """The chats, the one that was used last first; all of them, or at most `limit`."""
        sql = f"{CHAT} WHERE deleted IS NULL ORDER BY updated DESC, id DESC LIMIT ?"
        with self._use():
            return [as_chat(row) for row in self._database.execute(sql, (limit,)).fetchall()]

    def chat(self, chat: int) -> Chat | None:
        """One chat, or None where there is none of this id."""
        with self._use():
            sql = f"{CHAT} WHERE id = ? AND deleted IS NULL"
            rows = self._database.execute(sql, (chat,)).fetchall()
            return as_chat(rows[0]) if rows else None

    def deleted(self) -> list[Chat]:
        """The chats that were deleted and can still be brought back, the last one first."""
        sql = f"{CHAT} WHERE deleted IS NOT NULL ORDER BY deleted DESC, id DESC"
        with self._use():
            return [as_chat(row) for row in self._database.execute(sql).fetchall()]

    def search(self, words: str, limit: int = 50) -> list[Hit]:
        """The messages that hold all these words, or words that begin so; the best match first."""
        words = words.replace("\0", " ").encode("utf-8", "replace").decode()  # a shell gives any bytes
        query = " ".join('"{}"*'.format(word.replace('"', '""')) for word in words.split())
        if not query:
            return []
        sql = """SELECT search.rowid AS message, messages.role,
            snippet(search, 0, '[', ']', '…', 12) AS excerpt,
            chats.id, chats.title, chats.system, chats.created, chats.updated, chats.chosen
            FROM search JOIN messages ON messages.id = search.rowid JOIN chats ON chats.id = messages.chat
            WHERE search MATCH ? AND chats.deleted IS NULL ORDER BY search.rank LIMIT ?"""
        with self._use():
            rows = self._database.execute(sql, (query, limit)).fetchall()
        return [as_hit(row) for row in rows]

    def said(self, limit: int) -> list[str]:
        """What the user said last, in any chat, the newest first; each wording once."""
        sql = """SELECT text FROM messages JOIN chats ON chats.id = messages.chat
            WHERE role = 'user' AND deleted IS NULL GROUP BY text ORDER BY max(messages.id) DESC LIMIT ?"""
        with self._use():
            return [row["text"] for row in self._database.execute(sql, (limit,)).fetchall()]

    # Changing

    def rename(self, chat: int, title: str) -> None:
        """Give a chat another title; an empty one changes nothing."""
        with self._change():
            sql = "UPDATE chats SET title = coalesce(nullif(?, ''), title) WHERE id = ?"
            self._database.execute(sql, (clean_line(title)[:TITLE_LENGTH], chat))

    def set_up(self, chat: int, system: str | None, chosen: str | None) -> None:
        """Give a chat another system message, and what else was chosen for it, for the replies to come."""
        with self._change():
            system = None if system is None else storable(system)
            self._database.execute(
                "UPDATE chats SET system = ?, chosen = ? WHERE id = ?", (system, chosen, chat)
            )

    def hide(self, chat: int) -> None:
        """Delete a chat so that `bring_back` still can undo it, until this store is closed."""
        self.put_away(chat)
        self._hidden.add(chat)

    def put_away(self, chat: int) -> None:
        """Delete a chat so that `bring_back` can undo it, in any program, for `SECONDS_TO_BRING_BACK`.

        It goes for good when a store is opened after that.
        """
        with self._change():
            self._database.execute("UPDATE chats SET deleted = ? WHERE id = ?", (time.time(), chat))

    def bring_back(self, chat: int) -> None:
        """Undo `hide` or `put_away`.

        Raises:
            TakebackError: the chat is gone for good, by another program.
        """
        with self._change():
            changed = self._database.execute("UPDATE chats SET deleted = NULL WHERE id = ?", (chat,))
            if not changed.rowcount:
                raise TakebackError("this chat was deleted for good meanwhile, by another takeback")
        self._hidden.discard(chat)

    def delete(self, *chats: int) -> None:
        """Delete chats so that none of them remains in the file, in the index or in the log."""
        with self._use():
            with transaction(self._database):
                rows = [(chat,) for chat in chats]
                self._database.executemany("DELETE FROM chats WHERE id = ?", rows)
                self._rebuild_index()
            self._wipe()
        self._hidden.difference_update(chats)

    # What was written and not sent

    def unsent(self, chat: int) -> str:
        """What the user wrote for a chat and did not send; `NOT_BEGUN` stands for a new one."""
        with self._use():
            rows = self._database.execute("SELECT text FROM unsent WHERE chat = ?", (chat,)).fetchall()
            return str(rows[0]["text"]) if rows else ""

    def keep_unsent(self, chat: int, text: str) -> None:
        """Store what the user is writing for a chat, or forget it where the text is empty."""
        with self._change():
            if text:
                sql = "INSERT OR REPLACE INTO unsent (chat, text) VALUES (?, ?)"
                self._database.execute(sql, (chat, storable(text)))
            else:
                self._database.execute("DELETE FROM unsent WHERE chat = ?", (chat,))

    # Inside

    @contextmanager
    def _use(self) -> Iterator[None]:
        with self._lock, explained(self.path):
            yield

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._use(), transaction(self._database):
            yield

    def _purge(self) -> None:
        """Delete for good what a program deleted that was killed before it could."""
        sql = "SELECT id FROM chats WHERE deleted < ?"
        rows = self._database.execute(sql, (time.time() - SECONDS_TO_BRING_BACK,)).fetchall()
        if rows:
            self.delete(*(row["id"] for row in rows))

    def _rebuild_index(self) -> None:
        # Deleting from an index only marks what is gone; building it anew leaves nothing. (FTS5's own
        # secure-delete would make the file unreadable for SQLite before 3.42, which is still common.)
        self._database.execute("INSERT INTO search (search) VALUES ('rebuild')")

    def _wipe(self) -> None:
        """Leave nothing of deleted rows: pages that were once split hold copies of theirs."""
        forget_prompts()  # a model may have kept what it read of them
        self._log_holds_draft = True  # whatever fails now: the log is emptied before the next word is stored
        self._database.execute("VACUUM")
        self._empty_log()

    def _empty_log(self) -> bool:
        """Bring the log's pages into the file and cut the log to nothing; whether that could be done."""
        busy = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        self._log_holds_draft = bool(busy)
        return not busy
