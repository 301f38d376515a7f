"""How a reply is written where nothing that was written can be unsaid."""

from __future__ import annotations

from typing import TextIO

from assistant.ask_output import split_settled
from assistant.conversation.export import NAMES
from assistant.engine.events import Done, Error, Event, Reset, Text
from convert.untrusted import clean

LABEL = f"{NAMES['assistant']}: "
GOING_ON = f"{NAMES['assistant']}, going on: "
TAKEN_BACK = "[The assistant took back its draft and begins again. What stands above does not count.]"


class Voice:
    """Takes a reply's events and writes it: once it is done, or paragraph by paragraph with `stream`.

    Only the second ever writes what is taken back later, and then says so in words.
    """

    def __init__(self, output: TextIO, *, stream: bool, beginning: str = "") -> None:
        """`beginning` is known to the reader, and only what follows it is written; with `stream` all is."""
        self._output = output
        self._stream = stream
        self._beginning = beginning
        self._label = LABEL
        self._waiting = ""
        self._last = ""
        """The last character that was written of this draft."""
        self.shown_resets = 0

    @property
    def waiting(self) -> int:
        """How many characters are there and not written."""
        return len(self._waiting)

    def take(self, event: Event) -> None:
        """Write what may be written now."""
        match event:
            case Text(text):
                self._waiting += text
                if self._stream:
                    settled, self._waiting = split_settled(self._waiting, paragraphs=True)
                    self._write(settled)
            case Reset():
                self._waiting = ""
                if self._last:
                    self._end_line()
                    self._output.write(f"{TAKEN_BACK}\n")
                    self._last = ""
                    self.shown_resets += 1
                if event.discarded is not None:  # asked for before the reply
                    self._output.write(f"[Taken back: {clean(event.discarded)}]\n")
            case Done() | Error():
                if self._beginning and not self._stream and self._waiting.startswith(self._beginning):
                    self._waiting, self._label = (
                        self._waiting.removeprefix(self._beginning).lstrip(" "),
                        GOING_ON,
                    )
                self._write(self._waiting)
                self._waiting = ""
                self._end_line()
        self._output.flush()

    def _write(self, text: str) -> None:
        if text:
            self._output.write(text if self._last else self._label + text)
            self._last = text[-1]

    def _end_line(self) -> None:
        if self._last not in ("", "\n"):
            self._output.write("\n")
            self._last = "\n"
