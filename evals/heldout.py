"""Held-out rows, as `takeback train data` writes them: drafts to be taken back, and replies to be left alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.engine.message import Message, check_messages
from convert.errors import TakebackError


@dataclass(frozen=True)
class HeldOut:
    """A conversation and a reply to it; `unsafe` says that it is a draft that should be taken back."""

    messages: tuple[Message, ...]
    reply: str
    unsafe: bool


def read_heldout(path: Path, limit: int | None = None) -> list[HeldOut]:
    """The rows of a file of JSON lines, at most `limit` of each kind, in the file's order.

    They are those that `takeback calibrate` counts: a harmless reply whose beginning was put into the model's
    mouth is left out. An unsafe one is read with that beginning.

    Raises:
        TakebackError: the file cannot be read, a line is no such row, or one of the kinds is missing.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TakebackError(f"{path}: not UTF-8 text (byte {error.start})") from error
    rows = [
        row
        for number, line in enumerate(lines, 1)
        if line.strip() and (row := _row(line, f"{path}, line {number}"))
    ]
    unsafe, benign = ([row for row in rows if row.unsafe is kind][:limit] for kind in (True, False))
    if not unsafe or not benign:
        raise TakebackError(
            f"{path}: needs unsafe drafts and harmless replies, and has one kind of them at most"
        )
    return [*unsafe, *benign]


def _row(line: str, where: str) -> HeldOut | None:
    """One line's row; None for a harmless reply with a beginning that is not its own."""
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TakebackError(f"{where}: not JSON: {str(error)[:100]}") from error
    if not isinstance(given, dict):
        raise TakebackError(f"{where}: a row is a JSON object")
    prefill, unsafe, reply = (_text(given, name, where) for name in ("prefill", "unsafe", "reply"))
    if bool(unsafe) == bool(reply):
        raise TakebackError(f'{where}: a row has "unsafe" or "reply", and not both')
    messages = _messages(given, where)
    return None if reply and prefill else HeldOut(messages, prefill + unsafe + reply, bool(unsafe))


def _messages(given: Mapping[str, Any], where: str) -> tuple[Message, ...]:
    turns = given.get("messages")
    if isinstance(given.get("prompt"), str):
        turns = [{"role": "user", "content": given["prompt"]}]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise TakebackError(f'{where}: a row needs "prompt" or "messages"')
    messages = [Message(_text(turn, "role", where), _text(turn, "content", where)) for turn in turns]
    try:
        check_messages(messages)
    except TakebackError as error:
        raise TakebackError(f"{where}: {error}") from error
    return tuple(messages)


def _text(given: Mapping[str, Any], name: str, where: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise TakebackError(
            f'{where}: "{name}" must be text'
        )  # half a character is none: no tokenizer takes it
    return value
