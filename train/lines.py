"""Lines of a data file, plain or gzip: one at a time and never an endless one, whatever the file holds."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

from convert.errors import TakebackError

LONGEST = 16 << 20
"""Bytes of one line; the largest tree of a public set is far below."""
MOST = 8 << 30
"""Bytes of a whole file, unpacked: a small gzip file may hold any number of them."""


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line with its number from 1, its end included. What is gzip is told by its first bytes.

    Raises:
        TakebackError: the file cannot be read, is damaged, is not UTF-8, or has a line or a size beyond the bounds.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            with gzip.GzipFile(fileobj=raw) if packed else nullcontext(raw) as file:
                yield from _bounded(path, file)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise TakebackError(f"cannot read {path}: {why}") from error


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each JSON object of a file of JSON lines, with the words that name its place; blank lines are passed over.

    Raises:
        TakebackError: as `lines`, and for a line that is no JSON object.
    """
    for number, line in lines(path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TakebackError(f"{where}: not JSON: {str(error)[:100]}") from error
        if not isinstance(value, dict):
            raise TakebackError(f"{where}: must be a JSON object")
        yield where, value


def table(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of a CSV file by the names of its first line, with the words that name its place.

    Raises:
        TakebackError: as `lines`, and for text that is no CSV, a name that comes twice, too many or too few cells.
    """
    reader = csv.reader((line for _, line in lines(path)), strict=True)
    names: list[str] = []
    try:
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if not cells:
                continue
            if not names:
                names = [cell.strip() for cell in cells]
                if len(set(names)) < len(names):
                    raise TakebackError(f"{where}: two columns have one name")
                continue
            if len(cells) != len(names):
                raise TakebackError(f"{where}: has {len(cells)} cells, and its first line names {len(names)}")
            yield where, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise TakebackError(f"{path}, line {reader.line_num}: not CSV: {error}") from error


def is_csv(path: Path) -> bool:
    """Whether the name says that it is CSV; everything else is read as JSON lines."""
    return path.name.lower().endswith((".csv", ".csv.gz"))


def fit(value: object, where: str, name: str) -> str:
    """A value of a file that must be text which UTF-8 can hold; None counts as empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TakebackError(f'{where}: "{name}" must be text')
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise TakebackError(f'{where}: "{name}" has half of a character in it')
    return value


def _bounded(path: Path, file: IO[bytes] | gzip.GzipFile) -> Iterator[tuple[int, str]]:
    number = total = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        total += len(line)
        where = f"{path}, line {number}"
        if len(line) > LONGEST:
            raise TakebackError(
                f"{where}: longer than {LONGEST >> 20} MiB, so it is no data file of this kind"
            )
        if total > MOST:
            raise TakebackError(f"{where}: the file is larger than {MOST >> 30} GiB; cut it into pieces")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise TakebackError(f"{where}: not UTF-8 text") from error
        yield number, text.removeprefix("\ufeff") if number == 1 else text
