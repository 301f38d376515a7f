"""What the user can ask for by name in the line mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from assistant.conversation.command_line import called_by
from assistant.plain import chats, model, replies
from assistant.plain.talk import Talk
from convert.errors import TakebackError


class Command(NamedTuple):
    """A command, what it does, and what may stand after its name; empty where nothing may."""

    name: str
    run: Callable[..., None]
    summary: str
    takes: str = ""


def quit_talk(talk: Talk) -> None:
    """Leave."""
    talk.ended = True


def show_help(talk: Talk) -> None:
    """Say what can be written."""
    for line in _HELP:
        talk.say(line)
    for command in COMMANDS:
        takes = f" [{command.takes}]" if command.takes else ""
        talk.say(f"/{command.name}{takes}: {command.summary}")


_HELP = (
    "A line is a message. A backslash at its end goes on with the next line.",
    '""" begins a message of several lines, and ends it.',
    "Pasted lines are one message; an empty line sends it.",
    "@FILE in a message attaches a text file.",
    "Ctrl-C stops a reply and keeps what is settled of it. Ctrl-D, or Ctrl-C twice, leaves.",
)

COMMANDS = (
    Command("new", chats.new, "begin a new chat"),
    Command("chats", chats.list_chats, "list the chats, or find those with these words", "WORDS"),
    Command("search", chats.list_chats, "find messages in all chats", "WORDS"),
    Command("open", chats.open_chat, "open a chat, or go to a message that was found", "CHAT MESSAGE"),
    Command("show", chats.show, "read this chat's last messages with their numbers", "HOW MANY, or all"),
    Command("rename", chats.rename, "give this chat another title", "TITLE"),
    Command("delete", chats.delete, "delete this chat, or another one", "CHAT"),
    Command("undo", chats.undo, "bring back the chat that was deleted last"),
    Command("export", chats.export, "write this chat as Markdown, or as JSON into FILE.json", "FILE"),
    Command("import", chats.take_in, "store a chat that was exported, and open it", "FILE"),
    Command("edit", replies.edit, "say your last message anew, or another one, in a new branch", "MESSAGE"),
    Command("leave", replies.leave, "leave a message as it is, after /edit"),
    Command("editor", replies.editor, "write the message in your own editor"),
    Command("send", replies.send_unsent, "send what was written before and not sent"),
    Command("again", replies.again, "have the last reply written again, or another one", "MESSAGE"),
    Command("continue", replies.go_on, "go on with a reply that was cut off"),
    Command("older", replies.older, "go to the version before, of a message that has several", "MESSAGE"),
    Command("newer", replies.newer, "go to the next version, of a message that has several", "MESSAGE"),
    Command("model", model.choose_model, "list the models, or have this chat answered by another", "NAME"),
    Command("system", model.system, "say this chat's system message, or change it; - for none", "TEXT"),
    Command("temperature", model.temperature, "say this chat's temperature, or change it", "NUMBER"),
    Command("options", model.options, "say what is chosen for this chat's replies, or choose", "NAME VALUE"),
    Command("preset", model.preset, "list the presets, or give this chat the options of one", "NAME"),
    Command("prompt", model.prompt, "show exactly what the model is sent"),
    Command("help", show_help, "say all this"),
    Command("quit", quit_talk, "leave"),
)


def obey(talk: Talk, text: str) -> bool:
    """Do what a text asks for by name; whether it is a command at all.

    Raises:
        TakebackError: there is no such command, or it cannot be done.
    """
    called = called_by(text)
    if called is None:
        return False
    command = next((command for command in COMMANDS if command.name == called.name), None)
    if command is None:
        raise TakebackError(
            f"there is no /{called.name}; with a space before it, it is sent. /help lists all"
        )
    if called.words and not command.takes:
        raise TakebackError(f"nothing may follow /{command.name}; with a space before it, it is sent")
    command.run(talk, *([called.words] if command.takes else []))
    return True
