"""The chat's end when it comes from outside: by SIGTERM, or by SIGHUP as where its terminal is closed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from textual.app import App

from assistant.signals import ignore_signals, on_signals


def end_on_signals(app: App[Any], store: Callable[[], object]) -> None:
    """Have the app end as by its own key: the terminal is as it was before, and all is stored.

    Where there is no terminal any more nothing can be drawn, and Textual would wait for that. Then `store`
    puts on the disk what is not there yet, and the program ends at once. To be called within the app's loop.
    """
    loop = asyncio.get_running_loop()

    def end(status: int) -> None:
        if not app.is_running:
            return  # it is ending
        if sys.__stdin__ is not None and os.isatty(sys.__stdin__.fileno()):
            with suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(partial(app.exit, return_code=status))
            return
        ignore_signals()  # a terminal that is closed may send several
        store()
        os._exit(status)

    on_signals(end)
