"""Where the user writes."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from convert.untrusted import clean


class Prompt(TextArea):
    """Enter sends; Ctrl+J and, where the terminal can tell it apart, Shift+Enter begin a new line.

    Pasted text is never sent by itself, whatever line ends it has.
    """

    NEW_LINE: ClassVar = ("ctrl+j", "shift+enter", "alt+enter")

    class Sent(Message):
        """The user wants this text sent."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(placeholder="Write a message", soft_wrap=True, highlight_cursor_line=False)
        self.cursor_blink = False

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            if self.text.strip():
                self.post_message(self.Sent(self.text))
        elif event.key in self.NEW_LINE:
            event.stop()
            event.prevent_default()
            self.insert("\n")

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        self.replace(clean(text), *self.selection, maintain_selection_offset=False)
