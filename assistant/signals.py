"""SIGTERM, and SIGHUP as where the terminal is closed: the program ends in order, as it does by Ctrl-C.

What it writes is then whole or not there, and what it started ends with it. The status is 128 and the signal's
number. A signal that was ignored when the program began stays so, as under nohup.
"""

import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

# Windows has no SIGHUP.
_NUMBERS = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]


def on_signals(end: Callable[[int], None]) -> None:
    """Have `end` called with the exit status, in the main thread, when one of them comes.

    Another thread cannot ask for this, and nothing happens there.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        end(128 + number)

    with suppress(ValueError):  # so another thread is told
        for number in _NUMBERS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handle)


def ignore_signals() -> None:
    """Let nothing cut off an end that has begun."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def leave(status: int) -> None:
    """End the program from where it is, as Ctrl-C does."""
    raise SystemExit(status)
