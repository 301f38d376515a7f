"""The SQLite file of all chats: its tables, how it is opened, and what its errors mean to a user."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convert.errors import TakebackError

BUSY_SECONDS = 5.0

_FIRST = """
CREATE TABLE chats (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL,
    system TEXT,
    created REAL NOT NULL,
    updated REAL NOT NULL
);
CREATE INDEX chats_by_update ON chats (updated);

CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chat INTEGER NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    text TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('writing', 'settled', 'unfinished')),
    reason TEXT NOT NULL DEFAULT '',
    resets INTEGER NOT NULL DEFAULT 0,
    shown_resets INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    ids BLOB,
    vocab_sha256 TEXT
);
CREATE INDEX messages_by_chat ON messages (chat, id);

-- The shown text of replies that are being written, apart from all that stays.
CREATE TABLE live (
    message INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    writer TEXT NOT NULL,
    body BLOB NOT NULL
);

-- A reply is searchable once it is settled, so a draft never reaches the index.
CREATE VIEW settled AS SELECT id, text FROM messages WHERE state = 'settled';
CREATE VIRTUAL TABLE search USING fts5 (
    text, content = 'settled', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER search_said AFTER INSERT ON messages WHEN new.state = 'settled' BEGIN
    INSERT INTO search (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER search_settled AFTER UPDATE OF state ON messages
    WHEN old.state <> 'settled' AND new.state = 'settled' BEGIN
    INSERT INTO search (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER search_deleted AFTER DELETE ON messages WHEN old.state = 'settled' BEGIN
    INSERT INTO search (search, rowid, text) VALUES ('delete', old.id, old.text);
END;
"""

_BRANCHES = """
-- The chat as it is shown goes from its tip over the parents to the first message; the rest are other branches.
ALTER TABLE chats ADD COLUMN tip INTEGER;
ALTER TABLE messages ADD COLUMN parent INTEGER;
UPDATE messages SET parent =
    (SELECT max(older.id) FROM messages AS older WHERE older.chat = messages.chat AND older.id < messages.id);
UPDATE chats SET tip = (SELECT max(id) FROM messages WHERE chat = chats.id);
CREATE INDEX messages_by_parent ON messages (chat, parent);

-- When a chat was deleted that can still be brought back.
ALTER TABLE chats ADD COLUMN deleted REAL;

-- What was written and not sent, by chat; 0 stands for one that is not begun.
CREATE TABLE unsent (chat INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TRIGGER unsent_deleted AFTER DELETE ON chats BEGIN
    DELETE FROM unsent WHERE chat = old.id;
END;
"""

_CHOSEN = """
-- What was chosen for a chat, as JSON by name of the setting; its system message has a column of its own.
ALTER TABLE chats ADD COLUMN chosen TEXT;
"""

STEPS = (_FIRST, _BRANCHES, _CHOSEN)
"""Each brings a file from the version of its number to the next; a new file is of version 0."""

VERSION = len(STEPS)
"""Kept in the file's `user_version`."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, making it and its tables where they do not exist, and bringing an older one up to date.

    A commit is on the disk before the call that made it returns (synchronous FULL), what is deleted is
    overwritten, and nothing is written to temporary files.

    Raises:
        TakebackError: the file cannot be used, with what to do about it.
    """
    with explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(database, path)
        except BaseException:
            database.close()
            raise
    with suppress(OSError):
        path.chmod(0o600)  # chats are nobody else's business
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    _write_ahead(database)
    for pragma in ("synchronous = FULL", "secure_delete = ON"):
        database.execute(f"PRAGMA {pragma}").fetchall()
    for pragma in ("foreign_keys = ON", "temp_store = MEMORY"):
        database.execute(f"PRAGMA {pragma}").fetchall()
    if _version(database) < VERSION:
        with transaction(database):
            for step in STEPS[_version(database) :]:  # none, if another process was here just now
                for statement in _statements(step):
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {max(VERSION, _version(database))}")
    if _version(database) > VERSION:
        raise TakebackError(
            f"{path} holds the chats of a newer takeback; "
            "upgrade (pip install -U takeback), or set TAKEBACK_HOME to another folder"
        )


def _write_ahead(database: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; SQLite may not wait for another program that does so, too, and is asked again."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
            time.sleep(0.01)
        else:
            return


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: `executescript` would commit the transaction around them."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of what is done inside, or none of it."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite and of the file system into one line for the user."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        raise TakebackError(f"the chats in {path}: {_ADVICE.get(code, str(error))}") from error
    except OSError as error:
        raise TakebackError(
            f"the chats in {path}: {error.strerror or error}; check the folder's rights and the disk's space"
        ) from error


_NOT_WRITABLE = "the file or its folder cannot be written to; check their rights, or set TAKEBACK_HOME"
_DAMAGED = "the file is damaged or no database; move it away to begin anew, and keep it: parts may be saved"
_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written; check it and try again",
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_BUSY: "another program keeps the file locked; close it and try again",
    sqlite3.SQLITE_LOCKED: "another program keeps the file locked; close it and try again",
}
