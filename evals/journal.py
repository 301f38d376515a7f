"""A file of JSON lines that is only ever added to, so that a run which is killed goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from convert.errors import TakebackError

_Made = TypeVar("_Made")


class Journal:
    """Lines by their key. Each is on the disk when `add` returns; half a line that a kill left is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, dict[str, Any]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            self._read()
        except OSError as error:
            raise _unusable(path, error) from error

    def _read(self) -> None:
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                value = json.loads(line)
                self.lines[value["key"]] = value
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                self._file.close()
                raise TakebackError(
                    f"{self.path}, line {number}: not an evaluation's; remove it, or choose another --out"
                ) from error
        self._file.truncate(whole)

    def add(self, key: str, fields: dict[str, Any]) -> None:
        """Write a line and wait until it is on the disk."""
        value = {"key": key, **fields}
        try:
            self._file.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unusable(self.path, error) from error
        self.lines[key] = value

    def read(self, key: str, make: Callable[[dict[str, Any]], _Made]) -> _Made:
        """What `make` makes of the line of this key.

        Raises:
            TakebackError: the line lacks something, as one that another version wrote.
        """
        try:
            return make(self.lines[key])
        except (KeyError, TypeError) as error:
            raise TakebackError(
                f"{self.path}: the line of {key.rpartition('/')[0]} lacks {error}; "
                "it is of another version: choose another --out"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what a full disk did not take was told by `add`, and is cut off next time
            self._file.close()


def _unusable(path: Path, error: OSError) -> TakebackError:
    return TakebackError(f"{path}: cannot be written: {error.strerror or error}; choose another --out")
