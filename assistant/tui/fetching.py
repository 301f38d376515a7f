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
        self._thread: threading.Thread | None = None
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
        before = self._thread
        self.runs = True
        self._thread = threading.Thread(
            target=self._work, args=(source, file, stop, before), name="fetching", daemon=True
        )
        self._thread.start()
        return True

    def stop(self) -> None:
        """Fetch no more; what is here is kept. The thread ends when the network lets it; nobody waits for that."""
        self._stop.set()
        self.runs = False
        self.problem = "Stopped. What was fetched is kept: the same again goes on with it"

    def _work(
        self, source: str, file: str | None, stop: threading.Event, before: threading.Thread | None
    ) -> None:
        from assistant.models.pull import pull  # noqa: PLC0415 (what the first paint need not wait for)

        def tell(what: str, done: int, total: int) -> None:
            if stop.is_set():
                raise Stopped
            if not self._step[1]:
                self._since = (time.monotonic(), done)
            self._step = (done, total)

        model, problem = None, ""
        try:
            if before is not None:
                before.join()  # it was stopped, and has what it fetched locked until it ends
            if not stop.is_set():
                model = pull(source, file, progress=tell).model
        except Stopped:
            return
        except TakebackError as error:
            problem = str(error)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if not stop.is_set():
            self.model, self.problem, self.runs = model, problem, False
            with suppress(RuntimeError):  # the program is ending
                self._ended()

    @property
    def part(self) -> float:
        """How much of it is here, from 0 to 1."""
        done, total = self._step
        return done / total if total else 0.0

    def line(self) -> str:
        """How far it is, in words."""
        done, total = self._step
        if not total:
            return f"Asking the hub for {self.what}"
        if done >= total:
            return f"Checking {self.what}"
        began, before = self._since
        seconds = time.monotonic() - began
        speed = f", {(done - before) / seconds / 1e6:.1f} MB/s" if seconds > 1 else ""
        return f"Fetching {self.what}: {100 * done // total} % of {total / 1e6:,.0f} MB{speed}"
