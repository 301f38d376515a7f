"""The line above the chat, which says what one talks to, and the line below it, which says what goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.selection import Selection
from textual.widgets import Static

from assistant.tui.keys import Keymap
from convert.untrusted import clean_line

COLUMNS_FOR_ALL_KEYS = 112
COLUMNS_FOR_WORDS = 64
"""Below that the stylesheet has a narrow screen."""
NEARLY_FULL = 75
"""Per cent; the rest is kept for the reply."""


class _Text(Static):
    """Plain text on one line; never parsed as markup, and no part of what is selected."""

    ALLOW_SELECT: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        super().__init__(markup=False, id=name)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Nothing, also where the whole screen is selected."""
        return None

    def show(self, *parts: tuple[str, str]) -> None:
        """Show pieces of text, each with its style."""
        self.update(
            Content.assemble(*((clean_line(text) if text.strip() else text, style) for text, style in parts))
        )


class Header(Horizontal):
    """The program, the model, and whether it takes back."""

    def compose(self) -> ComposeResult:
        """From left to right; where there is little room, the model's name is cut."""
        yield _Text("program")
        yield _Text("model")
        yield _Text("takes-back")

    def on_mount(self) -> None:
        """Before the model is known."""
        self.query_one("#program", _Text).show(("Takeback", "bold"))

    def show_model(self, name: str, takes_back: bool | None, *, off: bool = False) -> None:
        """Name the model; `takes_back` is None while it is not known, `off` where the user wants none of it."""
        answer = {None: "", True: "takes back: yes", False: "takes back: no"}[takes_back]
        if takes_back and off:
            takes_back, answer = False, "takes back: off here"
        self.query_one("#model", _Text).show((name, ""))
        self.query_one("#takes-back", _Text).show(
            (answer, "$text-success" if takes_back else "$text-warning")
        )


class StatusLine(Horizontal):
    """What goes on, how full the context is, and the keys that are of use now."""

    def compose(self) -> ComposeResult:
        """From left to right."""
        yield _Text("state")
        yield _Text("meter")
        yield _Text("keys")

    def show_state(self, text: str, style: str = "", *, unseen: int = 0, width: int = 80) -> None:
        """Say what goes on, and how many drafts of the reply were taken back before any was seen."""
        if unseen and width < COLUMNS_FOR_WORDS:
            text = f"{unseen} unseen · {text}"
        elif unseen:
            text = f"{text} · {unseen} unseen draft{'s' * (unseen > 1)} taken back"
        self.query_one("#state", _Text).show((text, style))

    def show_meter(self, tokens: int, context: int, *, width: int) -> None:
        """Say how much of the context a chat takes; nothing where the context is 0, not known."""
        if not context:
            self.query_one("#meter", _Text).show(("", ""))
            return
        percent = round(100 * tokens / context)
        text = (
            f"context {tokens:,} of {context:,}" if width >= COLUMNS_FOR_ALL_KEYS else f"context {percent} %"
        )
        self.query_one("#meter", _Text).show((text, "$text-warning" if percent >= NEARLY_FULL else ""))

    def show_keys(self, keymap: Keymap, *, writing: bool, counts: bool, width: int) -> None:
        """Name the keys that are of use while a reply is being written, or while none is, if they fit.

        Where the state `counts` drafts, it needs the room of most of them.
        """
        keys = [("stop", "stop") if writing else ("send", "send")]
        if width >= COLUMNS_FOR_ALL_KEYS:
            keys += [("new_line", "new line"), ("new_chat", "new chat"), ("quit", "quit")]
        keys += [("chats", "chats"), ("help", "keys")]
        if counts and width < COLUMNS_FOR_ALL_KEYS:
            keys = keys[:1] if writing else keys[-1:]
        self.query_one("#keys", _Text).show(*_spaced([(keymap.label(name), what) for name, what in keys]))


def _spaced(keys: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for number, (key, what) in enumerate(keys):
        yield ("   " if number else "", "")
        yield (key, "bold")
        yield (" ", "")
        yield (what, "$foreground-muted")
