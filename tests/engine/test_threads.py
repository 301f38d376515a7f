"""How the number of threads follows the time that tokens take. The machine is a function: no clock, no load."""

import random

import pytest

from assistant.engine.threads import Pace, physical_cores

QUIET = {2: 0.0087, 1: 0.0128}
"""Seconds a token by number of threads, as measured on two cores; one thread does not feel a neighbour."""


def run(pace, seconds, tokens):
    """Let so many tokens pass on a machine that takes `seconds(threads, time)`; returns (time, threads, seconds)."""
    threads, now, passed = pace._levels[0], 0.0, []
    for _ in range(tokens):
        took = seconds(threads, now)
        now += took
        passed.append((now, threads, took))
        threads = pace.observe(took) or threads
    return passed


def machine(chance, busy=lambda now: False, collapse=1.0):
    """Two cores. Beside a neighbour two threads take 12 to 45 ms a token, or `collapse` times that."""

    def seconds(threads, now):
        took = QUIET[threads] * chance.uniform(0.97, 1.03) * growth(now)
        if chance.random() < 0.01:
            took *= chance.uniform(1.5, 4)
        if threads == 2 and busy(now):
            took = collapse * chance.uniform(0.012, 0.045) * growth(now)
        return took

    return seconds


def growth(now) -> float:
    """A token takes longer the longer the context is."""
    return 1 + now / 60


def speed(passed, start=0.0, end=float("inf")) -> float:
    """Between two times, as a part of what two threads do on a quiet machine."""
    between = [(now, seconds) for now, _, seconds in passed if start <= now < end]
    return sum(QUIET[2] * 1.0175 * growth(now) for now, _ in between) / sum(seconds for _, seconds in between)


@pytest.mark.parametrize("seed", range(8))
def test_a_quiet_machine_loses_nothing(seed) -> None:
    assert speed(run(Pace(2), machine(random.Random(seed)), 1000)) >= 0.97


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("collapse", [1.0, 2.0, 40.0], ids=["usual", "slow", "collapse"])
def test_beside_a_busy_core_two_thirds_are_left(seed, collapse) -> None:
    passed = run(Pace(2), machine(random.Random(seed), lambda now: now > 2, collapse), 3000)
    assert speed(passed, 4) >= (0.65 if collapse < 40 else 0.55)


@pytest.mark.parametrize("seed", range(8))
def test_a_neighbour_who_was_there_first_is_found_out(seed) -> None:
    passed = run(Pace(2), machine(random.Random(seed), lambda now: True), 2000)
    assert speed(passed, 1) >= 0.65


@pytest.mark.parametrize("seed", range(8))
def test_all_threads_are_back_within_two_seconds(seed) -> None:
    passed = run(Pace(2), machine(random.Random(seed), lambda now: 2 < now < 10), 3000)
    back = [threads for now, threads, _ in passed if now > 12]
    assert back[0] == 2 and back.count(2) >= 0.97 * len(back)


@pytest.mark.parametrize("seed", range(8))
def test_a_neighbour_who_comes_and_goes(seed) -> None:
    """Each second another machine: hardly worse than one thread alone."""
    passed = run(Pace(2), machine(random.Random(seed), lambda now: int(now) % 2), 3000)
    assert speed(passed) >= 0.6


def test_many_cores_give_one_or_two_to_the_neighbours() -> None:
    """Those that are left run on: eight threads beside one neighbour become seven, beside three at most six."""

    def used(busy):
        def seconds(threads, now):
            return 0.1 / threads * (3 if now > 1 and threads > 8 - busy else 1)

        return [threads for _, threads, _ in run(Pace(8), seconds, 800)]

    assert set(used(0)[50:]) == {8}
    assert used(1)[-200:].count(7) > 150
    assert used(3)[-200:].count(4) > 150


def test_a_new_reply_tries_all_threads_once_the_last_trial_is_paid_for() -> None:
    pace = Pace(2)
    run(pace, machine(random.Random(1), lambda now: True), 600)
    pace._pause_up, pace._next_up = 1.4, pace._clock + 1e3
    pace.begin()
    assert pace._levels[pace._at] == 1
    tokens = next(n for n in range(1000) if pace.observe(QUIET[1]) == 2)
    assert tokens * QUIET[1] < 1.5


def test_short_replies_beside_a_standstill_pay_for_one_trial_and_not_for_one_each() -> None:
    pace, used = Pace(2), []
    seconds = machine(random.Random(1), lambda now: True, 40.0)
    for _ in range(12):
        pace.begin()
        threads = pace._levels[pace._at]
        for _ in range(64):
            took = seconds(threads, 0.0)
            used.append((threads, took))
            threads = pace.observe(took) or threads
    assert sum(threads == 2 for threads, _ in used[64:]) <= 3


def test_luck_in_a_trial_ends_with_the_first_standstill() -> None:
    pace = Pace(2)
    run(pace, machine(random.Random(1), lambda now: True), 600)
    pace.begin()
    threads = 1
    while threads == 1:
        threads = pace.observe(QUIET[1]) or 1
    assert [pace.observe(QUIET[2]) for _ in range(4)] == [None] * 4 and pace._levels[pace._at] == 2
    assert pace.observe(5 * QUIET[1]) == 1


def test_one_thread_stays_one() -> None:
    assert {threads for _, threads, _ in run(Pace(1), lambda *_: 1.0, 50)} == {1}


def test_there_is_a_core() -> None:
    assert physical_cores() >= 1
