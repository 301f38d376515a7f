"""How often something happens lately."""

from __future__ import annotations

import time
from collections import deque


class Rate:
    """Counts what happens, a second; unknown until it has been watched for a while."""

    SECONDS = 5.0
    """What is longer ago does not count."""
    LEAST_SECONDS = 1.5
    LEAST_TIMES = 8

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def tick(self) -> None:
        """It happens now."""
        now = time.monotonic()
        self._times.append(now)
        while self._times[0] < now - self.SECONDS:
            self._times.popleft()

    def clear(self) -> None:
        """Begin anew."""
        self._times.clear()

    @property
    def per_second(self) -> float | None:
        """How often, or None where that is not known yet."""
        if len(self._times) < self.LEAST_TIMES:
            return None
        seconds = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / seconds if seconds >= self.LEAST_SECONDS else None
