"""What the pages over the chat say: the keys, and what the model is sent."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from assistant.conversation.sight import Sight
from assistant.tui.commands import COMMANDS
from assistant.tui.document import Block, Document
from convert.untrusted import clean

KEY_WIDTH = 17
"""Columns."""

KEYS = (
    (
        "Write",
        (
            ("Enter", "send"),
            ("Ctrl+J", "new line; Shift+Enter too, where the terminal tells it apart"),
            ("↑ ↓", "what you said before, at the first and the last line"),
            ("/", "a command; Tab completes it"),
            ("@", "a text file to attach; Tab completes its name"),
            ("Ctrl+G", "your own editor"),
        ),
    ),
    (
        "Read",
        (
            ("PageUp PageDown", "scroll"),
            ("Ctrl+End", "to the latest, and follow it"),
            ("Shift+Tab", "to the messages; ↑ ↓ go on, Esc goes back"),
            ("e", "on a message of yours: edit it, in a new branch"),
            ("r c", "on a reply: write it again, or continue it"),
            ("← →", "on a message: its other versions"),
            ("Ctrl+C", "copy what is selected"),
        ),
    ),
    (
        "Go",
        (
            ("Esc", "stop the reply, and keep what was shown"),
            ("Ctrl+N", "new chat"),
            ("Ctrl+O", "chats: find, open, rename, delete"),
            ("Ctrl+P", "palette: all commands, and the colours"),
            ("F1", "these keys"),
            ("Ctrl+Q", "quit"),
        ),
    ),
)


def keys() -> Document:
    """All keys and commands."""
    names = tuple(
        (f"/{command.name}{' ' * bool(command.takes)}{command.takes}", command.summary)
        for command in COMMANDS
    )
    blocks: list[Block] = []
    for title, rows in (*KEYS, ("Commands", names)):
        blocks.append(Block(Content(title).stylize("bold"), gap=True))
        blocks += [
            Block(Content(what), f"{key:<{KEY_WIDTH}}", " " * KEY_WIDTH, prefix_style="$text-accent")
            for key, what in rows
        ]
    return Document(blocks)


def prompt(sight: Sight, parts: Sequence[tuple[str, bool]], context: int) -> tuple[str, Content]:
    """The title and the text of the page with the prompt. The template's own text is bold."""
    room = f"What the model is sent: {sight.tokens:,} of {context:,} tokens"
    left_out = f"; the first {sight.left_out} messages are left out" if sight.left_out else ""
    text = [(clean(part), "bold $text-accent" if own else "") for part, own in parts]
    return room + left_out, Content.assemble(*text)
