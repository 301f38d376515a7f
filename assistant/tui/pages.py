"""What the pages over the chat say: the keys, and what the model is sent."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from assistant.conversation.sight import Sight
from assistant.tui.commands import COMMANDS
from assistant.tui.document import Block, Document
from assistant.tui.keys import KEYS, MESSAGE, Keymap, shown
from convert.untrusted import clean

KEY_WIDTH = 17
"""Columns."""

OWN_KEYS = """\
Keys of your own go into the config file, below the line [keys], as in new_chat = "ctrl+t". """

PAGE = (
    (
        "Write",
        (
            "send",
            "new_line",
            ("↑ ↓", "what you said before, at the first and the last line"),
            ("/", "a command; Tab completes it"),
            ("@", "a text file to attach; Tab completes its name"),
            "editor",
        ),
    ),
    (
        "Read",
        ("page_up", "page_down", "latest", ("Mouse", "scroll, select, or ask about an address"), "interrupt"),
    ),
    (
        "On a message",
        (
            ("Shift+Tab", "to the messages; ↑ ↓ go on, Esc goes back"),
            *(name for name, key in KEYS.items() if key.place == MESSAGE),
        ),
    ),
    ("Go", ("stop", "new_chat", "chats", "palette", "log", "help", "quit")),
)
"""Headings with rows: an action's name, or keys that are the same for all, with what they do."""


def keys(keymap: Keymap) -> Document:
    """All keys, as they are now, and all commands."""
    blocks: list[Block] = []
    for title, rows in PAGE:
        blocks.append(Block(Content(title).stylize("bold"), gap=True))
        blocks += [_row(*(_action(row, keymap) if isinstance(row, str) else row)) for row in rows]
    blocks.append(Block(Content("Commands").stylize("bold"), gap=True))
    blocks += [
        _row(f"/{command.name}{' ' * bool(command.takes)}{command.takes}", command.summary)
        for command in COMMANDS
    ]
    blocks.append(Block(Content(OWN_KEYS), gap=True))
    return Document(blocks)


def _action(name: str, keymap: Keymap) -> tuple[str, str]:
    first, *others = [shown(key) for key in keymap.of(name)]
    return first, KEYS[name].words + (f"; also {', '.join(others)}" if others else "")


def _row(key: str, words: str) -> Block:
    return Block(Content(words), f"{key:<{KEY_WIDTH}}", " " * KEY_WIDTH, prefix_style="$text-accent")


def prompt(sight: Sight, parts: Sequence[tuple[str, bool]], context: int) -> tuple[str, Content]:
    """The title and the text of the page with the prompt. The template's own text is bold."""
    room = f"What the model is sent: {sight.tokens:,} of {context:,} tokens"
    left_out = f"; the first {sight.left_out} messages are left out" if sight.left_out else ""
    text = [(clean(part), "bold $text-accent" if own else "") for part, own in parts]
    return room + left_out, Content.assemble(*text)
