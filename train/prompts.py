"""The prompts that the training data is made of: where they come from, which are held out, which are left out."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from convert.errors import TakebackError
from train.exclusions import evaluation_prompts
from train.text import digest, likeness, triples

Kind = Literal["harmful", "benign", "lookalike"]
HELD_OUT = 0.1
NEAR = 0.5
FIRST_TURN = re.compile(r"\s*Human: (.*?)(?=\n\nAssistant:|\n\nHuman:|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Prompt:
    """One user turn: what kind it is, where it comes from, the opening and the safe reply written for it."""

    text: str
    kind: Kind
    source: str
    opening: str = ""
    safe: str = ""

    @property
    def held_out(self) -> bool:
        """Whether it is kept from training: a tenth, chosen by the text alone, and what was written for calibration."""
        return self.source == "calibration" or int(digest(self.text), 16) / 16**16 < HELD_OUT

    @property
    def for_evaluation(self) -> bool:
        """Half of what is held out: neither training nor calibration ever sees it."""
        if self.source == "calibration":
            return False
        return self.held_out and int(digest(self.text, "evaluation"), 16) % 2 == 0


def collect(data: Path, exclude: Sequence[Path] = ()) -> list[Prompt]:
    """All prompts of the labelled public sets in `data` and of the package's own corpus, without duplicates.

    `exclude`: files of evaluation prompts; what shares half of its word triples with one is left out.
    """
    banned = [triples(text) for path in exclude for text in evaluation_prompts(path)]
    kept: list[Prompt] = []
    seen: set[str] = set()
    for prompt in (*_labelled(data), *_tasks(data), *_written()):
        mark = digest(" ".join(prompt.text.lower().split()))
        grams = triples(prompt.text)
        if mark in seen or any(likeness(grams, other) >= NEAR for other in banned):
            continue
        seen.add(mark)
        kept.append(prompt)
    return kept


def corpus_table(name: str) -> dict[str, str]:
    """A corpus CSV of two columns, digest and label, without its heading; empty where the file is absent."""
    resource = files("train").joinpath("corpus", name)
    if not resource.is_file():
        return {}
    return dict(line.split(",", 1) for line in resource.read_text("utf-8").splitlines()[1:])


def corpus_lines(name: str) -> list[dict[str, Any]]:
    """The JSON lines of a file of the package's own corpus; none where the file is absent."""
    resource = files("train").joinpath("corpus", name)
    if not resource.is_file():
        return []
    return [json.loads(line) for line in resource.read_text("utf-8").splitlines() if line.strip()]


def _labelled(data: Path) -> Iterator[Prompt]:
    """First user turns of HH-RLHF by the label that a reader gave each; labels and safe replies go by digest."""
    safe = {line["prompt_digest"]: line["safe"] for line in corpus_lines("safe_replies.jsonl")}
    turns = {digest(turn): turn for turn in _first_turns(data / "hh_harmless_base_test.jsonl.gz")}
    for mark, label in corpus_table("prompt_labels.csv").items():
        if mark in turns and label == "harmful":
            yield Prompt(turns[mark], "harmful", "hh", safe=safe.get(mark, ""))
        elif mark in turns and label == "benign":
            yield Prompt(turns[mark], "lookalike", "hh")


def _first_turns(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                found = FIRST_TURN.match(json.loads(line)["chosen"])
                if not found:
                    raise TakebackError(f"{path}, line {number}: no dialogue that a human begins")
                yield found.group(1).strip()
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise TakebackError(f"cannot read {path}: {error}; --sets names the folder of the sets") from error


def _tasks(data: Path) -> Iterator[Prompt]:
    for name in ("alpaca_seed_tasks.jsonl", "self_instruct_user_tasks.jsonl"):
        for number, line in enumerate(_text(data / name).splitlines(), 1):
            try:
                task = json.loads(line)
                given = task["instances"][0]["input"].strip()
                text = task["instruction"].strip() + (f"\n\n{given}" if given else "")
            except (json.JSONDecodeError, KeyError, IndexError, AttributeError) as error:
                raise TakebackError(f"{data / name}, line {number}: not a task of that data set") from error
            if len(text) < 1200:
                yield Prompt(text, "benign", name.split("_")[0])


def _written() -> Iterator[Prompt]:
    for line in corpus_lines("requests.jsonl"):
        yield Prompt(line["prompt"], "harmful", "own", line.get("opening", ""), line["safe"])
    for line in corpus_lines("instructions.jsonl"):
        yield Prompt(line["prompt"], "benign", "own")
    for line in corpus_lines("lookalikes.jsonl"):
        yield Prompt(line["prompt"], "lookalike", "own")
    for line in corpus_lines("calibration.jsonl"):
        yield Prompt(line["prompt"], line["kind"], "calibration")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TakebackError(
            f"cannot read {path}: {error.strerror}; --sets names the folder of the sets"
        ) from error
    except UnicodeDecodeError as error:
        raise TakebackError(f"{path} is not UTF-8 text") from error
