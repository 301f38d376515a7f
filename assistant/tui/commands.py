"""What the user can ask for by name: with `/` in the prompt, and in the palette."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """An action of the chat's screen, `action_` and `action`, with the words for people."""

    name: str
    action: str
    summary: str
    key: str = ""
    """The name of its keys, where it has some."""
    takes: str = ""
    """What may stand after the name; empty where nothing may."""


COMMANDS = (
    Command("new", "new_chat", "Begin a new chat", "new_chat"),
    Command("chats", "chats", "Find, open, rename and delete chats", "chats", "WORDS"),
    Command("rename", "rename", "Rename this chat", "", "TITLE"),
    Command("edit", "edit", "Edit your last message, in a new branch"),
    Command("again", "regenerate", "Have the last reply written again"),
    Command("continue", "continue_reply", "Go on with a reply that was cut off"),
    Command("editor", "editor", "Write the message in your own editor", "editor"),
    Command("prompt", "prompt", "Show exactly what the model is sent"),
    Command("copy", "copy_message", "Copy the last reply, or the message with the focus"),
    Command("code", "copy_code", "Copy a block of code"),
    Command("links", "links", "Open a link of the last reply, after asking"),
    Command("model", "model", "Choose this chat's model; add, fetch and remove models", "", "NAME"),
    Command("options", "options", "Set how this chat is answered: system message, temperature and more"),
    Command("preset", "preset", "Give this chat the options of a preset", "", "NAME"),
    Command("settings", "settings", "Change the settings of all chats"),
    Command("older", "older_version", "Show the version before, of a message that has several"),
    Command("newer", "newer_version", "Show the next version, of a message that has several"),
    Command("theme", "theme", "Choose the colours", "", "NAME"),
    Command("log", "log", "Show what the program has noted down", "log"),
    Command("help", "help", "Show the keys and commands", "help"),
    Command("quit", "quit", "Leave Takeback", "quit"),
)


def find(name: str) -> Command | None:
    """The command of this name, or None."""
    return next((command for command in COMMANDS if command.name == name), None)
