"""Asks before an address is opened: it shows all of it, and where it leads."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from assistant.tui.links import SCHEMES, leads_to, openable
from convert.untrusted import clean_line

Wish = Literal["open", "copy"]


class AskLink(ModalScreen[Wish | None]):
    """Gives back what the user wants done with an address, or None: neither."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "dismiss(None)", "Neither", show=False),
        Binding("y", "open", "Open", show=False),
        Binding("c", "dismiss('copy')", "Copy", show=False),
    ]

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = clean_line(address)
        self._openable = openable(address)

    def compose(self) -> ComposeResult:
        """The question, the whole address, and the keys."""
        question = "Open this in your browser?" if self._openable else "This is not opened from here"
        where = (
            Content.assemble("It leads to ", (clean_line(leads_to(self._address)), "bold"))
            if self._openable
            else Content(f"Only complete addresses of {', '.join(SCHEMES)} are.")
        )
        keys = "y open   c copy   Esc neither" if self._openable else "c copy   Esc back"
        with Vertical(classes="box"):
            yield Static(Content(question).stylize("bold $text-primary"), markup=False)
            with VerticalScroll(id="address"):
                yield Static(Content(self._address), markup=False)
            yield Static(where, markup=False)
            yield Static(keys, markup=False, classes="hint")

    def on_mount(self) -> None:
        """The keys count at once."""
        self.query_one(VerticalScroll).focus()

    def action_open(self) -> None:
        """Only an address that may be."""
        if self._openable:
            self.dismiss("open")
