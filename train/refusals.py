"""The base's own refusals, for harmful prompts that nobody wrote a safe reply for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from train.filters import refuses
from train.prompts import Prompt
from train.replies import Wanted
from train.text import digest

SYSTEM = (
    "The user asks for something that would do harm. Refuse in one or two short, polite sentences that name what "
    "you will not help with. Give no part of an answer."
)
BEGINNINGS = (
    "I'm sorry, but I can't help with", "I can't help you", "I won't help anyone", "I'm not able to help with",
    "I won't give advice on", "I can't assist with", "I will not help with", "I'm sorry, but I won't help you",
)  # fmt: skip
ATTEMPTS = ("sampled", "greedy", "begun")
"""Sampled first, since replies that differ teach more; then the most likely one; then the base is made to begin with a
refusal's first words, of which only its first sentence is taken: a small base does not do what a system prompt says."""
TOKENS, MOST_CHARS = 64, 400
_SENTENCE = re.compile(r"[^\n]*?[.!?](?=\s|$)")
_GIVES_IN = re.compile(
    r"\n\s*(?:1[.)]|[-*]) |\bhow to\b|, but (?:I can(?!['\u2019]t|not| not)|here|you)\b"
    r"|\bhere(?:['\u2019]s| is| are)\b",
    re.IGNORECASE,
)


def wanted_refusals(prompts: Iterable[Prompt], attempt: str) -> list[Wanted]:
    """The refusals to sample in an attempt: one for each prompt to train on that has no safe reply."""
    return [
        Wanted(
            prompt.text,
            BEGINNINGS[int(digest(prompt.text, "refusal"), 16) % len(BEGINNINGS)]
            if attempt == "begun"
            else "",
            0.0 if attempt == "greedy" else 0.8,
            TOKENS,
            SYSTEM,
        )
        for prompt in prompts
        if prompt.kind == "harmful" and not prompt.safe and not prompt.for_evaluation
    ]


def with_own_refusals(prompts: Sequence[Prompt], lines: Iterable[Mapping[str, Any]]) -> list[Prompt]:
    """The prompts, those without a safe reply with the base's own refusal, where it gave one."""
    by_key = {line["key"]: line for line in lines if line.get("system")}
    return [_with_own(prompt, by_key) for prompt in prompts]


def plain_refusal(line: Mapping[str, Any]) -> str:
    """The refusal in a reply, or nothing: it refuses by its words, ends, is short, and shows no sign of helping.

    Of a reply that was begun for the base only the first sentence counts, which must have an end.
    """
    text = line["text"].strip()
    ended = line["finished"]
    if line["opening"]:
        sentence = _SENTENCE.match(text)
        ended, text = sentence is not None, sentence[0] if sentence else ""
    plain = ended and len(text) <= MOST_CHARS and refuses(text[:200]) and not _GIVES_IN.search(text)
    return text if plain else ""


def is_begun(refusal: str) -> bool:
    """Whether a safe reply is one that was begun for the base, as far as its words tell."""
    return refusal.startswith(BEGINNINGS)


def _with_own(prompt: Prompt, by_key: Mapping[str, Mapping[str, Any]]) -> Prompt:
    for attempt in ATTEMPTS:
        for item in wanted_refusals([prompt], attempt):
            line = by_key.get(item.key)
            if refusal := plain_refusal(line) if line else "":
                return replace(prompt, safe=refusal)
    return prompt
