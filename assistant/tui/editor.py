"""Writes a text in the user's own editor."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from convert.errors import TakebackError


def edit(text: str) -> str:
    """The text as it is when the editor ends. Where the terminal is meanwhile is the caller's business.

    Raises:
        TakebackError: there is no editor, or it failed.
    """
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    if not words:
        found = next(filter(shutil.which, ("nano", "vim", "vi", "notepad")), None)
        if found is None:
            raise TakebackError("there is no editor; set EDITOR to yours")
        words = [found]
    with tempfile.TemporaryDirectory() as folder:  # nobody else can look into it
        file = Path(folder) / "message.md"
        file.write_text(text, encoding="utf-8")
        try:
            ended = subprocess.run([*words, str(file)], check=False)
            written = file.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise TakebackError(f"the editor {words[0]}: {error.strerror or error}; set EDITOR") from error
    if ended.returncode:
        raise TakebackError(f"the editor {words[0]} ended with status {ended.returncode}; nothing was taken")
    return written.removesuffix("\n")
