"""A draft that was taken back and that the user asked to see."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from assistant.tui.document import Block, Document
from assistant.tui.widgets.message import clean_text, height_at, line

DRAFT_CLOSED = "▸ A draft was taken back: Enter shows it"
DRAFT_OPEN = "▾ Taken back, no part of this chat: Enter hides it"


class Draft(Static, can_focus=True):
    """It is marked, folded up until it is asked for, and never copied.

    It is in no store: where the chat is left, it is gone.
    """

    ALLOW_SELECT: ClassVar[bool] = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "open", "Show or hide", show=False),
        Binding("up", "app.focus_previous", "Message before", show=False),
        Binding("down", "app.focus_next", "Next message", show=False),
    ]

    def __init__(self, text: str) -> None:
        self._text = clean_text(text)
        self._open = False
        super().__init__(self._document(), markup=False, classes="draft")
        self.auto_links = False

    def action_open(self) -> None:
        """Show the draft, or hide it again."""
        self._open = not self._open
        self.update(self._document())

    def on_click(self) -> None:
        """The same, by the mouse."""
        self.action_open()

    def height_at(self, width: int) -> int:
        """As a message's."""
        return height_at(self, self._document(), width)

    def _document(self) -> Document:
        if not self._open:
            return Document(line(DRAFT_CLOSED, "$text-secondary"))
        head = line(DRAFT_OPEN, "$text-secondary")
        body = Block(Content(self._text).stylize("$foreground-muted"), "┊ ", "┊ ", said=False)
        return Document([*head, body])
