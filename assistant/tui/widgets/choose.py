"""One of several, chosen in a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option


class Choose(ModalScreen[int | None]):
    """Gives back the place of what was chosen, from 0 on, or None. The options must be fit for the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back", show=False)]

    def __init__(self, question: str, options: Sequence[Content], marked: int = 0) -> None:
        super().__init__()
        self._marked = marked
        self._question = question
        self._options = options

    def compose(self) -> ComposeResult:
        """The question, and what there is to choose from."""
        with Vertical(classes="box"):
            yield Static(Content(self._question).stylize("bold $text-primary"), markup=False)
            yield OptionList(*(Option(option) for option in self._options), markup=False)
            yield Static("↑ ↓ Enter choose   Esc back", markup=False, classes="hint")

    def on_mount(self) -> None:
        """One is marked already."""
        self.query_one(OptionList).highlighted = self._marked
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, message: OptionList.OptionSelected) -> None:
        """That is the one."""
        self.dismiss(message.option_index)
