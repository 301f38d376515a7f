"""How far a long run is, and how long it will still take, on standard error."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from convert.untrusted import clean_line

_TERMINAL_SECONDS, _PIPE_SECONDS = 0.2, 30.0


class ProgressLine:
    """A line that is redrawn on a terminal, and written anew twice a minute elsewhere.

    `done` and `total` may be in any unit that takes about the same time each.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._what = ""
        self._started = self._from = self._shown = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say how far it is. A new `what` begins a new line."""
        now = time.monotonic()
        if what != self._what:
            self.finish()
            self._what, self._started, self._from, self._shown = what, now, float(done), -_PIPE_SECONDS
        elif now - self._shown < (_TERMINAL_SECONDS if self._terminal else _PIPE_SECONDS) and done < total:
            return
        self._shown = now
        end = "" if self._terminal else "\n"
        start = "\r\x1b[K" if self._terminal else ""
        print(start + clean_line(self._line(now, done, total)), end=end, file=self._stream, flush=True)

    def _line(self, now: float, done: int, total: int) -> str:
        if total <= 0:
            return self._what
        share = f"{self._what}: {100 * done // total} %"
        fresh = done - self._from
        if fresh <= 0 or done >= total:
            return share
        return f"{share}, {_duration((now - self._started) / fresh * (total - done))} left"

    def finish(self) -> None:
        """End the line, if one is open."""
        if self._what and self._terminal:
            print(file=self._stream, flush=True)
        self._what = ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
