"""SIGTERM, and SIGHUP as where the terminal is closed: the program ends in order, as it does by Ctrl-C.

What it writes is then whole or not there, and what it started ends with it. The status is 128 and the signal's
number. A signal that was ignored when the program began stays so, as under nohup.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


@contextmanager
def signals_put_off() -> Iterator[Callable[[], None]]:
    """Have signals that come in the block take effect at its end, or before where what is yielded is called.

    Python runs a handler wherever the main thread is in Python, and if that is a callback that a C library has
    called, what the handler raises is lost. Other threads are never interrupted, and nothing is done there.
    """
    before: dict[int, Callable[[int, FrameType | None], object]] = {}
    came: list[int] = []

    def heed() -> None:
        while came:
            number = came.pop(0)
            before[number](number, None)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *_NUMBERS):
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield heed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        heed()
