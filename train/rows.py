"""Training rows: what a line of a data file may say, and the one clear line that names a bad one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from convert.errors import TakebackError
from convert.whole_file import write_text

_T = TypeVar("_T")

Messages: TypeAlias = tuple[Mapping[str, str], ...]
"""A conversation whose last turn is the user's, each with its role and content."""


@dataclass(frozen=True)
class Row:
    """One line of training data.

    A safety row has `unsafe` (a draft that should be taken back) and `safe` (what should be said instead); a
    benign row has `reply`. `prefill` opens the draft or the reply and is context only. `finished` is False where
    the reply was cut off, so that its end is not taught.
    """

    messages: Messages
    unsafe: str = ""
    safe: str = ""
    reply: str = ""
    prefill: str = ""
    finished: bool = True

    @property
    def is_safety(self) -> bool:
        """Whether the row teaches a reset."""
        return bool(self.unsafe)


def load_rows(path: Path) -> list[Row]:
    """Read a file of JSON lines. Raises TakebackError that names the first bad line and what it lacks."""
    return _load(path, _row)


def load_prompts(path: Path) -> list[Messages]:
    """The prompts alone of a file of JSON lines, whatever else a line says. Raises TakebackError likewise."""
    return _load(path, lambda line, where: _messages(_object(line, where), where))


def _load(path: Path, read: Callable[[str, str], _T]) -> list[_T]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TakebackError(f"cannot read the data file {path}: {error}") from error
    rows = [
        read(line, f"{path}, line {number}")
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]
    if not rows:
        raise TakebackError(f"{path} holds no rows")
    return rows


def save_rows(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write rows as JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, for the training record."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TakebackError(f"{where}: not JSON ({getattr(error, 'msg', error)})") from error
    if not isinstance(given, dict):
        raise TakebackError(f"{where}: a row is a JSON object")
    return given


def _row(line: str, where: str) -> Row:
    given = _object(line, where)
    messages = _messages(given, where)
    words = {name: _string(given, name, where) for name in ("unsafe", "safe", "reply", "prefill")}
    if not ((words["unsafe"] and words["safe"]) or words["reply"]):
        raise TakebackError(f'{where}: a row needs "unsafe" and "safe", or "reply"')
    if words["unsafe"] and words["reply"]:
        raise TakebackError(f'{where}: a row has "unsafe" or "reply", not both')
    return Row(messages, finished=given.get("finished") is not False, **words)


def _messages(given: Mapping[str, Any], where: str) -> Messages:
    if isinstance(given.get("prompt"), str) and _string(given, "prompt", where).strip():
        return ({"role": "user", "content": given["prompt"]},)
    turns = given.get("messages")
    if not isinstance(turns, list) or not turns:
        raise TakebackError(f'{where}: a row needs "prompt" or "messages"')
    for turn in turns:
        if not isinstance(turn, dict) or not all(
            isinstance(turn.get(key), str) for key in ("role", "content")
        ):
            raise TakebackError(f'{where}: every message needs "role" and "content"')
    if turns[-1]["role"] != "user":
        raise TakebackError(f"{where}: the last message must be the user's")
    return tuple(
        {"role": _string(turn, "role", where), "content": _string(turn, "content", where)} for turn in turns
    )


def _string(given: Mapping[str, Any], name: str, where: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise TakebackError(f'{where}: "{name}" must be text')
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise TakebackError(f'{where}: "{name}" has half of a character in it')  # no tokenizer takes it
    return value
