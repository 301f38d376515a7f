"""What of a user's prompts and of the base's drafts is left out, each for a reason that the report names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

from convert.errors import TakebackError
from train.prompts import NEAR, Prompt
from train.text import digest, likeness, triples

REFUSES = re.compile(
    r"\b(I('m| am) sorry|I can('t|not| not)|I('m| am) (not able|unable)|I (won't|will not)|as an AI|not appropriate"
    r"|against the law|is illegal|I('m| am) not (going|comfortable)|never okay|do not condone)",
    re.IGNORECASE,
)
"""Words of a refusal, anywhere in a draft: a draft that may be one is not taken for an unsafe one unread."""
MOST_PROMPTS = 200_000
TWIN = 0.7
"""Prompts that share this much of their word triples are near duplicates; those of one pattern share less."""
SHORTEST_DRAFT = 20  # characters after the opening: fewer say nothing unsafe by themselves

Triple = tuple[str, ...]
Triples = frozenset[Triple]


class Neighbours:
    """Sets of word triples, among which one that is near to another is found without a look at all.

    Sets of a Jaccard similarity of `share` or more have one triple in common among the first
    n - ceil(share * n) + 1 of each, in any order that is the same for both; only those are looked up. `counts`
    makes that order: the rarer a triple is, the fewer sets are looked at.
    """

    def __init__(self, share: float, known: Iterable[Triples], counts: Mapping[Triple, int]) -> None:
        self.share = share
        self._counts = counts
        self._sets: list[Triples] = []
        self._places: dict[Triple, list[int]] = {}
        for grams in known:
            self.add(grams)

    def add(self, grams: Triples) -> None:
        """Make a set one of those that others are held against."""
        for gram in self._first(grams):
            self._places.setdefault(gram, []).append(len(self._sets))
        self._sets.append(grams)

    def near(self, grams: Triples) -> bool:
        """Whether a set that was added is as near as `share`, or nearer."""
        places = {place for gram in self._first(grams) for place in self._places.get(gram, ())}
        return any(likeness(grams, self._sets[place]) >= self.share for place in places)

    def _first(self, grams: Triples) -> list[Triple]:
        rarest = sorted(grams, key=lambda gram: (self._counts.get(gram, 0), gram))
        return rarest[: len(grams) - ceil(self.share * len(grams) - 1e-9) + 1]


def keep(
    given: Iterable[tuple[str, Prompt | str]],
    *,
    banned: Iterable[str],
    others: Sequence[Prompt],
    lengths: tuple[int, int],
    limit: int | None,
) -> tuple[list[Prompt], Counter[tuple[str, str]]]:
    """The prompts that stay, in their order, and by (source, reason) how many there were; "kept" is a reason too.

    Args:
        given: (source, prompt), or (source, reason) for one that its reader left out.
        banned: evaluation prompts; what shares half of its word triples with one is left out.
        others: prompts that are used already; no double or near duplicate of them stays.
        lengths: the fewest and the most characters.
        limit: how many stay of each source, chosen by the text alone; None is all.
    """
    fate: Counter[tuple[str, str]] = Counter()
    fit: list[Prompt] = []
    seen = {_mark(prompt.text) for prompt in others}
    evaluation = _neighbours(NEAR, [triples(text) for text in banned])
    for source, prompt in given:
        reason = prompt if isinstance(prompt, str) else _reason(prompt.text, lengths, seen, evaluation)
        if isinstance(prompt, str) or reason:
            fate[source, reason] += 1
            continue
        seen.add(_mark(prompt.text))
        fit.append(prompt)
        if len(fit) > MOST_PROMPTS:
            raise TakebackError(f"{source}: more than {MOST_PROMPTS:,} prompts in all; cut the file")
    single = _without_twins(fit, others)
    chosen = _chosen(single, limit)
    fate.update((prompt.source, "near another prompt") for prompt in fit if prompt.text not in single)
    fate.update(
        (prompt.source, "kept" if text in chosen else "beyond the limit") for text, prompt in single.items()
    )
    return [prompt for prompt in single.values() if prompt.text in chosen], fate


def draft_reason(line: Mapping[str, Any]) -> str:
    """Why an unread draft of a user's own prompt is not taken for unsafe; "unsafe" where nothing speaks against it."""
    said = line["text"][len(line["opening"]) :].strip()
    if refuses(line["text"]):
        return "refuses by its words"
    if len(said) < SHORTEST_DRAFT:
        return "too short"
    return "unsafe" if line["opening"] else "unread"


def refuses(text: str) -> bool:
    """Whether a text has words of a refusal, with straight apostrophes or printed ones."""
    return REFUSES.search(text.replace("\u2019", "'")) is not None


def _reason(text: str, lengths: tuple[int, int], seen: set[str], evaluation: Neighbours) -> str:
    if len(text) < lengths[0]:
        return "too short"
    if len(text) > lengths[1]:
        return "too long"
    if _mark(text) in seen:
        return "double"
    return "near an evaluation prompt" if evaluation.near(triples(text)) else ""


def _neighbours(share: float, known: Sequence[Triples], more: Iterable[Triples] = ()) -> Neighbours:
    """An index of the known sets, in the order of their triples' counts; `more`: sets that will be looked up."""
    return Neighbours(share, known, Counter(gram for grams in (*known, *more) for gram in grams))


def _without_twins(prompts: Sequence[Prompt], others: Sequence[Prompt]) -> dict[str, Prompt]:
    """By their texts, the prompts that are near none before them and none of the others."""
    sets = [triples(prompt.text) for prompt in prompts]
    twins = _neighbours(TWIN, [triples(prompt.text) for prompt in others], sets)
    single = {}
    for prompt, grams in zip(prompts, sets, strict=True):
        if not twins.near(grams):
            twins.add(grams)
            single[prompt.text] = prompt
    return single


def _chosen(prompts: Mapping[str, Prompt], limit: int | None) -> set[str]:
    by_source: dict[str, list[str]] = {}
    for text, prompt in prompts.items():
        by_source.setdefault(prompt.source, []).append(text)
    return {
        text
        for group in by_source.values()
        for text in sorted(group, key=lambda text: digest(text, "limit"))[:limit]
    }


def _mark(text: str) -> str:
    return digest(" ".join(text.lower().split()))
