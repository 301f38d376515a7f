"""The error of a command that was called in a wrong way."""

from convert.errors import TakebackError


class UsageError(TakebackError):
    """Bad usage that the argument parser cannot see. The program ends with status 2."""
