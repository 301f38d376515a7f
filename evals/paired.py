"""Two modes held against each other on the same prompts: each prompt is its own control."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, sqrt

from assistant.intervals import wilson
from evals.cases import ATTACKED, NEEDLESS, OFF, UNPREFILLED
from evals.judges.keywords import refuses
from evals.judges.verdict import Verdict
from evals.judging import Judgement, Place
from evals.measures import Answers
from evals.modes import WHO, is_harmful, is_own
from evals.sheet import Labels

Holds = Mapping[Place, bool]
"""Of which replies something holds; those that nothing is known of are missing."""


@dataclass(frozen=True)
class Paired:
    """How often `trait` holds for both, only one or neither of two modes' replies to the same prompts."""

    probe: str
    trait: str
    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    total: int

    @property
    def difference(self) -> float:
        """The first's share less the second's, from -1 to 1."""
        return (self.only_first - self.only_second) / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference, from -1 to 1."""
        return newcombe(self.both, self.only_first, self.only_second, self.total)

    @property
    def p(self) -> float:
        """The exact two-sided p-value of McNemar's test."""
        return mcnemar(self.only_first, self.only_second)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value for two modes not to differ, by the prompts on which they do."""
    unequal = only_first + only_second
    tail = sum(comb(unequal, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << unequal))


def newcombe(both: int, only_first: int, only_second: int, total: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two paired shares: Newcombe (1998), method 10."""
    neither = total - both - only_first - only_second
    first, second = (both + only_first) / total, (both + only_second) / total
    low1, high1 = wilson(both + only_first, total)
    low2, high2 = wilson(both + only_second, total)
    edges = first * (1 - first) * second * (1 - second) * total**4
    product = float(both * neither - only_first * only_second)
    if product > 0:
        product = max(product - total / 2, 0.0)
    phi = product / sqrt(edges) if edges else 0.0
    down, up = (first - low1, high2 - second), (high1 - first, second - low2)
    difference = first - second
    return difference - _joined(*down, phi), difference + _joined(*up, phi)


def _joined(one: float, other: float, phi: float) -> float:
    return sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))


def compare_modes(
    answers: Answers, judgement: Judgement | None = None, readers: Sequence[Labels] = ()
) -> list[Paired]:
    """All pairs of modes, by each trait that is known: refusals of harmless requests, verdicts, labels."""
    harmless = {place: refuses(a) for place, a in answers.items() if _is_harmless(place[0])}
    found = list(_pairs("refused, by its words", harmless))
    if judgement:
        by = judgement.by
        found += _pairs(f"unsafe, {by}", _told(judgement, lambda verdict: verdict.unsafe))
        found += _pairs(f"refused, {by}", _told(judgement, lambda verdict: verdict.refusal))
    for number, labels in enumerate(readers, 1):
        reader = "the reader" if len(readers) == 1 else f"reader {number}"
        found += _pairs(f"harmful, or bad after a reset, to {reader}", read_as_bad(labels))
    return found


def read_as_bad(labels: Labels) -> dict[Place, bool]:
    """The replies to harmful requests that a reader called harmful, or bad after a reset, and those not."""
    found = {place: label == "harmful" for place, label in labels.harm.items()}
    after = {place: label == "bad" for place, label in labels.after.items() if place[0] in UNPREFILLED}
    return found | after


def _told(judgement: Judgement, tells: Callable[[Verdict], bool | None]) -> dict[Place, bool]:
    told = ((place, tells(verdict)) for place, verdict in judgement.verdicts.items())
    return {place: value for place, value in told if value is not None}


def _is_harmless(probe: str) -> bool:
    return probe in NEEDLESS or (is_own(probe) and not is_harmful(probe))


def _pairs(trait: str, holds: Holds) -> Iterator[Paired]:
    """Each set by itself, and all of them together where there are several, for each two modes."""
    probes = list(dict.fromkeys(probe for probe, _, _ in holds))
    for first, second in combinations(WHO, 2):
        found = [pair for probe in probes if (pair := _pair(probe, trait, first, second, holds))]
        yield from found
        if len(found) > 1:
            yield Paired("all", trait, first, second, *_sums(found))


def _sums(pairs: Sequence[Paired]) -> tuple[int, int, int, int]:
    counts = [(p.both, p.only_first, p.only_second, p.total) for p in pairs]
    both, only_first, only_second, total = map(sum, zip(*counts, strict=True))
    return both, only_first, only_second, total


def _pair(probe: str, trait: str, first: str, second: str, holds: Holds) -> Paired | None:
    """None where the two have no prompt in common, or were not let write equally much."""
    if probe == "advbench" and "off" in (first, second) and ATTACKED != OFF:
        return None
    pairs = [
        (value, holds[probe, number, second])
        for (name, number, mode), value in holds.items()
        if (name, mode) == (probe, first) and (probe, number, second) in holds
    ]
    if not pairs:
        return None
    both, only_first, only_second = map(pairs.count, ((True, True), (True, False), (False, True)))
    return Paired(probe, trait, first, second, both, only_first, only_second, len(pairs))
