"""Breeding texts, as AutoDAN does (Liu et al. 2024): choose, cross by sentences and by words, change, keep the best.

A text is a list of sentences, exactly one of which has the place of the request, `{request}`. Everything here
is pure: the same population, fitness and random stream give the same generation.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence

PLACE = "{request}"
ELITE = 0.1  # of a population goes on as it is
CROSSING, WORDS, CHANGE = (
    0.5,
    0.15,
    0.2,
)  # chances: of a sentence, of a word to change parents; of a text to change
_END = re.compile(r"(?<=[.!?:])\s+")

Text = tuple[str, ...]
Fitness = Callable[[Text], float]


def sentences(text: str) -> Text:
    """A text's sentences, with its place of the request made sure of."""
    return mended([part for part in _END.split(" ".join(text.split())) if part])


def joined(text: Text, request: str) -> str:
    """The text as it is sent, with the request in its place."""
    return " ".join(text).replace(PLACE, request)


def mended(parts: Sequence[str]) -> Text:
    """The same sentences with exactly one place of the request: later ones go, a missing one is put at the end."""
    found: list[str] = []
    held = False
    for part in parts:
        words = []
        for word in part.split():
            if PLACE not in word:
                words.append(word)
            elif not held:
                held = True
                words.append(_one_place(word))
        if words:
            found.append(" ".join(words))
    return tuple(found if held else [*found, PLACE])


def _one_place(word: str) -> str:
    before, _, after = word.partition(PLACE)
    return before + PLACE + after.replace(PLACE, "")


def crossed(first: Text, second: Text, chance: random.Random) -> tuple[Text, Text]:
    """Two children: sentences at the same height change sides, and in those that do not some words do."""
    left, right = list(first), list(second)
    for place in range(min(len(left), len(right))):
        if chance.random() < CROSSING:
            left[place], right[place] = right[place], left[place]
        else:
            left[place], right[place] = _words_crossed(left[place], right[place], chance)
    return mended(left), mended(right)


def _words_crossed(first: str, second: str, chance: random.Random) -> tuple[str, str]:
    left, right = first.split(), second.split()
    for place in range(min(len(left), len(right))):
        if chance.random() < WORDS:
            left[place], right[place] = right[place], left[place]
    return " ".join(left), " ".join(right)


def changed(text: Text, pool: Sequence[Text], chance: random.Random) -> Text:
    """One change: two neighbours change places, a sentence goes, or one of another text's takes its place."""
    parts = list(text)
    place = chance.randrange(len(parts))
    kind = chance.randrange(3)
    if kind == 0 and len(parts) > 1:
        place = chance.randrange(len(parts) - 1)
        parts[place : place + 2] = parts[place + 1], parts[place]
    elif kind == 1 and len(parts) > 2:
        del parts[place]
    else:
        parts[place] = chance.choice(chance.choice(pool))
    return mended(parts)


def chosen(scored: Sequence[tuple[float, Text]], chance: random.Random) -> Text:
    """A parent: the fitter the likelier, by the softmax of their fitness."""
    best = max(fitness for fitness, _ in scored)
    weights = [math.exp(fitness - best) if fitness > -math.inf else 0.0 for fitness, _ in scored]
    weights = weights if any(weights) else [1.0] * len(scored)
    return chance.choices([text for _, text in scored], weights)[0]


def bred(
    scored: Sequence[tuple[float, Text]], pool: Sequence[Text], size: int, chance: random.Random
) -> list[Text]:
    """The next generation of `size` texts, the fittest of the last first and unchanged."""
    ranked = sorted(scored, key=lambda pair: (-pair[0], pair[1]))
    found = [text for _, text in ranked[: max(1, round(ELITE * size))]]
    while len(found) < size:
        for child in crossed(chosen(scored, chance), chosen(scored, chance), chance):
            found.append(changed(child, pool, chance) if chance.random() < CHANGE else child)
    return found[:size]


def generations(
    pool: Sequence[Text], fitness: Fitness, size: int, chance: random.Random
) -> Iterator[tuple[float, Text]]:
    """The fittest text and its fitness, generation by generation, without end. It never falls.

    `pool` is where the first generation and later changes come from. A text is scored once.
    """
    known: dict[Text, float] = {}
    texts = [pool[number % len(pool)] for number in range(size)]
    texts = [text if number < len(pool) else changed(text, pool, chance) for number, text in enumerate(texts)]
    while True:
        for text in texts:
            if text not in known:
                known[text] = fitness(text)
        scored = [(known[text], text) for text in texts]
        yield max(scored, key=lambda pair: pair[0])
        texts = bred(scored, pool, size, chance)
