"""A program in a pseudo-terminal: what it writes, and keys for it."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from convert.errors import TakebackError

PATIENCE = 120.0
"""Seconds to wait for what should come at once."""


class Terminal:
    """The side of a pseudo-terminal on which the user sits."""

    def __init__(self, descriptor: int, process: int) -> None:
        self._descriptor = descriptor
        self._process = process
        self.seen = b""
        """What was written since the last words that were waited for."""

    @property
    def cpu_seconds(self) -> float:
        """The processor's time that the program has used; NaN where the system does not tell."""
        try:
            fields = Path(f"/proc/{self._process}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError):
            return float("nan")

    def press(self, keys: bytes) -> None:
        """Send keys, as a terminal does."""
        os.write(self._descriptor, keys)

    def wait_for(self, words: str, seconds: float = PATIENCE) -> None:
        """Read until these words were written.

        Raises:
            TakebackError: they did not come in time, or the program ended before.
        """
        sought, end = words.encode(), time.perf_counter() + seconds
        while sought not in self.seen:
            if not self.read(end - time.perf_counter()):
                raise TakebackError(f"the program in the terminal did not write {words!r} in time")
        self.seen = self.seen.partition(sought)[2]

    def read(self, seconds: float) -> bool:
        """Read what there is, or what comes within so many seconds; whether anything was."""
        if not select.select([self._descriptor], [], [], max(0, seconds))[0]:
            return False
        try:
            piece = os.read(self._descriptor, 1 << 16)
        except OSError:  # Linux's way to say that the other side is closed
            return False
        self.seen += piece
        return bool(piece)

    def drain(self, seconds: float) -> None:
        """Read for so many seconds, as a terminal would, and forget it."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if not self.read(left):
                time.sleep(min(0.01, max(0, end - time.perf_counter())))
            self.seen = self.seen[-4096:]


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], size: tuple[int, int] = (80, 24)
) -> Iterator[Terminal]:
    """Run a program in a terminal of so many columns and rows; it is ended with the block.

    Raises:
        TakebackError: there are no pseudo-terminals here.
    """
    try:
        import pty  # noqa: PLC0415 - there is none on Windows
        import termios  # noqa: PLC0415
    except ImportError as error:
        raise TakebackError("this system has no pseudo-terminals to measure the chat in") from error
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (size[1], size[0]))
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(environment))
    os.close(theirs)
    try:
        yield Terminal(ours, child.pid)
    finally:
        child.kill()
        child.wait()
        os.close(ours)
