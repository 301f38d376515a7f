"""Calls that must not come too often."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Makes a call at most so many times a second; the last one asked for always comes."""

    def __init__(
        self,
        call: Callable[[], None],
        per_second: float,
        set_timer: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._call = call
        self._seconds = 1 / per_second
        self._set_timer = set_timer
        self._called_at = 0.0
        self._waits = False

    def soon(self) -> None:
        """Make the call now, or when its turn comes."""
        if self._waits:
            return
        wait = self._called_at + self._seconds - time.monotonic()
        if wait <= 0:
            self._make()
        else:
            self._waits = True
            self._set_timer(wait, self._make)

    def _make(self) -> None:
        self._waits = False
        self._called_at = time.monotonic()
        self._call()
