"""Where the user writes."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from assistant.tui.completion import Suggestion
from assistant.tui.keys import Keymap
from assistant.tui.widgets.suggestions import Suggestions
from convert.untrusted import clean


class Prompt(TextArea):
    """Enter sends; Ctrl+J and, where the terminal can tell it apart, Shift+Enter begin a new line, as it comes.

    Pasted text is never sent by itself, whatever line ends it has. While something is suggested, Tab takes it,
    the arrows choose another and Esc wants none.
    """

    class Sent(Message):
        """The user wants this text sent."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Recall(Message):
        """The user wants the text sent before the one here: `step` is 1; or after it: -1."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self, suggestions: Suggestions, keymap: Keymap) -> None:
        super().__init__(placeholder="Write a message", soft_wrap=True, highlight_cursor_line=False)
        self.cursor_blink = False
        self._suggestions = suggestions
        self._send, self._new_line = keymap.of("send"), keymap.of("new_line")

    @property
    def before_cursor(self) -> str:
        """The text up to the cursor."""
        return self.get_text_range((0, 0), self.cursor_location)

    def fill(self, text: str) -> None:
        """Put another text in, with the cursor at its end."""
        self.text = text
        self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        marked = self._suggestions.marked
        if (marked is not None and self._suggest(event.key, marked)) or self._take(event.key):
            event.stop()
            event.prevent_default()

    def _suggest(self, key: str, marked: Suggestion) -> bool:
        """Do what a key means while something is suggested; whether it means anything then."""
        if key in ("up", "down"):
            self._suggestions.move(1 if key == "down" else -1)
        elif key == "escape":
            self._suggestions.offer([])
        elif key == "tab" or (key == "enter" and marked.insert.startswith("/")):
            whole = self.text.strip() == marked.insert.strip()
            self._accept(marked)
            if key == "enter" and (whole or not self.text.endswith(" ")):
                self.post_message(self.Sent(self.text))
        else:
            return False
        return True

    def _accept(self, marked: Suggestion) -> None:
        row, column = self.cursor_location
        self.replace(marked.insert, (row, column - marked.replaces), (row, column))
        self._suggestions.offer([])

    def _take(self, key: str) -> bool:
        """Do what a key means here; whether it means anything but to the text itself."""
        if key in self._send:
            if self.text.strip():
                self.post_message(self.Sent(self.text))
        elif key in self._new_line:
            self.insert("\n")
        elif key == "up" and self.navigator.is_first_wrapped_line(self.cursor_location):
            self.post_message(self.Recall(1))
        elif key == "down" and self.navigator.is_last_wrapped_line(self.cursor_location):
            self.post_message(self.Recall(-1))
        else:
            return key == "tab"
        return True

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        self.replace(clean(text), *self.selection, maintain_selection_offset=False)
