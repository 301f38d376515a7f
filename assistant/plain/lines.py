"""What the user writes, line by line: messages of several lines, and pasted ones."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import TextIO

BLOCK = '"""'
"""Stands before and after a message of several lines."""

SECONDS_OF_A_PASTE = 0.05
"""Lines that come closer together than anybody types are pasted."""

_DROP = "/drop"


class Lines:
    """Reads one message after the other. On a terminal it says whose turn it is, and sees what was pasted."""

    def __init__(self, source: TextIO, ask: Callable[[str], None], tell: Callable[[str], None]) -> None:
        """`ask` writes the words before what is typed, `tell` a remark; both are for a terminal only."""
        self._source = source
        self._ask = ask
        self._tell = tell
        self.terminal = source.isatty()
        self.unfinished = ""
        """What was written of a message that the end of the input cut off."""

    def read(self, label: str) -> str | None:
        """The next message, which may be empty, or None at the end of the input.

        A line is a message. A backslash at its end goes on with the next line; `\"\"\"` begins one of several
        lines, and ends it. Lines that are pasted are one message, which an empty line sends.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was written of the message is gone.
        """
        line = self._line(label)
        if line is None:
            return None
        if line.startswith(BLOCK):
            return self._block(line.removeprefix(BLOCK))
        pasted = [line]
        while self._more_is_there() and (line := self._line("")) is not None:
            pasted.append(line)
        if len(pasted) > 1:
            return self.offer("\n".join(pasted), "pasted")
        return self._joined(pasted[0])

    def offer(self, text: str, how: str) -> str | None:
        """A message that the user has not typed: an empty line sends it, other lines are added to it."""
        lines = text.rstrip("\n").split("\n")
        while True:
            many = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
            self._tell(f"{how}: a message of {many}. Enter sends it, {_DROP} drops it, more lines are added")
            line = self._line("More: ")
            if line is None:
                self.unfinished = "\n".join(lines)
                return None
            if line.strip() == _DROP:
                return ""
            if not line.strip():
                return "\n".join(lines)
            lines.append(line)
            while self._more_is_there() and (more := self._line("")) is not None:
                lines.append(more)

    def _block(self, line: str) -> str | None:
        lines: list[str] = []
        while not line.rstrip().endswith(BLOCK):
            lines.append(line)
            following = self._line("More: ")
            if following is None:
                self.unfinished = "\n".join(lines).strip("\n")
                return None
            line = following
        lines.append(line.rstrip().removesuffix(BLOCK))
        return "\n".join(lines).strip("\n")

    def _joined(self, line: str) -> str | None:
        lines = []
        while line.endswith("\\"):
            lines.append(line.removesuffix("\\"))
            following = self._line("More: ")
            if following is None:
                self.unfinished = "\n".join(lines)
                return None
            line = following
        return "\n".join([*lines, line])

    def _line(self, label: str) -> str | None:
        if self.terminal and label:
            self._ask(label)
        line = self._source.readline()
        return line.removesuffix("\n").removesuffix("\r") if line else None

    def _more_is_there(self) -> bool:
        """Whether another line was written already. A terminal gives one line a time, so none waits unseen."""
        if not self.terminal or os.name == "nt":
            return False
        return bool(select.select([self._source], [], [], SECONDS_OF_A_PASTE)[0])
