"""What a model's file says about itself that a user chooses by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convert.gguf_header import read_header
from convert.reset_token import read_contract
from convert.untrusted import clean_line

CANNOT = "it has no reset token, so it cannot take back what it says, and runs as an ordinary model"


@dataclass(frozen=True)
class Facts:
    """`context` is what it was trained for, in tokens, where the file says so; `note` is one line for the user."""

    context: int | None
    takes_back: bool
    note: str


def facts(path: Path) -> Facts:
    """Read them from the file's header, which takes a moment where its vocabulary is large.

    Raises:
        TakebackError: the file cannot be read, or is no sound GGUF file.
    """
    header = read_header(path)
    contract, note = read_contract(header)
    context = header.metadata.get(f"{header.metadata.get('general.architecture')}.context_length")
    return Facts(
        context if isinstance(context, int) else None,
        contract is not None,
        clean_line(note) if note else "" if contract else CANNOT,
    )
