"""A model that is being fetched from the hub, while the user goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from convert.errors import TakebackError
from convert.untrusted import clean_line

if TYPE_CHECKING:
    from assistant.models.library import Model


class Stopped(Exception):  # noqa: N818 (no error: the user wants it)
    """The user wants no more of it fetched."""


class Fetching:
    """One at a time, in a thread of its own: one of asyncio's would keep the program from ending."""

    def __init__(self, ended: Callable[[], object]) -> None:
        """`ended` is called from that thread when a model is here, or is not to be."""
        self._ended = ended
        self.runs = False
        self._stop = threading.Event()
        self._step = (0, 0)
        self._since = (0.0, 0)
        self.what = ""
        """What is fetched, or was: for people."""
        self.model: Model | None = None
        """What came of it last."""
        self.problem = ""
        """Or what was wrong."""

    def begin(self, source: str, file: str | None) -> bool:
        """Fetch a file of a repository; whether that could begin, or another one is still under way."""
        if self.runs:
            return False
        self.what, self.model, self.problem = clean_line(file or source), None, ""
        self._step, self._since = (0, 0), (0.0, 0)
        self._stop = stop = threading.Event()

        def tell(what: str, done: int, total: int) -> None:
            if stop.is_set():
                raise Stopped
            if not self._step[1]:
                self._since = (time.monotonic(), done)
            self._step = (done, total)

        def work() -> None:
            from assistant.models.pull import pull  # noqa: PLC0415 (what the first paint need not wait for)

            try:
                self.model = pull(source, file, progress=tell).model
            except Stopped:
                self.problem = "Stopped. What was fetched is kept: the same again goes on with it"
            except TakebackError as error:
                self.problem = str(error)
            except Exception as error:
                self.problem = f"{type(error).__name__}: {error}"
            self.runs = False
            with suppress(RuntimeError):  # the program is ending
                self._ended()

        self.runs = True
        threading.Thread(target=work, name="fetching", daemon=True).start()
        return True

    def stop(self) -> None:
        """Fetch no more; what is here is kept."""
        self._stop.set()

    @property
    def part(self) -> float:
        """How much of it is here, from 0 to 1."""
        done, total = self._step
        return done / total if total else 0.0

    def line(self) -> str:
        """How far it is, in words."""
        done, total = self._step
        if self._stop.is_set():
            return "Stopping"
        if not total:
            return f"Asking the hub for {self.what}"
        if done >= total:
            return f"Checking {self.what}"
        began, before = self._since
        seconds = time.monotonic() - began
        speed = f", {(done - before) / seconds / 1e6:.1f} MB/s" if seconds > 1 else ""
        return f"Fetching {self.what}: {100 * done // total} % of {total / 1e6:,.0f} MB{speed}"
