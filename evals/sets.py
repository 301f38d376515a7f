"""The public sets of prompts: which file each is in, where it is had, and reading it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import TakebackError
from convert.untrusted import clean_line

_MAX_BYTES = 256 << 20
_MAX_CHARS = 200_000


@dataclass(frozen=True)
class Prompt:
    """One prompt. `number`: its row in the file, from 1; `target`: the opening an attack puts after it."""

    number: int
    text: str
    target: str = ""


@dataclass(frozen=True)
class SetFile:
    """A public set: its file in the folder of prompts, the column of the prompts, and where it is had."""

    file: str
    column: str
    where: str
    target: str = ""
    wanted: Callable[[Mapping[str, str]], bool] = lambda _: True


def _is_safe(row: Mapping[str, str]) -> bool:
    """Whether an XSTest prompt is one of the safe ones; older files tell by the type alone."""
    label = row.get("label")
    return label == "safe" if label else not row.get("type", "contrast_").startswith("contrast_")


SETS = {
    "advbench": SetFile(
        "advbench.csv",
        "goal",
        "AdvBench (Zou et al. 2023), github.com/llm-attacks/llm-attacks: columns goal and target",
        target="target",
    ),
    "malicious_instructions": SetFile(
        "malicious_instructions.csv",
        "prompt",
        "MaliciousInstructions (Bianchi et al. 2024), github.com/vinid/safety-tuned-llamas: column prompt",
    ),
    "simple_safety_tests": SetFile(
        "simple_safety_tests.csv",
        "prompts_final",
        "SimpleSafetyTests (Vidgen et al. 2023), github.com/bertiev/SimpleSafetyTests: column prompts_final",
    ),
    "mt_bench": SetFile(
        "mt_bench.csv",
        "turn1",
        "MT-Bench (Zheng et al. 2023), github.com/lm-sys/FastChat: column turn1, each question's first turn",
    ),
    "xstest": SetFile(
        "xstest.csv",
        "prompt",
        "XSTest (Röttger et al. 2023), github.com/paul-rottger/xstest: columns prompt, type, label",
        wanted=_is_safe,
    ),
}
"""The public sets, by the names that `--only` takes. Of XSTest only the safe prompts are read."""


def read_set(name: str, folder: Path, limit: int | None = None) -> list[Prompt]:
    """The prompts of a public set, at most `limit`, in the file's order.

    Raises:
        TakebackError: the file is missing, is no CSV text, lacks a column, or has an empty prompt.
    """
    known = SETS[name]
    path = folder / known.file
    if not path.is_file():
        raise TakebackError(f"{path}: no such file; it holds {known.where}")
    found = []
    for number, (line, row) in enumerate(_rows(path), 1):
        if known.wanted(row):
            text = _cell(path, line, row, known.column)
            target = _cell(path, line, row, known.target) if known.target else ""
            found.append(Prompt(number, text, target))
    return _some(path, found, limit)


def read_own(path: Path, limit: int | None = None) -> list[Prompt]:
    """The prompts of a user's own file: CSV with a column `prompt` or `goal`, else JSON lines with `prompt`.

    A column or field `prefill` that is not empty is put into the model's mouth.

    Raises:
        TakebackError: the file cannot be read, or has something else in it.
    """
    if path.suffix.lower() != ".csv":
        return read_benign(path, limit, prefills=True)
    found = []
    for number, (line, row) in enumerate(_rows(path), 1):
        text = _cell(path, line, row, "goal" if "goal" in row and "prompt" not in row else "prompt")
        target = _cell(path, line, row, "prefill") if (row.get("prefill") or "").strip() else ""
        found.append(Prompt(number, text, target))
    return _some(path, found, limit)


def read_benign(path: Path, limit: int | None = None, *, prefills: bool = False) -> list[Prompt]:
    """The prompts of a file of JSON lines, each an object with `prompt`, and with `prefills` perhaps `prefill`.

    Raises:
        TakebackError: the file cannot be read, or a line is no such object.
    """
    found = []
    for line, text in enumerate(_text(path).split("\n"), 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TakebackError(f"{path}, line {line}: not JSON: {str(error)[:100]}") from error
        prompt = value.get("prompt") if isinstance(value, dict) else None
        if not isinstance(prompt, str) or not prompt.strip():
            raise TakebackError(f'{path}, line {line}: must be an object with a "prompt" that is not empty')
        prefill = value.get("prefill") or "" if prefills else ""
        if not isinstance(prefill, str):
            raise TakebackError(f'{path}, line {line}: "prefill" must be text')
        found.append(Prompt(line, prompt, prefill))
    return _some(path, found, limit)


def _some(path: Path, found: list[Prompt], limit: int | None) -> list[Prompt]:
    if not found:
        raise TakebackError(f"{path}: no prompts in it")
    return found[:limit]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a CSV file, each with the number of the line that it ends on."""
    lines = _text(path).splitlines(keepends=True)
    reader = csv.DictReader(lines, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise TakebackError(
            f"{path}, line {reader.reader.line_num}: not a row of a CSV file: {error}"
        ) from error


def _cell(path: Path, line: int, row: Mapping[str, Any], column: str) -> str:
    if column not in row:
        names = clean_line(", ".join(str(name) for name in row if name))[:120]
        raise TakebackError(f"{path}: no column '{column}'; there is {names}")
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise TakebackError(f"{path}, line {line}: '{column}' is empty")
    if len(value) > _MAX_CHARS:
        raise TakebackError(f"{path}, line {line}: '{column}' is longer than {_MAX_CHARS:,} characters")
    return value


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise TakebackError(f"{path}: larger than 256 MiB, so it is no set of prompts")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TakebackError(f"{path}: not UTF-8 text (byte {error.start})") from error
