"""Makes the drawing libraries forget what they have drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import _lru_cache_wrapper
from types import ModuleType


def forget_drawn_text() -> None:
    """Empty the caches of Rich and Textual, which keep measured pieces of text, and lines of gone widgets.

    They are found by their kind, so that a cache that a new version brings is emptied too. They fill again
    within a frame.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("rich", "textual") and module is not None:
            for cache in _caches(module):
                cache.cache_clear()


def _caches(module: ModuleType) -> Iterator[_lru_cache_wrapper[object]]:
    """The cached functions of a module and of its classes."""
    for value in list(vars(module).values()):
        if isinstance(value, _lru_cache_wrapper):
            yield value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for member in vars(value).values():
                inner = getattr(member, "__func__", member)
                if isinstance(inner, _lru_cache_wrapper):
                    yield inner
