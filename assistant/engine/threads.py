"""How many threads to decode with, and when to use fewer."""

import os
from collections import deque
from pathlib import Path
from statistics import median

_WINDOW = 8
_SLOW = 1.4
"""So many times the usual time is a slow token; three of four are no chance."""
_STANDSTILL, _STANDSTILL_TRIAL = 12, 3
"""So many times the usual time, and one token is enough to try another number, and to end a trial."""
_BETTER, _WORSE = 3, 2
"""So many tokens on either side of the old number's time decide a trial."""
_GAIN = 0.97
_SHORTEST, _LONGEST = 0.25, 1.4
"""Seconds of decoding between two trials: first, and at most; more only where trials cost much."""
_PRICE = 25
"""Of the time between trials, one part in so many may be lost by them."""


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
    for the one that was put aside, and with one thread fewer they are faster. Nothing can see that coming, but
    the time a token takes shows it. Fewer are tried when tokens have become slow, and more from time to time
    where there are fewer than all; a trial is over after a few tokens, sooner if it is worse. The only clock is
    the sum of the times observed.
    """

    def __init__(self, threads: int) -> None:
        self._levels = _levels(threads)
        self._at = self._home = 0  # places in it: now, and before the trial that runs
        self._times: deque[float] = deque(maxlen=_WINDOW)  # of tokens with this number of threads
        self._usual: dict[int, float] = {}  # seconds a token, where fewer threads were seen to be no better
        self._trial: list[float] | None = None
        self._reach = 1  # how far down the next trial goes
        self._below: tuple[int, float] | None = None  # what more threads were just chosen over, and its time
        self._clock = self._climbed = self._next_up = self._next_down = self._paid = 0.0
        self._pause_up = self._pause_down = _SHORTEST

    def observe(self, seconds: float) -> int | None:
        """Take the time of one token; returns a new number of threads, or None to go on."""
        if len(self._levels) == 1:
            return None
        self._clock += seconds
        if self._trial is not None:
            self._trial.append(seconds)
            return self._judge(self._trial)
        self._times.append(seconds)
        if self._below:
            if seconds > _STANDSTILL_TRIAL * self._below[1]:
                return self._fall(seconds, *self._below)
            if len(self._times) == _WINDOW:
                self._below = None
        usual = self._usual.get(self._at)
        if usual is not None and seconds < _SLOW * usual:
            self._usual[self._at] = 0.98 * usual + 0.02 * seconds  # it grows with the context
        if self._at > 0 and self._clock >= self._next_up and len(self._times) >= _BETTER:
            return self._try(self._at - 1)
        if self._at + 1 < len(self._levels) and self._clock >= self._next_down and self._is_slow():
            return self._try(min(self._at + self._reach, len(self._levels) - 1))
        return None

    def begin(self) -> None:
        """A new reply begins: the machine may be another than after the last one."""
        self._next_up, self._pause_up = max(self._clock, self._paid), _SHORTEST

    def _is_slow(self) -> bool:
        """Whether the last tokens were slow, or nobody knows what they should take."""
        usual = self._usual.get(self._at)
        if usual is None:
            return len(self._times) == _WINDOW
        last = list(self._times)[-4:]
        return last[-1] > _STANDSTILL * usual or sum(seconds > _SLOW * usual for seconds in last) >= 3

    def _try(self, level: int) -> int:
        self._home, self._at, self._trial = self._at, level, []
        return self._levels[level]

    def _judge(self, trial: list[float]) -> int | None:
        """Whether the trial is decided, and for whom; returns the number of threads to go back to, if so."""
        before = median(self._times)
        better = sum(seconds < _GAIN * before for seconds in trial)
        if better >= _BETTER:
            self._adopt(trial, before)
        elif len(trial) - better >= _WORSE or trial[-1] > _STANDSTILL_TRIAL * before:
            self._reject(sum(max(0.0, seconds - before) for seconds in trial), before)
            return self._levels[self._at]
        return None

    def _adopt(self, trial: list[float], before: float) -> None:
        self._times.clear()
        self._times.extend(trial)
        self._trial = None
        self._reach = 1
        self._below = (self._home, before) if self._at < self._home else None
        if self._at < self._home:
            self._climbed = self._next_down = self._clock
            self._pause_down = _SHORTEST
        else:
            self._usual.pop(self._at, None)
            # A climb that had to be taken back at once was a bad guess: the next one takes longer to come.
            soon = self._climbed and self._clock - self._climbed < _LONGEST
            self._pause_up = min(2 * self._pause_up, _LONGEST) if soon else _SHORTEST
        self._next_up = self._clock + self._pause_up

    def _reject(self, lost: float, before: float) -> None:
        up, lowest = self._at < self._home, self._at == len(self._levels) - 1
        self._at, self._trial = self._home, None
        if up:
            self._put_off(lost)
        else:
            if self._at in self._usual and not lowest:
                self._reach += 1  # one core less was not enough
            else:
                self._usual[self._at], self._reach = before, 1  # slow or not: it is what a token takes
            self._pause_down = min(2 * self._pause_down, _LONGEST)
            self._next_down = self._clock + max(self._pause_down, _PRICE * lost)

    def _fall(self, seconds: float, level: int, before: float) -> int:
        """Go back to fewer threads at once: that more of them were faster was luck."""
        self._at, self._below = level, None
        self._times.clear()
        self._put_off(seconds - before)
        return self._levels[level]

    def _put_off(self, lost: float) -> None:
        """Try more threads later, and not before what the last trial has cost is a small part of the time."""
        self._pause_up = min(2 * self._pause_up, _LONGEST)
        self._paid = self._clock + _PRICE * lost
        self._next_up = max(self._clock + self._pause_up, self._paid)


def _levels(threads: int) -> list[int]:
    """The numbers of threads to try, from all down to one: the first two free one core more each."""
    numbers = {threads, max(1, threads - 1), max(1, threads - 2)}
    while threads > 1:
        threads //= 2
        numbers.add(threads)
    return sorted(numbers, reverse=True)
