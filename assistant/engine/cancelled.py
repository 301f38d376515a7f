"""The signal that a decode was cut off."""


class Cancelled(Exception):  # noqa: N818 (no error: the user asked for it)
    """The user asked to stop while the model was reading or writing."""
