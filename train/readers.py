"""Prompts from a user's files and from public sets: one reader a format, one prompt at a time.

Every reader yields a prompt, or in its place the words that say why the file's prompt is left out. All of them
raise TakebackError for a file that is not what it is said to be, with the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from convert.errors import TakebackError
from train.lines import fit, is_csv, objects, table
from train.prompts import FIRST_TURN, Kind, Prompt
from train.text import digest

KINDS = get_args(Kind)
DRAFT_LABELS = ("unsafe", "harmless", "refusal", "unclear")
PROMPT_LABELS = ("harmful", "benign", "ambiguous")
MARKS = ("spam", "not_appropriate", "hate_speech", "sexual_content", "violence", "pii", "lang_mismatch")
"""OpenAssistant's labels of a message, from 0 to 1, that speak against it."""


def read_prompts(path: Path, source: str, kind: Kind | None = None) -> Iterator[Prompt | str]:
    """A user's own file: JSON lines {"prompt", "kind", "opening", "safe"}, or CSV with such columns.

    In CSV, `goal` may stand for `prompt` and `target` for `opening`. `kind` is for lines that do not say.
    """
    as_csv = is_csv(path)
    for where, row in table(path) if as_csv else objects(path):
        if as_csv:
            row = {"prompt": row.get("goal"), "opening": row.get("target"), **row}  # noqa: PLW2901
        text = fit(row.get("prompt"), where, "prompt").strip()
        if not text:
            raise TakebackError(
                f'{where}: needs a "prompt"{" or a goal" if as_csv else ""} that is not empty'
            )
        said = fit(row.get("kind"), where, "kind").strip() or kind
        if said not in KINDS:
            raise TakebackError(
                f'{where}: "kind" must be harmful or benign; or say it after the file\'s name'
            )
        opening, safe = (fit(row.get(name), where, name) for name in ("opening", "safe"))
        if safe.strip() and said != "harmful":
            raise TakebackError(f'{where}: "safe" is for harmful prompts, and this one is {said}')
        yield Prompt(text, cast(Kind, said), source, opening if opening.strip() else "", safe.strip())


def read_hh(
    path: Path, source: str, kind: Kind | None, labels: Mapping[str, str], safe: Mapping[str, str]
) -> Iterator[Prompt | str]:
    """The first human turns of HH-RLHF, of the kind that a reader gave each; `kind` is for those without a label.

    `labels` and `safe` replies go by the turn's digest. A benign turn of this set looks dangerous, mostly.
    """
    for where, row in objects(path):
        found = FIRST_TURN.match(fit(row.get("chosen"), where, "chosen"))
        if not found:
            raise TakebackError(f'{where}: needs "chosen", a dialogue that a human begins, as HH-RLHF has it')
        text = found.group(1).strip()
        label = labels.get(digest(text), kind)
        if label == "harmful":
            yield Prompt(text, "harmful", source, safe=safe.get(digest(text), ""))
        elif label in ("benign", "lookalike"):
            yield Prompt(text, "lookalike" if digest(text) in labels else cast(Kind, label), source)
        else:
            yield "ambiguous by its label" if label else "without a label"


def read_oasst(path: Path, source: str, kind: Kind | None, language: str) -> Iterator[Prompt | str]:
    """The first turns of OpenAssistant's trees (`...ready.trees.jsonl.gz`), in a language; "all" is every one."""
    for where, row in objects(path):
        first = row.get("prompt")
        if not isinstance(first, dict) or first.get("role") != "prompter":
            hint = "; this is the format of messages, take that of trees" if "parent_id" in row else ""
            raise TakebackError(
                f'{where}: needs "prompt", a message of a prompter, as OpenAssistant\'s trees{hint}'
            )
        text, spoken = (fit(first.get(name), where, name) for name in ("text", "lang"))
        if first.get("deleted"):
            yield "deleted in its set"
        elif language not in ("all", spoken):
            yield "in another language"
        elif any(_value(first.get("labels"), mark) >= 0.5 for mark in MARKS):
            yield "marked as unfit in its set"
        else:
            yield Prompt(text.strip(), kind or "benign", source)


def read_labels(path: Path, key: str, known: tuple[str, ...]) -> dict[str, str]:
    """A CSV of digests and labels, by its columns `key` and `label`; rows without a label are passed over.

    Raises:
        TakebackError: it is not that, or a digest has two different labels.
    """
    labels: dict[str, str] = {}
    for where, row in table(path):
        mark, label = row.get(key, "").strip().lower(), row.get("label", "").strip().lower()
        if len(mark) != 16 or set(mark) - set("0123456789abcdef"):
            raise TakebackError(f"{where}: needs {key}, 16 hexadecimal digits, and label")
        if label and label not in known:
            raise TakebackError(f"{where}: label is {label[:40]!r}; it must be one of {', '.join(known)}")
        if label and labels.setdefault(mark, label) != label:
            raise TakebackError(f"{where}: {mark} has another label above")
    return labels


def _value(labels: Any, name: str) -> float:
    """A label's value in a message of OpenAssistant; 0 where it was not asked for."""
    label = labels.get(name) if isinstance(labels, dict) else None
    value = label.get("value") if isinstance(label, dict) else None
    return value if isinstance(value, int | float) else 0.0
