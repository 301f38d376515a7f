"""What may be meant by what stands before the cursor: a command after `/`, a file after `@`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from assistant.conversation.attachments import size_in_words
from assistant.tui.commands import COMMANDS

MOST_SUGGESTIONS = 50
MOST_LOOKED_AT = 5_000
"""Files of a folder; more are not worth the wait."""

_COMMAND = re.compile(r"/([a-z]*)")
_FILE = re.compile(r'(?:^|(?<=\s))@(?:"([^"\n]*)|([^\s"]*))$')


@dataclass(frozen=True)
class Suggestion:
    """Text to put in the place of the last `replaces` characters before the cursor, and words about it."""

    insert: str
    replaces: int
    about: str = ""


def suggest(before: str) -> list[Suggestion]:
    """The suggestions for a text that ends at the cursor. It reads folders: not for the screen's thread."""
    if found := _COMMAND.fullmatch(before):
        return [
            Suggestion(f"/{command.name}" + " " * bool(command.takes), len(before), command.summary)
            for command in COMMANDS
            if command.name.startswith(found[1])
        ]
    if found := _FILE.search(before):
        return _files(found[1] if found[2] is None else found[2], len(found[0]))
    return []


def _files(typed: str, replaces: int) -> list[Suggestion]:
    folder, _, start = typed.rpartition("/")
    folder = f"{folder}/" if folder or typed.startswith("/") else ""
    found: list[tuple[str, str]] = []
    try:
        with os.scandir(Path(folder or ".").expanduser()) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST_LOOKED_AT:
                    break
                if not entry.name.casefold().startswith(start.casefold()):
                    continue
                if entry.name.startswith(".") and not start:
                    continue
                if not entry.name.isprintable() or '"' in entry.name:
                    continue  # it could not be written in one line
                is_folder = entry.is_dir()
                about = "folder" if is_folder else size_in_words(entry.stat().st_size)
                found.append((f"{folder}{entry.name}{'/' * is_folder}", about))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: no such user in ~user
        return []
    return [Suggestion(_quoted(path), replaces, about) for path, about in sorted(found)[:MOST_SUGGESTIONS]]


def _quoted(path: str) -> str:
    """The path as it is written in a message. A folder's quotation stays open: something will follow."""
    if not re.search(r"\s", path):
        return f"@{path}"
    return f'@"{path}' if path.endswith("/") else f'@"{path}"'
