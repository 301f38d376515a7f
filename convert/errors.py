"""The one exception that a user of the program may ever see."""


class TakebackError(Exception):
    """An expected failure. Its message is one line: what went wrong, where, and what to do about it.

    `assistant/cli.py` prints it after `takeback: error: ` and exits with 1. Everything else that reaches the
    top is a defect of the program.
    """
