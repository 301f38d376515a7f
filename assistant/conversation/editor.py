"""Writes a text in the user's own editor."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convert.errors import TakebackError


def edit(text: str) -> str:
    """The text as it is when the editor ends. Where the terminal is meanwhile is the caller's business.

    Raises:
        TakebackError: there is no editor, or it failed.
    """
    try:
        words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    except ValueError as error:
        raise TakebackError(f"EDITOR cannot be read: {error}; set it to your editor") from error
    if not words:
        found = next(filter(shutil.which, ("nano", "vim", "vi", "notepad")), None)
        if found is None:
            raise TakebackError("there is no editor; set EDITOR to yours")
        words = [found]
    with tempfile.TemporaryDirectory() as folder:  # nobody else can look into it
        file = Path(folder) / "message.md"
        file.write_text(text, encoding="utf-8")
        try:
            with _ctrl_c_for_the_editor():
                ended = subprocess.run([*words, str(file)], check=False)
            written = file.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise TakebackError(f"the editor {words[0]}: {error.strerror or error}; set EDITOR") from error
    if ended.returncode:
        raise TakebackError(f"the editor {words[0]} ended with status {ended.returncode}; nothing was taken")
    return written.removesuffix("\n")


@contextmanager
def _ctrl_c_for_the_editor() -> Iterator[None]:
    """Let Ctrl-C, which goes to all programs of a terminal, end nothing but the editor."""
    before = signal.signal(
        signal.SIGINT, lambda number, frame: None
    )  # ignored, it would be in the editor too
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
