"""How a long piece of work says how far it has come."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is: bytes, tokens or steps."""


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""
