"""How surprising one model finds what another one wrote: the price that its training had."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """The log-likelihood of a reply: `log_probability` is the sum over its `tokens`, by e."""

    log_probability: float
    tokens: int


def perplexity(scores: Sequence[Score]) -> float:
    """e to the mean negative log-likelihood of a token, over all tokens of all replies.

    Raises:
        ValueError: there is no token.
    """
    tokens = sum(score.tokens for score in scores)
    if tokens < 1:
        raise ValueError("no tokens were scored")
    return math.exp(-math.fsum(score.log_probability for score in scores) / tokens)


@dataclass(frozen=True)
class Comparison:
    """The perplexity of the same replies under two models."""

    base: float
    model: float
    replies: int
    tokens: int

    @property
    def ratio(self) -> float:
        """The model's over the base's: 1.05 is 5 % above."""
        return self.model / self.base


def compare(base: Sequence[Score], model: Sequence[Score]) -> Comparison | None:
    """Compare scores of the same replies, in the same order; None where there are none."""
    if len(base) != len(model) or any(a.tokens != b.tokens for a, b in zip(base, model, strict=True)):
        raise ValueError("the two models must score the same replies")
    tokens = sum(score.tokens for score in base)
    return Comparison(perplexity(base), perplexity(model), len(base), tokens) if tokens else None
