"""Reset bias and hold-back from margins: pure arithmetic, by the engine's own rule for when a reset fires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assistant.intervals import wilson
from convert.errors import TakebackError
from convert.reset_token import DEFAULT_HOLD_BACK, MAX_BIAS

BIASES = tuple(float(b) for b in np.arange(-12.0, 6.5, 0.5))
LONGEST_HOLD = 128
RESAMPLES, SEED = 1_000, 1


@dataclass(frozen=True)
class Margins:
    """Per reply logit[R] - the largest other logit: before its first token, and after each, [n + 1].

    `own` are what the model itself writes to the prompts of `unsafe`, with resets off: what it takes back in use.
    """

    unsafe: list[Any]
    benign: list[Any]
    own: list[Any] = field(default_factory=list)

    @property
    def drafts(self) -> list[Any]:
        """What the hold-back is measured on."""
        return self.own or self.unsafe


def choose(margins: Margins, budget: float, shown: float) -> dict[str, Any]:
    """Bias (to three decimals) and hold-back, what they come to, and the 95 % intervals.

    The hold-back is the upper end of its interval: few drafts are taken back late, and they are what shows.

    `needless`, `caught` and `own_taken_back` are counts of so many; `shown_share` is of the tokens taken back;
    `tokens_until_reset[n]` is how many drafts, the model's own where there are any, were taken back after n tokens.

    Raises TakebackError where no bias that a file may carry keeps the budget.
    """
    bias = round(choose_bias(margins.benign, budget), 3)
    needless, caught = (
        sum(fires(margin, bias) is not None for margin in group) for group in (margins.benign, margins.unsafe)
    )
    if needless > budget * len(margins.benign):
        raise TakebackError(
            f"{needless} of {len(margins.benign)} benign replies are taken back even with a bias of {bias:g}, "
            f"the least there is; train again, or raise --budget"
        )
    biases, holds = resample(margins, budget, shown)
    low, hold = percentiles(holds, choose_hold(margins.drafts, bias, shown))
    lengths = _taken(_peaks(margins.drafts), bias)
    return {
        "reset_bias": bias,
        "reset_bias_interval": _rounded(percentiles(biases, bias)),
        "hold_back": int(hold),
        "hold_back_interval": [int(low), int(hold)],
        "needless": [needless, len(margins.benign)],
        "needless_interval": _rounded(wilson(needless, len(margins.benign))),
        "caught": [caught, len(margins.unsafe)],
        "caught_interval": _rounded(wilson(caught, len(margins.unsafe))),
        "own_taken_back": [len(lengths), len(margins.own)] if margins.own else None,
        "shown_share": round(float(np.maximum(lengths - hold, 0).sum() / max(1, lengths.sum())), 4),
        "tokens_until_reset": np.bincount(lengths).tolist(),
    }


def _rounded(interval: tuple[float, float]) -> list[float]:
    return [round(end, 4) for end in interval]


def fires(margin: Any, bias: float) -> int | None:
    """After how many tokens of the reply the reset fires, or None."""
    over = np.flatnonzero(margin + bias >= 0)
    return int(over[0]) if len(over) else None


def choose_bias(benign: Sequence[Any], budget: float) -> float:
    """The largest bias at which at most `budget` of the replies are taken back."""
    return _bias(np.array([float(margin.max()) for margin in benign]), budget)


def _bias(highest: Any, budget: float) -> float:
    """The same, from the highest margin of each reply."""
    allowed = int(budget * len(highest))
    return float(np.clip(-np.sort(highest)[::-1][allowed] - 1e-3, -MAX_BIAS, MAX_BIAS))


def choose_hold(unsafe: Sequence[Any], bias: float, shown: float) -> int:
    """The smallest hold-back (tokens) under which at most `shown` of the tokens taken back are ever shown.

    It is LONGEST_HOLD where all shorter ones show more.
    """
    return _hold(_taken(_peaks(unsafe), bias), shown)


def _hold(lengths: Any, shown: float) -> int:
    """The same, from how many tokens each draft had when it was taken back."""
    if not lengths.sum():
        return DEFAULT_HOLD_BACK
    seen = np.maximum(lengths[:, None] - np.arange(LONGEST_HOLD), 0).sum(0)
    enough = np.flatnonzero(seen <= shown * lengths.sum())
    return int(enough[0]) if len(enough) else LONGEST_HOLD


def _peaks(replies: Sequence[Any]) -> Any:
    """The highest margin up to each place of each reply, [replies, longest]; past its end, that of all of it."""
    longest = max(map(len, replies))
    padded = np.full((len(replies), longest), -np.inf, np.float32)
    for row, margin in zip(padded, replies, strict=True):
        row[: len(margin)] = margin
    return np.maximum.accumulate(padded, axis=1)


def _taken(peaks: Any, bias: float) -> Any:
    """How many tokens each draft that is taken back has by then, [drafts taken back]."""
    places = (peaks + bias < 0).sum(1)
    return places[places < peaks.shape[1]]


def resample(margins: Margins, budget: float, shown: float) -> tuple[list[float], list[int]]:
    """Bias and hold-back chosen anew on rows drawn with replacement, RESAMPLES times, always the same draws.

    Each hold-back is that at its own draw's bias, so that its spread is of both.
    """
    random = np.random.default_rng(SEED)
    highest = np.array([float(margin.max()) for margin in margins.benign])
    peaks = _peaks(margins.drafts)
    biases, holds = [], []
    for _ in range(RESAMPLES):
        bias = _bias(random.choice(highest, len(highest)), budget)
        places = (peaks + bias < 0).sum(1)
        drawn = random.choice(places, len(places))
        biases.append(bias)
        holds.append(_hold(drawn[drawn < peaks.shape[1]], shown))
    return biases, holds


def percentiles(resampled: Sequence[float], found: float) -> tuple[float, float]:
    """The 95 % interval of a number that was found again on resampled rows.

    It holds `found` too: the least or the largest of few rows stands at the end of what resampling gives.
    """
    low = np.percentile(resampled, 2.5, method="lower")
    high = np.percentile(resampled, 97.5, method="higher")
    return min(float(low), found), max(float(high), found)


def curve_point(margins: Margins, bias: float) -> dict[str, float]:
    """Shares taken back at one bias."""
    share = {
        name: sum(fires(margin, bias) is not None for margin in group) / len(group)
        for name, group in (("unsafe", margins.unsafe), ("benign", margins.benign))
    }
    return {"bias": bias} | {name: round(value, 4) for name, value in share.items()}
