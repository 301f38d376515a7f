"""Replies of the base that are wanted, and those that are there: one file of JSON lines, added to and never redone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convert.errors import TakebackError
from train.text import digest

_TEXTS = ("key", "prompt", "opening", "text")


@dataclass(frozen=True)
class Wanted:
    """One reply to sample: a prompt, the words the reply is made to open with, and how freely to sample."""

    prompt: str
    opening: str = ""
    temperature: float = 0.8
    max_tokens: int = 96
    system: str = ""

    @property
    def key(self) -> str:
        """What the reply is known by in the output: the same request is never sampled twice."""
        parts = (self.prompt, self.opening, f"{self.temperature:.2f}", str(self.max_tokens))
        return digest(*parts, *([self.system] if self.system else []))

    def seed(self, seed: int) -> int:
        """The seed of this reply alone, 32 bits: a resumed run draws the same."""
        return int(digest(str(seed), self.key), 16) % 2**32


def missing(wanted: Iterable[Wanted], path: Path) -> list[Wanted]:
    """What of the wanted replies is not in the file."""
    done = {line["key"] for line in read_lines(path)}
    return [item for item in wanted if item.key not in done]


def append(path: Path, replies: Iterable[tuple[Wanted, str, bool]]) -> None:
    """Add a JSON line {key, prompt, opening, temperature, text, finished} for each (wanted, text, finished).

    `text` includes the opening; `finished` tells whether the model ended by itself within max_tokens. After the
    call the lines are on the disk.
    """
    lines = []
    for item, text, finished in replies:
        line = {**asdict(item), "key": item.key, "text": text, "finished": finished}
        if not item.system:
            del line["system"]
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    try:
        with path.open("a+b") as file:
            file.write(b"\n" if _is_cut_off(file) else b"")
            file.write("".join(lines).encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TakebackError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The replies in a file written by `append`; a line cut off by a kill is passed over."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if _is_reply(value):
                    yield value
    except FileNotFoundError:
        return
    except OSError as error:
        raise TakebackError(f"cannot read {path}: {error.strerror or error}") from error


def _is_reply(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and all(isinstance(value.get(name), str) for name in _TEXTS)
        and isinstance(value.get("finished"), bool)
        and value["text"].startswith(value["opening"])
    )


def _is_cut_off(file: Any) -> bool:
    """Whether the file's last line has no end: what is added must not become part of it."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
