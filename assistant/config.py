"""Changes to the config file: what is not changed stays as it is, comments and all."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from assistant.described import Value
from assistant.settings import SETTINGS, config_path, parse_config
from convert.errors import TakebackError
from convert.untrusted import clean
from convert.whole_file import write_text


def save_settings(changes: Mapping[str, Value | None], config: Path | None = None) -> Path:
    """Set what `changes` holds, and unset what is None in it; the file is whole before and after.

    Returns the file's path.

    Raises:
        TakebackError: a value is wrong, the file is no config file, or it cannot be written.
    """
    path = (config or config_path()).resolve()  # else a link would be replaced by a file
    for name, value in changes.items():
        if value is not None:
            SETTINGS[name].read(value, name)
    # What no terminal takes is no part of a setting.
    changes = {name: clean(value) if isinstance(value, str) else value for name, value in changes.items()}
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise TakebackError(f"{path}: cannot be read: {error}") from error
    wanted = {**parse_config(text, path), **changes}
    changed = changed_text(text, changes)
    if tomllib.loads(changed) != {name: value for name, value in wanted.items() if value is not None}:
        raise TakebackError(f"{path}: cannot be changed here, as it is written in an unusual way; edit it")
    if changed != text:
        write_text(path, changed)
    return path


def changed_text(text: str, changes: Mapping[str, Value | None]) -> str:
    """A config file's text with other values; every other line stays, and a comment behind a value too."""
    left = dict(changes)
    kept: list[str] = []
    tables: list[str] = []
    for name, lines in _statements(text):
        if tables or lines.lstrip().startswith("["):
            tables.append(lines)
        elif name not in left:
            kept.append(lines)
        elif (value := left.pop(name)) is not None:
            kept.append(f"{name} = {_toml(value)}{_comment(lines)}\n")
    if kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    new = [f"{name} = {_toml(value)}\n" for name, value in left.items() if value is not None]
    return "".join(kept + new + tables)


def _statements(text: str) -> Iterator[tuple[str, str]]:
    """The pieces of a TOML text: each the name that it sets, or none, and its lines."""
    piece = ""
    for line in text.splitlines(keepends=True):
        piece += line
        try:
            values = tomllib.loads(piece)
        except tomllib.TOMLDecodeError:
            continue  # it goes on in the next line
        yield next(iter(values), ""), piece
        piece = ""
    if piece:
        yield "", piece


def _comment(lines: str) -> str:
    """The comment behind a statement's value, with the space before it."""
    value = tomllib.loads(lines)
    for found in re.finditer("[ \t]*#", lines):
        before, comment = lines[: found.start()], lines[found.start() :].rstrip("\r\n")
        try:
            if "\n" not in comment and tomllib.loads(before) == value:
                return comment
        except tomllib.TOMLDecodeError:
            continue  # a sign within the value
    return ""


def _toml(value: Value) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # JSON's strings are TOML's, but for DEL
    return json.dumps(value)
