"""What commands say of how they were called: numbers that an argument may be, and the error of a wrong call."""

from argparse import ArgumentTypeError

from convert.errors import UsageError

__all__ = ["UsageError", "positive"]


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse. Raises ArgumentTypeError that says what is wrong with another."""
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"must be at least 1, not {value}")
    return value
