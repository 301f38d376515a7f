"""Options of chats under names, in one JSON file beside the config file: `{"name": {"temperature": 0.2}}`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from assistant.conversation.chosen import checked
from assistant.described import Value
from assistant.locks import FileLock, wait_for
from assistant.paths import config_file
from convert.errors import TakebackError
from convert.untrusted import clean_line
from convert.whole_file import write_text

LONGEST_NAME = 60
MOST_BYTES = 4 << 20

Presets = dict[str, dict[str, Value]]


def presets() -> Presets:
    """All presets by name, in the order of their names.

    Raises:
        TakebackError: the file cannot be read, or something in it is wrong.
    """
    path = _path()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise TakebackError(f"{path}: is larger than {MOST_BYTES >> 20} MiB; no presets are")
        read = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise TakebackError(f"{path}: not valid JSON: {str(error)[:120]}") from error
    if not isinstance(read, dict) or not all(isinstance(values, dict) for values in read.values()):
        raise TakebackError(f"{path}: must be an object of presets, each an object of settings")
    return {clean_line(name): checked(read[name], f"{path}: {clean_line(name)}") for name in sorted(read)}


def save_preset(name: str, values: Mapping[str, Value]) -> str:
    """Store a preset in the place of the one of that name, and return the name as it is stored.

    Raises:
        TakebackError: it has no name, or the file cannot be read or written.
    """
    name = clean_line(name)[:LONGEST_NAME].strip()
    if not name:
        raise TakebackError("a preset needs a name")
    with _changed() as there:
        there[name] = dict(values)
    return name


def delete_preset(name: str) -> None:
    """Delete a preset, if there is one of that name.

    Raises:
        TakebackError: the file cannot be read or written.
    """
    with _changed() as there:
        there.pop(name, None)


def _path() -> Path:
    return config_file().with_name("presets.json")


@contextmanager
def _changed() -> Iterator[Presets]:
    """The presets to be changed; they are written when all went well, and no other program does so meanwhile."""
    path = _path()
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        wait_for(lock, lambda: None)
    except OSError as error:
        raise TakebackError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        there = presets()
        yield there
        write_text(path, json.dumps(dict(sorted(there.items())), ensure_ascii=False, indent=2) + "\n")
    finally:
        lock.release()
