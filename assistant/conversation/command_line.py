"""Which texts call a command by its name, and are not said to the model."""

import re
from typing import NamedTuple

_COMMAND = re.compile(r"/([a-z]+)(?: +(\S.*))?")


class Called(NamedTuple):
    """The name of a command, and what stands after it."""

    name: str
    words: str


def called_by(text: str) -> Called | None:
    """The command that a text calls, known or not; None for a message."""
    found = _COMMAND.fullmatch(text.rstrip())
    return Called(found[1], found[2] or "") if found else None
