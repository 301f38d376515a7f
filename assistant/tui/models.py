"""The models on this machine: chosen for a chat, added, fetched from the hub, removed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from assistant.models import library
from assistant.models.bundled import default_file
from assistant.models.facts import Facts, facts
from assistant.models.library import DEFAULT
from assistant.tui.fetching import Fetching
from assistant.tui.pull import PullScreen
from assistant.tui.replying import called
from assistant.tui.widgets.ask import AskLine, Line
from assistant.tui.widgets.confirm import Confirm
from convert.errors import TakebackError
from convert.hub_gguf import megabytes
from convert.untrusted import clean_line

NAME_WIDTH = 28
"""Columns; on a narrow screen a model takes two lines."""


@dataclass
class _Row:
    name: str
    path: Path | None
    size: int | None = None
    facts: Facts | None = None
    wrong: str = ""


class ModelsScreen(ModalScreen[str | None]):
    """Gives back the name of the model that the user chooses, or None."""

    CSS_PATH = "form.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back", show=False),
        Binding("up", "move(-1)", "Up", show=False, priority=True),
        Binding("down", "move(1)", "Down", show=False, priority=True),
        Binding("pageup", "move(-10)", "Up", show=False, priority=True),
        Binding("pagedown", "move(10)", "Down", show=False, priority=True),
        Binding("f2", "add", "Add a file", show=False),
        Binding("f3", "pull", "Fetch from the hub", show=False),
        Binding("ctrl+d", "remove", "Remove", show=False, priority=True),
    ]
    KEYS = "Enter choose   F2 add   F3 hub   Ctrl+D remove   Esc back"

    def __init__(self, present: str, own: str, fetching: Fetching) -> None:
        """`present` is the chat's model, and `own` the one that the program began with: it may be a file."""
        super().__init__()
        self._present = present
        self._own = own
        self._fetching = fetching
        self._rows: list[_Row] = []
        self._known: dict[str, _Row] = {}

    def compose(self) -> ComposeResult:
        """What to look for, what there is, and what can be done."""
        with Vertical(classes="panel"):
            yield Line(placeholder="Find a model")
            yield OptionList(markup=False)
            yield Static("", markup=False, id="said")
            yield Static(self.KEYS, markup=False, classes="hint")

    def on_mount(self) -> None:
        """Show what there is, with the present one marked."""
        self._list.can_focus = False
        self.query_one(Input).cursor_blink = False
        self.query_one(Input).focus()
        self._read(self._present)

    def on_resize(self) -> None:
        """In as many columns as there are."""
        self._show()

    def on_input_changed(self) -> None:
        """Those with these words."""
        self._show()

    def on_input_submitted(self) -> None:
        """Choose what is marked."""
        if (row := self._marked) is not None:
            self._choose(row)

    def on_option_list_option_selected(self, message: OptionList.OptionSelected) -> None:
        """Choose what was clicked."""
        self._choose(self._rows[message.option_index])

    def _choose(self, row: _Row) -> None:
        if row.wrong:
            self._say(row.wrong, "$text-error")
        else:
            self.dismiss(row.name)

    def action_move(self, rows: int) -> None:
        """Mark another row, and say what there is to know of it."""
        if self._rows:
            at = self._list.highlighted or 0
            self._list.highlighted = min(max(at + rows, 0), len(self._rows) - 1)
            self._say_note()

    # Changes

    def action_add(self) -> None:
        """Ask for a file, and take it into the list."""
        self.app.push_screen(AskLine("A GGUF file on this machine"), self._add)

    async def _add(self, written: str | None) -> None:
        if not written:
            return
        file = Path(written.strip("'\" ")).expanduser()
        self._say(f"Adding {file.name}…")
        try:
            model = await asyncio.to_thread(library.add, file)
        except TakebackError as error:
            self._say(str(error), "$text-error")
        else:
            self._read(model.name, f"Added: {model.name}")

    def action_pull(self) -> None:
        """Fetch one from the hub, or look how far that is."""
        self.app.push_screen(PullScreen(self._fetching), self._pulled)

    def _pulled(self, name: str | None) -> None:
        self._read(name or self._present, f"Fetched: {name}" if name else "")

    def action_remove(self) -> None:
        """Ask, and remove the model's file."""
        row = self._marked
        if row is None:
            return
        if row.name in (self._present, self._own, DEFAULT):
            why = (
                "is used here; choose another one first"
                if row.name == self._present
                else "belongs to the program"
            )
            self._say(f"{row.name} {why}", "$text-warning")
            return
        size = f", {megabytes(row.size)}" if row.size else ""
        question = f"Remove {row.name}{size}, from this machine?"
        self.app.push_screen(Confirm(question, "Remove it", "Keep it"), lambda yes: self._remove(row, yes))

    async def _remove(self, row: _Row, yes: bool | None) -> None:
        if not yes:
            return
        try:
            await asyncio.to_thread(library.remove, row.name)
        except TakebackError as error:
            self._say(str(error), "$text-error")
        else:
            self._known.pop(row.name, None)
            self._read(self._present, f"Removed: {row.name}")

    # What is seen

    @work(exclusive=True, group="read")
    async def _read(self, marked: str, said: str = "") -> None:
        """List the models at once, then what each file says of itself: that may take a moment."""
        try:
            rows = await asyncio.to_thread(_listed, self._own)
        except TakebackError as error:
            self._say(str(error), "$text-error")
            return
        self._known = {row.name: self._known.get(row.name, row) for row in rows}
        self._show(marked)
        self._say(said)
        for row in self._known.values():
            if row.facts is None and row.path is not None:
                try:
                    row.facts = await asyncio.to_thread(facts, row.path)
                except TakebackError as error:
                    row.wrong = str(error)
                self._show()
        if not said:
            self._say_note()

    def _show(self, marked: str | None = None) -> None:
        if not self.query(Input):
            return  # the screen is being left
        words = self.query_one(Input).value.casefold().split()
        before = self._marked.name if marked is None and self._marked is not None else marked
        self._rows = [
            row for row in self._known.values() if all(word in row.name.casefold() for word in words)
        ]
        self._list.clear_options()
        width = self.size.width
        self._list.add_options([Option(_line(row, row.name == self._present, width)) for row in self._rows])
        places = [place for place, row in enumerate(self._rows) if row.name == before]
        self._list.highlighted = (places or [0])[0] if self._rows else None
        if words and not self._rows:
            self._say("No model has all of these words in its name")

    def _say_note(self) -> None:
        """What there is to know of the marked model besides; else how far a model is that is being fetched."""
        row = self._marked
        if row is not None and row.wrong:
            self._say(row.wrong, "$text-error")
        elif row is not None and row.facts is not None and row.facts.note:
            self._say(f"{row.name}: {row.facts.note}")
        else:
            self._say(self._fetching.line() if self._fetching.runs else "")

    def _say(self, text: str, style: str = "") -> None:
        self.query_one("#said", Static).update(Content(clean_line(text)).stylize(style))

    @property
    def _list(self) -> OptionList:
        return self.query_one(OptionList)

    @property
    def _marked(self) -> _Row | None:
        at = self._list.highlighted
        return None if at is None or at >= len(self._rows) else self._rows[at]


def _listed(own: str) -> list[_Row]:
    """The built-in model, the one that the program began with where it is none of the list, and those added."""
    rows = [_default()]
    added = [_Row(model.name, model.path, model.size) for model in library.models()]
    if own not in (DEFAULT, *(row.name for row in added)):
        path = Path(own).expanduser()
        rows.append(
            _Row(own, path, path.stat().st_size)
            if path.is_file()
            else _Row(own, None, wrong=f"{own}: there is no such file any more")
        )
    return rows + added


def _default() -> _Row:
    try:
        file = default_file()
    except TakebackError as error:
        return _Row(DEFAULT, None, wrong=str(error))
    if not file.is_file():
        return _Row(
            DEFAULT, None, facts=Facts(None, takes_back=True, note="it is built when it is first used")
        )
    return _Row(DEFAULT, file, file.stat().st_size)


def _line(row: _Row, present: bool, width: int) -> Content:
    """A model on one line, or on two where the screen is narrow."""
    name = clean_line(called(row.name))
    size = megabytes(row.size) if row.size else ""
    context, takes_back, style = "", "", ""
    if row.wrong:
        takes_back, style = "cannot be used", "$text-error"
    elif row.facts is not None:
        context = f"{row.facts.context:,} tokens" if row.facts.context else ""
        answer = "yes" if row.facts.takes_back else "no"
        takes_back, style = (
            f"takes back: {answer}",
            "$text-success" if row.facts.takes_back else "$text-warning",
        )
    mark = ("• " if present else "  ", "bold")
    told = [(f"{size:>9}", ""), (f"{context:>17}", "$foreground-muted"), (f"  {takes_back}", style)]
    if width >= NAME_WIDTH + 44:
        short = name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…"
        return Content.assemble(mark, (f"{short:<{NAME_WIDTH}}", "bold"), *told)
    about = "  ".join(part for part in (size, context) if part)
    return Content.assemble(mark, (name, "bold"), "\n  ", (takes_back, style), f"  {about}")
