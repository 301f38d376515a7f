"""The exceptions that a user of the program may ever see: there are no others."""


class TakebackError(Exception):
    """An expected failure. Its message is one line: what went wrong, where, and what to do about it.

    `assistant/cli.py` prints it after `takeback: error: ` and exits with 1. Everything else that reaches the
    top is a defect of the program.
    """


class UsageError(TakebackError):
    """Bad usage that the argument parser cannot see. The program ends with status 2."""
