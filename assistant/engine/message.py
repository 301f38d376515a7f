"""The messages of a conversation, and reading them from a file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import TakebackError

ROLES = ("system", "user", "assistant")
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Message:
    """One message. `ids` are what a model generated for it, in the vocabulary `vocab_sha256`."""

    role: str
    content: str
    ids: tuple[int, ...] | None = None
    vocab_sha256: str | None = None


def check_messages(messages: list[Message]) -> None:
    """Raise TakebackError unless this is a conversation that waits for a reply.

    Roles come from files too, and end up in the template's own text: only known ones may pass.
    """
    if not messages:
        raise TakebackError("the conversation is empty; give it at least one user message")
    for number, message in enumerate(messages, 1):
        if message.role not in ROLES:
            raise TakebackError(
                f"message {number} has the role {message.role[:40]!r}; it must be one of {', '.join(ROLES)}"
            )
        if message.role == "system" and number > 1:
            raise TakebackError(f"message {number} is a system message; only the first may be one")
    if messages[-1].role != "user":
        raise TakebackError(f"the last message is the {messages[-1].role}'s; it must be the user's")


def load_messages(path: Path) -> list[Message]:
    """Read a JSON list of {"role", "content"} objects: a whole conversation that waits for a reply.

    Fields that are not known are passed over. Raises TakebackError that names the file and what is wrong.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise TakebackError(f"{path}: larger than 64 MiB, so it is no conversation")
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise TakebackError(f"{path}: not valid JSON: {str(error)[:120]}") from error
    if not isinstance(values, list):
        raise TakebackError(f"{path}: must be a JSON list of objects with role and content")
    messages = [_message(path, number, value) for number, value in enumerate(values, 1)]
    try:
        check_messages(messages)
    except TakebackError as error:
        raise TakebackError(f"{path}: {error}") from error
    return messages


def _message(path: Path, number: int, value: Any) -> Message:  # noqa: ANN401 (any JSON)
    if not isinstance(value, dict):
        raise TakebackError(f"{path}: message {number} is no object with role and content")
    role, content = value.get("role"), value.get("content")
    if not isinstance(role, str) or not isinstance(content, str):
        raise TakebackError(f"{path}: message {number} needs role and content, both text")
    return Message(role, content)
