"""Labels to be published: which reply was read as what, without a word of the prompts or the replies."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

from convert.whole_file import write_text
from evals.measures import Answers
from evals.sheet import QUESTIONS, Labels

COLUMNS = ("set", "number", "mode", "seed", "reply_sha256", "question", "label_1", "label_2")


def label_rows(answers: Answers, readers: Sequence[Labels], seed: int) -> list[tuple[str | int, ...]]:
    """One row for each labelled reply, by set, number and mode; a label that a reader did not give is empty.

    `reply_sha256` is over the reply's UTF-8 text, so whoever makes the reply again knows it by that.
    """
    found: list[tuple[str | int, ...]] = []
    for question in QUESTIONS:
        given = [getattr(labels, question) for labels in readers]
        for place in sorted({place for labels in given for place in labels}):
            probe, number, mode = place
            digest = hashlib.sha256(answers[place].text.encode("utf-8", "replace")).hexdigest()
            labels = [one.get(place, "") for one in given] + [""] * (2 - len(given))
            found.append((probe, number, mode, seed, digest, question, *labels))
    return sorted(found)


def write_labels(path: Path, rows: Sequence[tuple[str | int, ...]]) -> None:
    """Write them as a JSON list if the file is called so, else as CSV.

    Raises:
        TakebackError: the file cannot be written.
    """
    if path.suffix.lower() == ".json":
        objects = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        write_text(path, json.dumps(objects, indent=1) + "\n")
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    write_text(path, text.getvalue())
