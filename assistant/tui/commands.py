"""What the user can ask for by name: with `/` in the prompt, and in the palette."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """An action of the chat's screen, `action_` and `action`, with the words for people."""

    name: str
    action: str
    summary: str
    keys: str = ""
    takes: str = ""
    """What may stand after the name; empty where nothing may."""


COMMANDS = (
    Command("new", "new_chat", "Begin a new chat", "Ctrl+N"),
    Command("chats", "chats", "Find, open, rename and delete chats", "Ctrl+O", "WORDS"),
    Command("rename", "rename", "Rename this chat", "", "TITLE"),
)


def find(name: str) -> Command | None:
    """The command of this name, or None."""
    return next((command for command in COMMANDS if command.name == name), None)
