"""One setting in a form: its name, and what it is set to, in an editor for its type."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static, TextArea

from assistant.described import Setting, Value
from assistant.tui.widgets.ask import Line
from assistant.tui.widgets.choose import Choose
from convert.untrusted import clean, clean_line

MOST_IN_A_ROW = 4
"""Choices beyond which a list is easier than going through them."""


class Pick(Static, can_focus=True):
    """One of a few words, or none of them: the arrows and a click go on to the next."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "The one before", show=False),
        Binding("right,space", "step(1)", "The next one", show=False),
        Binding("backspace,delete", "unset", "Default", show=False),
        Binding("enter", "choose", "Choose", show=False),
    ]

    class Changed(Message):
        """Another word."""

    def __init__(self, words: tuple[str, ...], chosen: str, unset: str) -> None:
        """`chosen` is one of the words, or empty; then it shows `unset`."""
        self.words = ("", *words)
        self.chosen = chosen if chosen in words else ""
        self._unset = unset
        super().__init__(self._shown(), markup=False)

    def action_step(self, places: int) -> None:
        """Go on, round the ends."""
        self.choose(self.words[(self.words.index(self.chosen) + places) % len(self.words)])

    def action_unset(self) -> None:
        """Leave it to the program or the model."""
        self.choose("")

    def action_choose(self) -> None:
        """Choose in a list where there are many, else go on."""
        if len(self.words) <= MOST_IN_A_ROW:
            self.action_step(1)
            return
        words = [Content(word or f"{self._unset} (where nothing is set)") for word in self.words]
        self.app.push_screen(Choose("Which one?", words), self._chosen)

    def on_click(self) -> None:
        """As Enter."""
        self.action_choose()

    def choose(self, word: str) -> None:
        """Take a word, or none."""
        self.chosen = word
        self.update(self._shown())
        self.post_message(self.Changed())

    def _chosen(self, place: int | None) -> None:
        if place is not None:
            self.choose(self.words[place])

    def _shown(self) -> Content:
        word = (self.chosen, "") if self.chosen else (self._unset, "$foreground-muted")
        return Content.assemble("‹ ", word, " ›")


class Lines(TextArea):
    """A text of several lines. Tab goes on to the next field."""

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        self.replace(clean(text), *self.selection, maintain_selection_offset=False)


class Field(Horizontal):
    """A row of a form."""

    def __init__(self, setting: Setting, value: Value | None, unset: str) -> None:
        """`unset` says in its place what counts where nothing is set."""
        super().__init__(classes="lines" if setting.about.lines else "")
        self.setting = setting
        self._editor = _editor(setting, value, clean_line(unset))
        self._label = Static(setting.name.replace("_", "-"), markup=False, classes="label")

    def compose(self) -> ComposeResult:
        """The name, and the editor."""
        yield self._label
        yield self._editor

    @property
    def text(self) -> str:
        """As it was written."""
        if isinstance(self._editor, Pick):
            return self._editor.chosen
        return self._editor.text if isinstance(self._editor, Lines) else self._editor.value

    def fill(self, value: Value | None) -> None:
        """Set it to another value."""
        text = _text(value)
        if isinstance(self._editor, Pick):
            self._editor.choose(text)
        elif isinstance(self._editor, Lines):
            self._editor.text = clean(text)
        else:
            self._editor.value = clean_line(text)

    def read(self) -> Value | None:
        """What it is set to, or None.

        Raises:
            TakebackError: that is nothing that it may be.
        """
        text = self.text if self.setting.about.lines else self.text.strip()
        value: Value | None = self.setting.read(text, self.setting.name.replace("_", "-")) if text else None
        return value

    def mark(self, *, wrong: bool) -> None:
        """Show at the name whether what is written is wrong."""
        name = self.setting.name.replace("_", "-")
        self._label.update(Content.assemble((f"! {name}", "bold $text-error")) if wrong else Content(name))

    def go_here(self) -> None:
        """Let the user write here."""
        self._editor.focus()


def _editor(setting: Setting, value: Value | None, unset: str) -> Pick | Lines | Line:
    text = _text(value)
    if setting.choices or setting.kind is bool:
        return Pick(setting.choices or ("true", "false"), text, unset)
    editor: Lines | Line
    if setting.about.lines:
        editor = Lines(clean(text), placeholder=unset, soft_wrap=True, highlight_cursor_line=False)
        editor.tab_behavior = "focus"
    else:
        editor = Line(clean_line(text), placeholder=unset)
    editor.cursor_blink = False
    return editor


def _text(value: Value | None) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def field_of(widget: Widget | None) -> Field | None:
    """The row that a widget is in."""
    while widget is not None and not isinstance(widget, Field):
        widget = widget.parent if isinstance(widget.parent, Widget) else None
    return widget
