"""A question with yes or no."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from convert.untrusted import clean_line


class Confirm(ModalScreen[bool]):
    """Gives back whether the user wants it. What changes nothing is marked first, and Esc is that."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "dismiss(False)", "No", show=False),
        Binding("y", "dismiss(True)", "Yes", show=False),
    ]

    def __init__(self, question: str, yes: str, no: str) -> None:
        super().__init__()
        self._question = clean_line(question)
        self._answers = (no, yes)

    def compose(self) -> ComposeResult:
        """The question and the two answers."""
        with Vertical(classes="box"):
            yield Static(Content(self._question).stylize("bold $text-primary"), markup=False)
            yield OptionList(*(Option(Content(answer)) for answer in self._answers), markup=False)
            yield Static("Enter choose   y yes   Esc no", markup=False, classes="hint")

    def on_mount(self) -> None:
        """On the side that changes nothing."""
        self.query_one(OptionList).highlighted = 0
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, message: OptionList.OptionSelected) -> None:
        """That is the answer."""
        self.dismiss(message.option_index == 1)
