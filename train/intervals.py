"""How far a measured number may be from the true one: 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

_Z = 1.959964  # the normal distribution's 97.5 % point


def wilson(count: int, total: int) -> tuple[float, float]:
    """The interval of a share, from 0 to 1, by Wilson (1927); of no cases nothing is known.

    The same as in evals/intervals.py, which training may not import.
    """
    if total == 0:
        return 0.0, 1.0
    share, square = count / total, _Z * _Z
    middle = (share + square / (2 * total)) / (1 + square / total)
    reach = _Z / (1 + square / total) * sqrt(share * (1 - share) / total + square / (4 * total * total))
    return middle - reach if count else 0.0, middle + reach if count < total else 1.0


def percentiles(resampled: Sequence[float], found: float) -> tuple[float, float]:
    """The interval of a number that was found again on resampled rows.

    It holds `found` too: the least or the largest of few rows stands at the end of what resampling gives.
    """
    low = np.percentile(resampled, 2.5, method="lower")
    high = np.percentile(resampled, 97.5, method="higher")
    return min(float(low), found), max(float(high), found)
