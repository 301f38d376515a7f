"""The chats on this machine: listed, found by what was said in them, renamed, deleted and brought back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from assistant.conversation.history import History
from assistant.conversation.records import Chat
from assistant.tui.keys import Keymap, bind
from assistant.tui.widgets.ask import AskLine, Line
from convert.errors import TakebackError
from convert.untrusted import clean_line

MOST_CHATS = 500
"""More are found by their words."""


@dataclass(frozen=True)
class Opening:
    """A chat to open, and the message to go to, or None for its end."""

    chat: int
    message: int | None = None


@dataclass(frozen=True)
class _Row:
    chat: Chat
    message: int | None = None
    excerpt: str = ""


class ChatsScreen(ModalScreen[Opening | None]):
    """Gives back what the user wants to open, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back", show=False),
        Binding("up", "move(-1)", "Up", show=False, priority=True),
        Binding("down", "move(1)", "Down", show=False, priority=True),
        Binding("pageup", "move(-10)", "Up", show=False, priority=True),
        Binding("pagedown", "move(10)", "Down", show=False, priority=True),
        bind("rename", "rename", priority=True),
        bind("delete", "delete", priority=True),
        bind("undo", "undo", priority=True),
    ]

    def __init__(self, history: History, deleted: list[Chat], keymap: Keymap, words: str = "") -> None:
        """`deleted` are the chats that can be brought back, the last one deleted at its end."""
        super().__init__()
        self._history = history
        self._deleted = deleted
        self._keymap = keymap
        self._words = words
        self._rows: list[_Row] = []

    def compose(self) -> ComposeResult:
        """What to look for, what there is, and what can be done."""
        with Vertical(classes="panel"):
            yield Line(self._words, placeholder="Find in all chats")
            yield OptionList(markup=False)
            yield Static("", markup=False, id="said")
            own = "   ".join(f"{self._keymap.label(name)} {name}" for name in ("rename", "delete", "undo"))
            yield Static(f"Enter open   {own}   Esc back", markup=False, classes="hint")

    def on_mount(self) -> None:
        """Show what there is."""
        self._list.can_focus = False
        self.query_one(Input).cursor_blink = False
        self.query_one(Input).focus()
        self._fill()

    def on_input_changed(self, message: Input.Changed) -> None:
        """Look for other words."""
        self._fill()

    def on_input_submitted(self) -> None:
        """Open what is marked."""
        if (row := self._marked) is not None:
            self.dismiss(Opening(row.chat.id, row.message))

    def on_option_list_option_selected(self, message: OptionList.OptionSelected) -> None:
        """Open what was clicked."""
        row = self._rows[message.option_index]
        self.dismiss(Opening(row.chat.id, row.message))

    def action_move(self, rows: int) -> None:
        """Mark another row."""
        if self._rows:
            at = self._list.highlighted or 0
            self._list.highlighted = min(max(at + rows, 0), len(self._rows) - 1)

    def action_rename(self) -> None:
        """Ask for another title."""
        if (row := self._marked) is not None:
            self.app.push_screen(
                AskLine("Title", row.chat.title), lambda title: self._rename(row.chat, title)
            )

    async def _rename(self, chat: Chat, title: str | None) -> None:
        if title and await self._done(self._history.rename, chat.id, title):
            self._say("Renamed")
            self._fill()

    @work
    async def action_delete(self) -> None:
        """Delete the chat, so that it can be brought back until the program ends."""
        if (row := self._marked) is not None and await self._done(self._history.hide, row.chat.id):
            self._deleted.append(row.chat)
            self._say(f"Deleted: {clean_line(row.chat.title)}. {self._keymap.label('undo')} brings it back")
            self._fill()

    @work
    async def action_undo(self) -> None:
        """Bring back the chat that was deleted last."""
        if not self._deleted:
            self._say("Nothing was deleted")
        elif await self._done(self._history.bring_back, self._deleted[-1].id):
            self._say(f"Back again: {clean_line(self._deleted.pop().title)}")
            self._fill()

    async def _done(self, change: object, *values: object) -> bool:
        """Whether the store could be changed; else it says why not."""
        assert callable(change)
        try:
            await asyncio.to_thread(change, *values)
        except TakebackError as error:
            self._say(str(error))
            return False
        return True

    @work(exclusive=True, group="fill")
    async def _fill(self) -> None:
        words = self.query_one(Input).value.strip()
        try:
            rows = await asyncio.to_thread(lambda: list(_find(self._history, words)))
        except TakebackError as error:
            self._say(str(error))
            return
        if not self.query(OptionList):
            return  # the screen is being left
        at = self._list.highlighted or 0
        self._rows = rows
        self._list.clear_options()
        self._list.add_options([Option(_line(row)) for row in rows])
        self._list.highlighted = min(at, len(rows) - 1) if rows else None
        if not rows and (words or not self._deleted):  # else the line says how to bring one back
            self._say("No chat has all of these words" if words else "There are no chats yet")

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(Content(clean_line(text)))

    @property
    def _list(self) -> OptionList:
        return self.query_one(OptionList)

    @property
    def _marked(self) -> _Row | None:
        at = self._list.highlighted
        return None if at is None or at >= len(self._rows) else self._rows[at]


def _find(history: History, words: str) -> Iterator[_Row]:
    """The chats; with words, those with them in their titles, then the messages that hold them."""
    found = (
        chat
        for chat in history.chats(-1 if words else MOST_CHATS)
        if all(word in chat.title.casefold() for word in words.casefold().split())
    )
    for chat in islice(found, MOST_CHATS):
        yield _Row(chat)
    for hit in history.search(words):
        yield _Row(hit.chat, hit.message, hit.excerpt)


def _line(row: _Row) -> Content:
    when = datetime.fromtimestamp(row.chat.updated).astimezone().strftime("%Y-%m-%d")
    parts = [(f"{when}  ", "$foreground-muted"), (clean_line(row.chat.title), "bold" * (not row.excerpt))]
    if row.excerpt:
        parts.append((f"\n  {clean_line(row.excerpt)}", ""))
    return Content.assemble(*parts)
