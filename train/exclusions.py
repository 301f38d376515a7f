"""The evaluation prompts that training must stay away from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from convert.errors import TakebackError
from train.lines import fit, is_csv, objects, table

COLUMNS = ("prompt", "goal", "prompts_final", "turn1", "turn2")


def evaluation_prompts(path: Path) -> Iterator[str]:
    """The texts of an evaluation file, CSV or JSON lines: every column or field whose name says that it is a prompt.

    Raises:
        TakebackError: it cannot be read, or has none: a file that excludes nothing is a mistake.
    """
    found = False
    for where, row in table(path) if is_csv(path) else objects(path):
        for name in COLUMNS:
            if text := fit(row.get(name), where, name):
                found = True
                yield text
    if not found:
        raise TakebackError(f"{path}: has no prompts; a column or field must be named {', '.join(COLUMNS)}")
