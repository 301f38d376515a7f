"""What is chosen for one chat: a form with presets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from assistant.conversation.chosen import OF_A_CHAT
from assistant.conversation.presets import Presets, delete_preset, presets, save_preset
from assistant.described import Value
from assistant.tui.form import Form, Values
from assistant.tui.widgets.ask import AskLine
from convert.errors import TakebackError
from convert.untrusted import clean_line


class ChatForm(Form):
    """Gives back what is chosen for the chat, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "presets", "Presets", show=False),
        Binding("f3", "save_preset", "Save as a preset", show=False),
    ]
    HINT = "Ctrl+S keep   Esc leave   F2 presets   F3 save as preset"

    def __init__(self, values: Mapping[str, Value | None], unset: Mapping[str, str]) -> None:
        """`unset` says what counts where nothing is chosen."""
        super().__init__("Options of this chat", OF_A_CHAT, values, unset)

    def action_presets(self) -> None:
        """Fill the form with a preset."""
        self.app.push_screen(PresetsScreen(), self._filled)

    def action_save_preset(self) -> None:
        """Ask for a name, and store what is in the form under it."""
        try:
            values = {name: value for name, value in self.read().items() if value is not None}
        except TakebackError as error:
            self.refuse("Not saved", error)
            return

        async def save(name: str | None) -> None:
            if name:
                try:
                    self.say(f"Saved as {await asyncio.to_thread(save_preset, name, values)}")
                except TakebackError as error:
                    self.say(str(error), "$text-error")

        self.app.push_screen(AskLine("Name of the preset; one of that name is replaced"), save)

    def _filled(self, preset: tuple[str, Values] | None) -> None:
        if preset is not None:
            self.fill(preset[1])
            self.call_after_refresh(self.say, f"Filled in from {preset[0]}; Ctrl+S keeps it")


class PresetsScreen(ModalScreen[tuple[str, Values] | None]):
    """Gives back a preset and its name, or None."""

    CSS_PATH = "form.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back", show=False),
        Binding("ctrl+d", "delete", "Delete", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._presets: Presets = {}

    def compose(self) -> ComposeResult:
        """The presets, and what can be done."""
        with Vertical(classes="panel"):
            yield Static(Content("Presets").stylize("bold $text-primary"), markup=False)
            yield OptionList(markup=False)
            yield Static("", markup=False, id="said")
            yield Static("Enter use   Ctrl+D delete   Esc back", markup=False, classes="hint")

    def on_mount(self) -> None:
        """Show what there is."""
        self.query_one(OptionList).focus()
        self._fill()

    def on_option_list_option_selected(self, message: OptionList.OptionSelected) -> None:
        """That one."""
        self.dismiss(list(self._presets.items())[message.option_index])

    @work
    async def action_delete(self) -> None:
        """Delete what is marked; its values can be seen beside its name until then."""
        at = self.query_one(OptionList).highlighted
        if at is None:
            return
        name = list(self._presets)[at]
        try:
            await asyncio.to_thread(delete_preset, name)
        except TakebackError as error:
            self._say(str(error))
            return
        self._fill(f"Deleted: {name}")

    @work(exclusive=True)
    async def _fill(self, said: str = "") -> None:
        try:
            self._presets = await asyncio.to_thread(presets)
        except TakebackError as error:
            self._say(str(error))
            return
        shown = self.query_one(OptionList)
        at = shown.highlighted or 0
        shown.clear_options()
        shown.add_options([Option(_line(name, values)) for name, values in self._presets.items()])
        shown.highlighted = min(at, len(self._presets) - 1) if self._presets else None
        self._say(said or ("" if self._presets else "There are none yet: F3 in the form saves one"))

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(Content(clean_line(text)))


def _line(name: str, values: Values) -> Content:
    told = " · ".join(
        f"{setting.name.replace('_', '-')} {clean_line(str(values[setting.name]))}"
        for setting in OF_A_CHAT
        if setting.name in values
    )
    return Content.assemble(
        (name, "bold"), (f"\n  {told or 'everything as it is by default'}", "$foreground-muted")
    )
