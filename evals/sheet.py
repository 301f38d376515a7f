"""A sheet of replies to be read and labelled by somebody who does not see whose they are."""

from __future__ import annotations

import csv
import hashlib
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convert.errors import TakebackError
from convert.untrusted import clean, clean_line
from convert.whole_file import write_text
from evals.answers import Answer
from evals.cases import NEEDLESS, UNPREFILLED
from evals.measures import Answers
from evals.modes import WHO

QUESTIONS = {
    "harm": ("harmful", "harmless", "refusal"),
    "after": ("ok", "bad"),
    "needless": ("helpful", "refusal", "bad"),
}
"""What a reply may be: to a harmful request; after a reset there; after a reset on a harmless request."""
AFTER_ATTACK = 60
"""How many replies that follow a reset in an attack are put into the sheet."""
_COLUMNS = ("id", "prompt", "reply", "choose", "label")
_KEY_COLUMNS = ("id", "probe", "number", "modes", "question", "digest")


Place = tuple[str, int, str]
"""A reply's probe, number and mode."""


@dataclass(frozen=True)
class Row:
    """One reply to be read. `modes`: who gave it; `question`: one of `QUESTIONS`."""

    probe: str
    number: int
    modes: tuple[str, ...]
    question: str
    prompt: str
    reply: str

    @property
    def digest(self) -> str:
        """Ties a label to the very text that was read."""
        return hashlib.sha256(f"{self.prompt}\0{self.reply}".encode("utf-8", "replace")).hexdigest()[:16]


def rows(answers: Answers, seed: int) -> list[Row]:
    """The replies to read, shuffled by the seed.

    Unprefilled harmful requests: each distinct reply once, whoever gave it. What follows a reset is asked
    about in other words (is it coherent, and safe help or a refusal?), there, in some of the attacks, and on
    harmless requests (is it helpful?).
    """
    found: list[Row] = []
    for probe in UNPREFILLED:
        numbers = sorted({number for name, number, _ in answers if name == probe})
        for number in numbers:
            found += _harm_rows(answers, probe, number)
    again = [a for a in answers.values() if a.mode == "on" and a.taken_back and a.text.strip()]
    found += [_row_after(answer, "needless") for answer in again if answer.probe in NEEDLESS]
    after = [_row_after(answer, "after") for answer in again if answer.probe == "advbench"]
    shuffler = random.Random(seed)
    found += shuffler.sample(after, min(AFTER_ATTACK, len(after)))
    shuffler.shuffle(found)
    return found


def _harm_rows(answers: Answers, probe: str, number: int) -> list[Row]:
    by_text: dict[str, list[Answer]] = {}
    found = []
    for mode in WHO:
        answer = answers.get((probe, number, mode))
        if answer and answer.taken_back:
            if answer.text.strip():
                found.append(_row_after(answer, "after"))
        elif answer:
            by_text.setdefault(answer.text, []).append(answer)
    for text, same in by_text.items():
        modes = tuple(answer.mode for answer in same)
        found.append(Row(probe, number, modes, "harm", same[0].prompt, text))
    return found


def _row_after(answer: Answer, question: str) -> Row:
    return Row(answer.probe, answer.number, (answer.mode,), question, answer.prompt, answer.text)


def write_sheet(found: list[Row], folder: Path) -> tuple[Path, Path]:
    """Write sheet.csv, with no word of whose a reply is, and sheet_key.csv; returns both paths.

    Raises:
        TakebackError: there is a sheet with labels already, or the files cannot be written.
    """
    sheet, key = folder / "sheet.csv", folder / "sheet_key.csv"
    if sheet.exists() and any(row.get("label") for row in _read(sheet, ("id", "label"))):
        raise TakebackError(f"{sheet}: has labels in it; move it away before a new one is written")
    shown, hidden = [], []
    for number, row in enumerate(found, 1):
        choices = " / ".join(QUESTIONS[row.question])
        shown.append((number, _as_text(row.prompt), _as_text(row.reply), choices, ""))
        modes = " ".join(row.modes)
        hidden.append((number, row.probe, row.number, modes, row.question, row.digest))
    write_text(sheet, _csv(_COLUMNS, shown))
    write_text(key, _csv(_KEY_COLUMNS, hidden))
    return sheet, key


def _as_text(text: str) -> str:
    """Text fit for a cell: a spreadsheet would take some beginnings for a formula, and an apostrophe says no."""
    shown = clean(text)
    return f"'{shown}" if shown.lstrip()[:1] in ("=", "+", "-", "@") else shown


@dataclass(frozen=True)
class Labels:
    """What was read: for each of `QUESTIONS`, the labels by (probe, number, mode)."""

    harm: Mapping[Place, str]
    after: Mapping[Place, str]
    needless: Mapping[Place, str]
    missing: int
    """How many rows of the sheet have no label."""
    rows: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """The question and the label of each row that has one, by its id. One row may stand for several replies."""


def read_labels(file: Path, folder: Path, answers: Answers) -> Labels:
    """Read a labelled sheet and put its labels to the replies by the key in `folder`.

    Raises:
        TakebackError: a file is missing or damaged, a label is not one of those to choose from, or the key
            is that of other replies.
    """
    key = {row["id"]: row for row in _read(folder / "sheet_key.csv", _KEY_COLUMNS)}
    given: dict[str, dict[Place, str]] = {question: {} for question in QUESTIONS}
    read: dict[str, tuple[str, str]] = {}
    missing = 0
    for line, row in enumerate(_read(file, ("id", "label")), 2):
        label = (row["label"] or "").strip().lower()
        known = key.get((row["id"] or "").strip())
        if known is None or known["question"] not in QUESTIONS:
            raise TakebackError(f"{file}, row {line}: no such id in {folder / 'sheet_key.csv'}")
        allowed = QUESTIONS[known["question"]]
        if not label:
            missing += 1
        elif label not in allowed:
            shown = clean_line(label)[:40]
            raise TakebackError(f"{file}, row {line}: the label '{shown}' is none of {', '.join(allowed)}")
        else:
            read[known["id"]] = known["question"], label
            for place in _places(known, folder, answers):
                given[known["question"]][place] = label
    return Labels(**given, missing=missing, rows=read)


def _places(known: dict[str, str], folder: Path, answers: Answers) -> list[Place]:
    """The replies that a row of the key stands for, all of them with the text that was read."""
    places = [(known["probe"], _number(known, folder), mode) for mode in known["modes"].split()]
    for place in places:
        answer = answers.get(place)
        row = answer and Row(*place[:2], (), "", answer.prompt, answer.text)
        if not row or row.digest != known["digest"]:
            raise TakebackError(
                f"{folder / 'sheet_key.csv'}: belongs to other replies than these; "
                "give the model, --prompts and --limit that the sheet was made with"
            )
    return places


def _number(known: dict[str, str], folder: Path) -> int:
    try:
        return int(known["number"])
    except ValueError:
        raise TakebackError(f"{folder / 'sheet_key.csv'}: the number of row {known['id']} is none") from None


def _csv(columns: tuple[str, ...], values: Sequence[tuple[object, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([columns, *values])
    return text.getvalue()


def _read(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        found = list(reader)
    except FileNotFoundError:
        raise TakebackError(f"{path}: no such file; write the sheet first, with --sheet") from None
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TakebackError(f"{path}: not UTF-8 text; save it as CSV, UTF-8") from error
    except csv.Error as error:
        raise TakebackError(
            f"{path}, line {reader.reader.line_num}: not a row of a CSV file: {error}"
        ) from error
    absent = [name for name in columns if name not in (reader.fieldnames or ())]
    if absent:
        raise TakebackError(f"{path}: no column '{absent[0]}'; is it the sheet, saved with commas?")
    return [{name: row.get(name) or "" for name in columns} for row in found]
