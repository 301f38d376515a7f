"""A page to read, over the chat."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.visual import Visual
from textual.widgets import Static


class Page(ModalScreen[None]):
    """Shown until the user has read it. Its content must be fit for the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q", "dismiss(None)", "Back", show=False),
    ]

    def __init__(self, title: str, content: Visual) -> None:
        super().__init__()
        self._title = title
        self._content = content

    def compose(self) -> ComposeResult:
        """The title, the text, and the way back."""
        with Vertical(classes="panel"):
            yield Static(Content(self._title).stylize("bold $text-primary"), markup=False)
            with VerticalScroll():
                yield Static(self._content, markup=False, classes="page")
            yield Static("↑ ↓ scroll   Esc back", markup=False, classes="hint")

    def on_mount(self) -> None:
        """The keys scroll."""
        self.query_one(VerticalScroll).focus()
