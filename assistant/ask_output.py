"""The four ways in which `takeback ask` writes a reply."""

import json
import os
import unicodedata
from typing import Protocol, TextIO

from assistant.engine.events import Done, Error, Event, Reset, Text, as_json

TAKEN_BACK = "Draft taken back."
_UNSAID = "[Taken back. What stands above does not count; the reply begins again here.]"
_PARAGRAPH = "\n\n"


class Output(Protocol):
    """Takes a reply's events as they come."""

    def take(self, event: Event) -> None:
        """Write what there is to write."""


class StatusLine:
    """One line of a terminal that is written over, and leaves nothing behind. Does nothing unless `shown`."""

    def __init__(self, stream: TextIO, *, shown: bool) -> None:
        self._stream = stream
        self._shown = shown
        self._now = ""

    def show(self, text: str) -> None:
        """Put this text in the place of what stood there."""
        if self._shown and text != self._now:
            self._now = text
            self._stream.write(f"\r\x1b[K{text}")
            self._stream.flush()

    def clear(self) -> None:
        """Leave the line empty."""
        self.show("")


class JsonOutput:
    """One JSON object a line, at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def take(self, event: Event) -> None:
        """Write the event."""
        self._stream.write(json.dumps(as_json(event), ensure_ascii=False) + "\n")
        self._stream.flush()


class WholeOutput:
    """The final reply in one write: nothing that was taken back can have been read."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def take(self, event: Event) -> None:
        """Write the reply when it is done; one that was cut short by the user is not written."""
        if isinstance(event, Done) and event.text and event.reason != "cancelled":
            self._stream.write(event.text.removesuffix("\n") + "\n")
            self._stream.flush()


class RunningOutput:
    """Text as it comes, or paragraph by paragraph; nothing is redrawn, so a reset is said in words."""

    def __init__(self, stream: TextIO, *, paragraphs: bool) -> None:
        self._stream = stream
        self._paragraphs = paragraphs
        self._waiting = ""
        self._last = ""  # the last character written of this draft

    def take(self, event: Event) -> None:
        """Write the event's text, or that what stands above does not count."""
        if isinstance(event, Text):
            settled, self._waiting = split_settled(self._waiting + event.text, paragraphs=self._paragraphs)
            self._write(settled)
        elif isinstance(event, Reset):
            self._waiting = ""
            if self._last:
                self._write(("" if self._last == "\n" else "\n") + _UNSAID + "\n")
                self._last = ""
        elif isinstance(event, Done):
            self._write(self._waiting)
            self._waiting = ""
            if self._last not in ("", "\n"):
                self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            self._last = text[-1]
            self._stream.write(text)
            self._stream.flush()


class TerminalOutput:
    """For a terminal: paragraphs once they are whole, erased if they are taken back.

    What has scrolled off the screen cannot be erased. Meanwhile a quiet count says that the model writes.
    """

    def __init__(self, stream: TextIO, *, paragraphs: bool) -> None:
        self._stream = stream
        self._paragraphs = paragraphs
        self._status = StatusLine(stream, shown=paragraphs)
        self._waiting = ""
        self._written = ""

    def take(self, event: Event) -> None:
        """Write a paragraph that is whole, or erase the draft."""
        if isinstance(event, Text):
            settled, self._waiting = split_settled(self._waiting + event.text, paragraphs=self._paragraphs)
            self._write(settled)
            if self._waiting:
                self._status.show(f"writing: {len(self._waiting)} characters")
        elif isinstance(event, Reset):
            self._status.clear()
            self._waiting = ""
            self._erase()
        elif isinstance(event, Done):
            self._write(self._waiting)
            self._waiting = ""
            self._status.clear()
            if self._written and not self._written.endswith("\n"):
                self._write("\n")
        elif isinstance(event, Error):
            self._status.clear()

    def _write(self, text: str) -> None:
        if text:
            self._status.clear()
            self._written += text
            self._stream.write(text)
            self._stream.flush()

    def _erase(self) -> None:
        if not self._written:
            return
        columns, lines = _terminal_size(self._stream)
        rows = min(rows_above(self._written, columns), lines - 1)
        up = f"\x1b[{rows}A" if rows else ""
        self._stream.write(f"\r{up}\x1b[J{TAKEN_BACK}\n")
        self._stream.flush()
        self._written = ""


def split_settled(text: str, *, paragraphs: bool) -> tuple[str, str]:
    """Split text into what may be written now and what waits for its paragraph's end."""
    if not paragraphs:
        return text, ""
    end = text.rfind(_PARAGRAPH)
    return (text[: end + 2], text[end + 2 :]) if end >= 0 else ("", text)


def rows_above(text: str, columns: int) -> int:
    """How many rows of a terminal of this width lie between a text's first row and the cursor after it."""
    rows = [max(1, -(-_cells(line) // columns)) for line in text.expandtabs(8).split("\n")]
    return sum(rows) - 1


def _cells(line: str) -> int:
    """How many columns a line takes: wide characters two, combining ones none."""
    wide = {"W": 2, "F": 2}
    return sum(
        0 if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me", "Cf")
        else wide.get(unicodedata.east_asian_width(c), 1)
        for c in line
    )  # fmt: skip


def _terminal_size(stream: TextIO) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24
