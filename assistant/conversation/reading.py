"""Reads a chat back from a file: Takeback's own JSON or Markdown, or a JSON list of messages."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.conversation.export import NAMES, REMARKS
from convert.errors import TakebackError

MOST_BYTES = 64 << 20

_ROLES = {name: role for role, name in NAMES.items()} | {"System": "system"}
_REASONS = {remark: reason for reason, remark in reversed(REMARKS.items())}
_HEADING = re.compile(rf"^## ({'|'.join(_ROLES)})$", re.MULTILINE)
_REMARK = re.compile(rf"\n*\*\(({'|'.join(map(re.escape, _REASONS))})\)\*\s*$")


@dataclass(frozen=True)
class Said:
    """A message of a chat that was read: `user` or `assistant`, and why a reply ended."""

    role: str
    text: str
    reason: str = ""


@dataclass(frozen=True)
class ChatRead:
    """A chat that was read. `title` is empty where the file has none."""

    title: str
    system: str | None
    messages: list[Said]


def read_chat(path: Path) -> ChatRead:
    """Read a chat.

    Markdown is read by its headings, so that a line `## You` within a message begins another one.

    Raises:
        TakebackError: the file cannot be read, or is no chat.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise TakebackError(f"{path}: larger than {MOST_BYTES >> 20} MiB, so it is no chat")
        text = path.read_bytes().decode()
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TakebackError(f"{path}: no text in UTF-8, so it is no chat") from error
    begins = text.lstrip()[:1]
    chat = _of_json(path, text) if begins in ("{", "[") else _of_markdown(text.replace("\r\n", "\n"))
    if not any(message.role == "user" for message in chat.messages):
        raise TakebackError(f"{path}: no chat: it holds no message of the user")
    return chat


def _of_markdown(text: str) -> ChatRead:
    pieces = _HEADING.split(text)
    title = re.match(r"\s*# (.*)", pieces[0])
    system, messages = None, []
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        role = _ROLES[name]
        remark = _REMARK.search(body) if role == "assistant" else None
        said = (body[: remark.start()] if remark else body).strip("\n")
        if role == "system":
            system = said
        else:
            messages.append(Said(role, said, _reason(role, _REASONS[remark[1]] if remark else "")))
    return ChatRead(title[1].strip() if title else "", system, messages)


def _of_json(path: Path, text: str) -> ChatRead:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TakebackError(f"{path}: not valid JSON: {str(error)[:120]}") from error
    whole = value if isinstance(value, dict) else {"messages": value}
    listed, title = whole.get("messages"), whole.get("title", "")
    if not isinstance(listed, list) or not isinstance(title, str):
        raise TakebackError(f"{path}: no chat: it needs messages, a list of objects with role and content")
    system, messages = None, []
    for number, message in enumerate(listed, 1):
        role, content, reason = _fields(path, number, message)
        if role != "system":
            messages.append(Said(role, content, _reason(role, reason)))
        elif number == 1:
            system = content
        else:
            raise TakebackError(f"{path}: message {number} is a system message; only the first may be one")
    return ChatRead(title, system, messages)


def _fields(path: Path, number: int, message: Any) -> tuple[str, str, str]:  # noqa: ANN401 (any JSON)
    if not isinstance(message, dict):
        raise TakebackError(f"{path}: message {number} is no object with role and content")
    role, content, reason = message.get("role"), message.get("content"), message.get("reason", "")
    if not isinstance(role, str) or role not in _ROLES.values() or not isinstance(content, str):
        raise TakebackError(
            f"{path}: message {number} needs content, which is text, and a role: {', '.join(_ROLES.values())}"
        )
    return role, content, reason if isinstance(reason, str) else ""


def _reason(role: str, reason: str) -> str:
    """Why a message ended; a reply that says nothing of it, or nothing known, simply ended."""
    if role == "user":
        return ""
    return reason if reason in REMARKS else "stop"
