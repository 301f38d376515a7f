"""What commands say of how they were called: numbers that an argument may be, and the error of a wrong call."""

import math
from argparse import ArgumentTypeError

from convert.errors import UsageError

__all__ = ["UsageError", "above_zero", "count", "from_zero", "positive", "seed", "share"]


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse. Raises ArgumentTypeError that says what is wrong with another."""
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def count(text: str) -> int:
    """A whole number from 0 on, for argparse. Raises ArgumentTypeError that says what is wrong with another."""
    value = int(text)
    if value < 0:
        raise ArgumentTypeError(f"must be at least 0, not {value}")
    return value


def above_zero(text: str) -> float:
    """A finite number above 0, for argparse. Raises ArgumentTypeError that says what is wrong with another."""
    value = float(text)
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"must be above 0, not {value:g}")
    return value


def from_zero(text: str) -> float:
    """A finite number from 0 on, for argparse. Raises ArgumentTypeError that says what is wrong with another."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"must be at least 0, not {value:g}")
    return value


def share(text: str) -> float:
    """A share from 0 to 1, for argparse. Raises ArgumentTypeError where it is none."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"must be a share from 0 to 1, not {value:g}")
    return value


def seed(text: str) -> int:
    """A seed that every random stream takes, for argparse: a whole number of 32 bits."""
    value = int(text)
    if not 0 <= value < 1 << 32:
        raise ArgumentTypeError(f"must be from 0 to {(1 << 32) - 1}, not {value}")
    return value
