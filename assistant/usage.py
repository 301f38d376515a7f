"""The error of a command that was called in a wrong way: that of `convert`, whose commands need it too."""

from convert.errors import UsageError

__all__ = ["UsageError"]
