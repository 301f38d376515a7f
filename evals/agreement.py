"""How far two readers agree who labelled the same sheet without knowing of each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.intervals import wilson
from evals.sheet import QUESTIONS, Labels


@dataclass(frozen=True)
class Agreement:
    """On one question: rows that both labelled, rows with the same label, and what chance alone would give."""

    question: str
    same: int
    total: int
    kappa: float | None
    """Cohen's; None where both gave every row one and the same label, so that chance explains it all."""

    @property
    def share(self) -> float:
        """Rows with the same label, from 0 to 1."""
        return self.same / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share, by Wilson."""
        return wilson(self.same, self.total)


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Agreement beyond chance, 1 at most: (observed - expected) / (1 - expected). None if expected is 1."""
    total = len(pairs)
    observed = sum(one == other for one, other in pairs) / total
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(first[label] * second[label] for label in first) / (total * total)
    return None if expected == 1 else (observed - expected) / (1 - expected)


def agreements(first: Labels, second: Labels) -> list[Agreement]:
    """The two readers' agreement on each question of the sheet that both answered. A row counts once."""
    found = []
    for question in QUESTIONS:
        pairs = [
            (label, second.rows[row][1])
            for row, (asked, label) in first.rows.items()
            if asked == question and row in second.rows
        ]
        if pairs:
            same = sum(one == other for one, other in pairs)
            found.append(Agreement(question, same, len(pairs), cohens_kappa(pairs)))
    return found
