"""The titles of the chats, read without opening the store: in a moment, and changing nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def titles(path: Path, limit: int) -> list[tuple[int, str]]:
    """The ids and titles of the chats, the one that was used last first; none where the file cannot be read."""
    sql = "SELECT id, title FROM chats WHERE deleted IS NULL ORDER BY updated DESC, id DESC LIMIT ?"
    try:
        # Not `mode=ro`: a reader that may not write leaves a log behind.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=1)) as store:
            return [(int(number), str(title)) for number, title in store.execute(sql, (limit,))]
    except (sqlite3.Error, ValueError):
        return []
