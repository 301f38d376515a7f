"""How many threads to decode with, and when to use fewer."""

import os
from collections import deque
from pathlib import Path
from statistics import median

_WINDOW = 5
_JUMP = 1.5
_PROBE_AFTER = 256
_LONGEST_PAUSE = 8_192


def physical_cores() -> int:
    """The cores that this process may use, hyper-threads counted once; at least 1.

    Two threads on one core wait for each other at every step of the graph, so more of them are slower.
    """
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    if usable is None:
        return max(1, os.cpu_count() or 1)
    siblings = Path("/sys/devices/system/cpu")
    cores = set()
    for cpu in usable:
        try:
            cores.add((siblings / f"cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))


class Pace:
    """Watches how long single tokens take, and says when another number of threads would do better.

    Threads wait for each other hundreds of times a token: if another program takes one core, all of them wait
    for the one that was put aside, and one thread alone is faster than two. Nothing can see that coming, but
    the time a token takes shows it. Only all threads or one are tried: it is the same cliff for any number
    between.
    """

    def __init__(self, threads: int) -> None:
        self._all = threads
        self._now = threads
        self._times: deque[float] = deque(maxlen=_WINDOW)
        self._usual: dict[int, float] = {}  # seconds a token, by number of threads, as last seen
        self._pause = _PROBE_AFTER
        self._left = _PROBE_AFTER  # tokens until the other number is tried again

    def observe(self, seconds: float) -> int | None:
        """Take the time of one token; returns a new number of threads, or None to go on."""
        if self._all == 1:
            return None
        self._times.append(seconds)
        self._left -= 1
        if len(self._times) < _WINDOW:
            return None
        now = median(self._times)
        usual = self._usual.get(self._now)
        other = 1 if self._now > 1 else self._all
        if usual is None:  # just switched, or just begun
            self._usual[self._now] = now
            known = self._usual.get(other)
            if known is None or now <= known:
                return None
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return self._switch(other)
        if now > _JUMP * usual or self._left <= 0:
            self._usual = {self._now: now}
            return self._switch(other)
        self._usual[self._now] = 0.98 * usual + 0.02 * now
        return None

    def _switch(self, threads: int) -> int:
        self._now = threads
        self._left = self._pause
        self._times.clear()
        return threads
