"""Text files that are whole or not there: a kill leaves the old one or the new one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from convert.errors import TakebackError


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file that is either wholly new or as it was.

    Raises:
        TakebackError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", errors="replace", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # of a name that is too long there is nothing to remove
            part.unlink(missing_ok=True)
        raise TakebackError(f"{path}: cannot be written: {error.strerror or error}") from error
