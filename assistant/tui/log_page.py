"""The page with what the program has noted down, and where the file of it is."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from assistant.tui import logbook
from assistant.tui.document import Block, Document
from convert.untrusted import clean_line

SECONDS_BETWEEN_LOOKS = 0.5
LEVELS = (
    (logging.DEBUG, "everything"),
    (logging.INFO, "what happened"),
    (logging.WARNING, "warnings and errors"),
    (logging.ERROR, "errors"),
)
_STYLES = {logging.DEBUG: "$foreground-muted", logging.WARNING: "$text-warning", logging.ERROR: "$text-error"}


class LogPage(ModalScreen[None]):
    """Shown until the user has read it; it grows meanwhile, and is followed where the reader is at its end."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Back", show=False),
        Binding("l", "level", "Another level", show=False),
    ]

    def __init__(self, file: Path | None) -> None:
        super().__init__()
        self._file = file
        self._level = 1
        self._count = -1

    def compose(self) -> ComposeResult:
        """What is shown, the lines, the file, and the keys."""
        where = "No file is kept" if self._file is None else clean_line(_short(self._file))
        with Vertical(classes="panel"):
            yield Static("", markup=False, id="heading")
            with VerticalScroll():
                yield Static("", markup=False, classes="page")
            yield Static(where, markup=False, classes="hint")
            yield Static("l level   ↑ ↓ scroll   Esc back", markup=False, classes="hint")

    def on_mount(self) -> None:
        """The keys scroll."""
        self.query_one(VerticalScroll).focus()
        self._look()
        self.set_interval(SECONDS_BETWEEN_LOOKS, self._look)

    def action_level(self) -> None:
        """Show the next level, or all again."""
        self._level = (self._level + 1) % len(LEVELS)
        self._count = -1
        self._look()

    def _look(self) -> None:
        if self._count == logbook.count():
            return
        scroll = self.query_one(VerticalScroll)
        at_end = self._count < 0 or scroll.scroll_y >= scroll.max_scroll_y
        self._count = logbook.count()
        least, words = LEVELS[self._level]
        self.query_one("#heading", Static).update(Content(f"Log: {words}").stylize("bold $text-primary"))
        found = logbook.lines(least) or [(logging.DEBUG, "Nothing of this kind was noted down")]
        # A block for each: one long text would be measured anew as a whole.
        lines = [Block(Content(line).stylize(_STYLES.get(level, ""))) for level, line in found]
        self.query_one(".page", Static).update(Document(lines))
        if at_end:
            self.call_after_refresh(scroll.scroll_end, animate=False)


def _short(path: Path) -> str:
    """A path for people."""
    home = Path.home()
    return str(Path("~") / path.relative_to(home)) if path.is_relative_to(home) else str(path)
