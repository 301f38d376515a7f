"""A question that one line answers."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from convert.untrusted import clean_line


class Line(Input):
    """An input whose pasted text is fit for the screen."""

    def _on_paste(self, event: events.Paste) -> None:
        event.text = clean_line(event.text)  # the input then takes it


class AskLine(ModalScreen[str | None]):
    """Gives back the line, or None where the user does not want to answer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel", show=False)]

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question = question
        self._value = clean_line(value)

    def compose(self) -> ComposeResult:
        """The question above the line."""
        with Vertical(classes="box"):
            yield Static(self._question, markup=False)
            yield (line := Line(self._value))
            line.cursor_blink = False
            yield Static("Enter takes it, Esc does not", markup=False, classes="hint")

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """That is the answer."""
        self.dismiss(clean_line(message.value))
