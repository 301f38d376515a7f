"""Puts off Python's search for garbage in all that lives: it holds the screen up, for longer the more is shown."""

from __future__ import annotations

import gc

USUAL = gc.get_threshold()
NEVER = 1_000_000_000


def put_off(*, while_busy: bool) -> None:
    """Search in what is young alone while a reply is written, and in all again when none is."""
    young, middle, old = USUAL
    gc.set_threshold(young, middle, NEVER if while_busy else old)
