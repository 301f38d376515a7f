"""A form of settings: each is checked as it is written, and nothing counts before all is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from assistant.described import Setting, Value, word
from assistant.settings import SETTINGS
from assistant.tui.widgets.field import Field, Pick, field_of
from convert.errors import TakebackError
from convert.untrusted import clean_line

Values = dict[str, Value]
"""What is set, by the settings' names."""


def told(values: Mapping[str, object]) -> dict[str, str]:
    """What is shown in the place of settings that are not set: these values, else what the program does."""
    shown = {}
    for name, setting in SETTINGS.items():
        value = values.get(name) if name in values else setting.about.default
        shown[name] = setting.about.unset or "not set" if value is None else word(value)
    return shown


class Form(ModalScreen[Values | None]):
    """Gives back what is set, or None where nothing is to be changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave", show=False),
        Binding("ctrl+s", "keep", "Keep", show=False, priority=True),
        Binding("up", "app.focus_previous", "Field before", show=False),
        Binding("down", "app.focus_next", "Next field", show=False),
    ]
    CSS_PATH = "form.tcss"
    HINT = "Ctrl+S keep   Esc leave   ↑ ↓ go"

    def __init__(
        self,
        title: str,
        settings: Iterable[Setting],
        values: Mapping[str, Value | None],
        unset: Mapping[str, str],
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """`unset` says what counts where a setting is not set, `notes` what else there is to know of one."""
        super().__init__()
        self._title = title
        self._notes = notes or {}
        self._refused = ""
        self._fields = {
            setting.name: Field(setting, values.get(setting.name), unset.get(setting.name, ""))
            for setting in settings
        }

    def compose(self) -> ComposeResult:
        """All settings below their headings, what the present one means, and the keys."""
        group = ""
        with Vertical(classes="panel"):
            title = Content(clean_line(self._title)).stylize("bold $text-primary")
            yield Static(title, markup=False, classes="title")
            with VerticalScroll(can_focus=False):
                for field in self._fields.values():
                    if field.setting.about.group != group:
                        first = "" if group else " first"
                        group = field.setting.about.group
                        yield Static(Content(group).stylize("bold"), markup=False, classes=f"heading{first}")
                    yield field
            yield Static("", markup=False, id="said")
            yield Static(self.HINT, markup=False, classes="hint")

    def on_mount(self) -> None:
        """The first field."""
        next(iter(self._fields.values())).go_here()

    def on_input_changed(self) -> None:
        """Check it."""
        self._changed()

    def on_text_area_changed(self) -> None:
        """Check it."""
        self._changed()

    def on_pick_changed(self, message: Pick.Changed) -> None:
        """What was said of it may be out of date."""
        self._changed()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Say what the field means."""
        self._look()

    def on_input_submitted(self) -> None:
        """On to the next field."""
        self.focus_next()

    def action_keep(self) -> None:
        """Give back what is set, if all of it may be; else go where it may not."""
        try:
            self.dismiss({name: value for name, value in self.read().items() if value is not None})
        except TakebackError as error:
            self.refuse("Not kept", error)

    def read(self) -> dict[str, Value | None]:
        """What the fields are set to.

        Raises:
            TakebackError: one cannot be that; it has the focus then.
        """
        read: dict[str, Value | None] = {}
        for name, field in self._fields.items():
            try:
                read[name] = field.read()
            except TakebackError:
                field.go_here()
                raise
        return read

    def fill(self, values: Mapping[str, Value]) -> None:
        """Set all fields anew; what is not in `values` is unset."""
        for name, field in self._fields.items():
            field.fill(values.get(name))

    def refuse(self, what: str, error: TakebackError) -> None:
        """Say that something could not be done with what is written, until it is changed."""
        self._refused = what
        self.say(f"{what}: {error}", "$text-error")

    def say(self, text: str, style: str = "") -> None:
        """Say something below the fields."""
        self.query_one("#said", Static).update(Content(clean_line(text)).stylize(style))

    def _changed(self) -> None:
        self._refused = ""
        self._look()

    def _look(self) -> None:
        """Say what the present field means, or what is wrong in it; and mark it where it is wrong."""
        field = field_of(self.focused)
        if field is None:
            return
        try:
            field.read()
        except TakebackError as error:
            field.mark(wrong=True)
            self.say(f"{self._refused}: {error}" if self._refused else str(error), "$text-error")
        else:
            field.mark(wrong=False)
            note = self._notes.get(field.setting.name)
            self.say(f"{field.setting.help}. {note}" if note else field.setting.help)
