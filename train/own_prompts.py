"""A user's own prompts: the files that were named, read one after the other and filtered as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from convert.errors import TakebackError
from train.exclusions import evaluation_prompts
from train.filters import keep
from train.hub_file import local_file
from train.prompts import Kind, Prompt, corpus_lines, corpus_table
from train.readers import read_hh, read_oasst, read_prompts

Format = Literal["prompts", "hh", "oasst"]
FORMATS: tuple[Format, ...] = ("prompts", "hh", "oasst")


@dataclass(frozen=True)
class Source:
    """A file as it was named, its format, and the kind of those of its prompts that do not say theirs."""

    format: Format
    given: str
    kind: Kind | None = None

    @property
    def name(self) -> str:
        """What its prompts and the report call it."""
        return f"--{self.format} {self.given}"


@dataclass(frozen=True)
class Choice:
    """What of the files is taken. `lengths`: the fewest and the most characters; `limit`: prompts a file."""

    exclude: Sequence[Path] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    language: str = "en"
    lengths: tuple[int, int] = (8, 2000)
    limit: int | None = None


def is_own(prompt: Prompt) -> bool:
    """Whether a prompt is from a user's file; those of the sets and the corpus are not."""
    return prompt.source.startswith("--")


def gather(
    sources: Sequence[Source], choice: Choice, others: Sequence[Prompt] = ()
) -> tuple[list[Prompt], Counter[tuple[str, str]]]:
    """The prompts of all files that no filter drops, and what became of each, by source and reason.

    `others`: prompts that are used as well, whose doubles are dropped.

    Raises:
        TakebackError: a file is not what it is said to be, or nothing is left of all of them.
    """
    banned = [text for path in choice.exclude for text in evaluation_prompts(path)]
    given = ((source.name, prompt) for source in sources for prompt in _read(source, choice))
    kept, fate = keep(given, banned=banned, others=others, lengths=choice.lengths, limit=choice.limit)
    if sources and not kept:
        reasons = ", ".join(f"{count} {reason}" for (_, reason), count in fate.most_common())
        raise TakebackError(f"no prompt is left of the files: {reasons or 'they are empty'}")
    return kept, fate


def _read(source: Source, choice: Choice) -> Iterator[Prompt | str]:
    path = local_file(source.given)
    match source.format:
        case "prompts":
            return read_prompts(path, source.name, source.kind)
        case "oasst":
            return read_oasst(path, source.name, source.kind, choice.language)
        case "hh":
            labels = {**corpus_table("prompt_labels.csv"), **choice.labels}
            safe = {line["prompt_digest"]: line["safe"] for line in corpus_lines("safe_replies.jsonl")}
            return read_hh(path, source.name, source.kind, labels, safe)
