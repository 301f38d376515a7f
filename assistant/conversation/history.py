"""The store of chats: nothing that was said is lost, and nothing that was taken back is kept.

What the user says is stored before the model is asked. A reply grows in a row of its own, in the table
`live`, with shown text only, and moves to its place among the messages when it is settled. When a draft is
taken back its row is overwritten and SQLite's write-ahead log is emptied before a new word is stored; a kill
in between is mended when the file is next opened.
"""

from __future__ import annotations

import time
from pathlib import Path

from assistant.conversation import branches
from assistant.conversation.reading import ChatRead
from assistant.conversation.records import Entry
from assistant.conversation.rows import ENTRY, as_body, as_entry, as_text, new_id, packed, storable
from assistant.conversation.schema import transaction
from assistant.conversation.shelf import TITLE_LENGTH, Shelf
from assistant.conversation.writer import Writer, is_alive, others_live
from convert.errors import TakebackError
from convert.untrusted import clean_line

GONE = "this chat was deleted meanwhile; begin a new one"


class History(Shelf):
    """The chats with their messages."""

    def __init__(self, path: Path) -> None:
        """Open the store, make it where there is none, and mend what a killed process left."""
        super().__init__(path)
        self._writer = Writer(path.parent / "writers")
        try:
            with self._use():
                self._mend()
                if not others_live(self._writer.folder):
                    self._purge()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close the file. A reply that is still being written then counts as unfinished."""
        with self._lock:
            super().close()
            self._writer.stop()

    def hide(self, chat: int) -> None:
        """Delete a chat so that `bring_back` still can undo it, until this store is closed."""
        with self._use():
            self._writer.start()  # while it lives, no other program deletes the chat for good
        super().hide(chat)

    # Writing

    def new_chat(self, first: str, system: str | None = None, chosen: str | None = None) -> tuple[int, int]:
        """Begin a chat with what the user says first, and return the ids of the chat and of that message."""
        title = clean_line(first)[:TITLE_LENGTH] or "Untitled"
        now = time.time()
        with self._change():
            sql = "INSERT INTO chats (title, system, chosen, created, updated) VALUES (?, ?, ?, ?, ?)"
            chat = new_id(self._database.execute(sql, (title, system, chosen, now, now)))
            message = self._say(chat, first, now)
        return chat, message

    def take_in(self, read: ChatRead) -> int:
        """Store a chat that was read from a file, whole or not at all, and return its id."""
        first = next(said.text for said in read.messages if said.role == "user")
        title = clean_line(read.title or first)[:TITLE_LENGTH] or "Untitled"
        now = time.time()
        with self._change():
            sql = "INSERT INTO chats (title, system, created, updated) VALUES (?, ?, ?, ?)"
            system = None if read.system is None else storable(read.system)
            chat = new_id(self._database.execute(sql, (title, system, now, now)))
            for said in read.messages:
                message = self._insert(chat, said.role, storable(said.text), "settled", now)
                sql = "UPDATE messages SET reason = ? WHERE id = ?"
                self._database.execute(sql, (said.reason, message))
        return chat

    def say(self, chat: int, text: str, *, instead_of: int | None = None) -> int:
        """Store what the user says and return the message's id. On return it is on the disk.

        `instead_of` is a message at whose place it is said: a new branch begins there, the old one is kept.
        """
        with self._change():
            if self.chat(chat) is None:
                raise TakebackError(GONE)
            return self._say(chat, text, time.time(), instead_of)

    def begin(self, chat: int, *, instead_of: int | None = None) -> int:
        """Begin a reply, empty as yet, and return the message's id; `instead_of` as for `say`."""
        with self._change():
            self._writer.start()
            reply = self._insert(chat, "assistant", "", "writing", time.time(), instead_of)
            live = (reply, self._writer.name, as_body(""))
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
        stored = None if ids is None else packed(ids)
        with self._use():
            if self._log_holds_draft:
                self._empty_log()
            with transaction(self._database):
                sql = (
                    "UPDATE messages SET text = ?, state = ?, reason = ?, resets = ?, shown_resets = ?, "
                    "ids = ?, vocab_sha256 = ? WHERE id = ?"
                )
                values = (storable(text), state, reason, resets, shown_resets, stored, vocab_sha256, reply)
                self._database.execute(sql, values)
                self._database.execute("DELETE FROM live WHERE message = ?", (reply,))
                self._touch(reply)

    def erase(self, message: int) -> None:
        """Delete one message so that nothing of it remains; what was said after it stays, after its parent."""
        with self._use():
            with transaction(self._database):
                after = branches.parent(self._database, message)
                self._database.execute("UPDATE messages SET parent = ? WHERE parent = ?", (after, message))
                self._database.execute("UPDATE chats SET tip = ? WHERE tip = ?", (after, message))
                self._database.execute("DELETE FROM messages WHERE id = ?", (message,))
                self._rebuild_index()
            self._wipe()

    def mend(self) -> None:
        """Mark the replies of programs that were killed while they wrote them as unfinished."""
        with self._use():
            self._mend()

    # Reading

    def entries(self, chat: int, *, before: int | None = None, limit: int = -1) -> list[Entry]:
        """A chat's messages in order: all, or the last `limit` of those before the message `before`.

        Only those of the branch that is shown.
        """
        with self._use():
            return [as_entry(row) for row in branches.path(self._database, chat, before, limit)]

    def entry(self, message: int) -> Entry | None:
        """One message, of whatever branch, or None where there is none of this id."""
        with self._use():
            rows = self._database.execute(f"{ENTRY} WHERE id = ?", (message,)).fetchall()
            return as_entry(rows[0]) if rows else None

    # Branches

    def show_branch(self, message: int) -> None:
        """Show the branch with this message, to its newest end."""
        with self._change():
            branches.show(self._database, message)

    def show_version(self, message: int, step: int) -> int | None:
        """Show the branch of another version of a message: `step` 1 is the next, -1 the one before.

        The version's id, or None where there is none.
        """
        with self._change():
            other = branches.sibling(self._database, message, step)
            if other is not None:
                branches.show(self._database, other)
            return other

    # Inside

    def _say(self, chat: int, text: str, now: float, instead_of: int | None = None) -> int:
        message = self._insert(chat, "user", storable(text), "settled", now, instead_of)
        self._touch(message)
        return message

    def _insert(
        self, chat: int, role: str, text: str, state: str, now: float, instead_of: int | None = None
    ) -> int:
        place = "(SELECT tip FROM chats WHERE id = :chat)"
        if instead_of is not None:
            place = "(SELECT parent FROM messages WHERE id = :instead_of)"
        sql = f"""INSERT INTO messages (chat, role, text, state, created, parent)
            VALUES (:chat, :role, :text, :state, :now, {place})"""  # noqa: S608 - made of constants
        values = {"chat": chat, "role": role, "text": text, "state": state, "now": now}
        message = new_id(self._database.execute(sql, values | {"instead_of": instead_of}))
        self._database.execute("UPDATE chats SET tip = ? WHERE id = ?", (message, chat))
        return message

    def _touch(self, message: int) -> None:
        sql = "UPDATE chats SET updated = ? WHERE id = (SELECT chat FROM messages WHERE id = ?)"
        self._database.execute(sql, (time.time(), message))

    def _set_live(self, reply: int, shown: str) -> None:
        self._database.execute("UPDATE live SET body = ? WHERE message = ?", (as_body(shown), reply))

    def _mend(self) -> None:
        """Mark the replies of dead writers as unfinished, and empty the log that they may have left."""
        live = self._database.execute("SELECT message, writer, body FROM live").fetchall()
        folder, own = self.path.parent / "writers", self._writer.name
        left = [row for row in live if row["writer"] != own and not is_alive(folder, row["writer"])]
        if not left and live:
            return  # another process writes a reply at this moment
        if left:
            with transaction(self._database):
                for row in left:
                    sql = "UPDATE messages SET text = ?, state = 'unfinished', reason = 'killed' WHERE id = ?"
                    self._database.execute(sql, (as_text(row["body"]), row["message"]))
                    self._database.execute("DELETE FROM live WHERE message = ?", (row["message"],))
        self._empty_log()
