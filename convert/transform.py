"""What llama.cpp wants of a tensor that a checkpoint holds otherwise; each family says it by the tensor's name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Transform:
    """A change of one tensor: its numbers become `times` x + `plus`, then its rows change places.

    `heads` is the number of heads within which the rows change places (`merge.head_order`); None: none do.
    """

    heads: int | None = None
    times: float = 1.0
    plus: float = 0.0

    @property
    def calculates(self) -> bool:
        """Whether it changes numbers, and not only their places."""
        return self.times != 1 or self.plus != 0


UNCHANGED = Transform()
