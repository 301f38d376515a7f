"""How the number of threads follows the time that tokens take."""

from assistant.engine.threads import Pace, physical_cores


def run(pace, threads, seconds, tokens):
    """Let so many tokens pass on a machine that takes `seconds(threads, token)`; returns who had how many."""
    used = []
    for token in range(tokens):
        threads = pace.observe(seconds(threads, token)) or threads
        used.append(threads)
    return used


def test_a_quiet_machine_uses_all_but_for_short_trials() -> None:
    used = run(Pace(2), 2, lambda threads, _: 0.010 if threads == 2 else 0.013, 4000)
    assert used.count(1) < 60


def test_a_busy_neighbour_leaves_one_thread_until_he_goes() -> None:
    def seconds(threads, token):
        busy = 500 <= token < 2500
        return 0.013 if threads == 1 else 0.028 if busy else 0.010

    used = run(Pace(2), 2, seconds, 6000)
    assert used[:250] == [2] * 250
    assert used[520:2500].count(2) < 80
    assert used[-1000:].count(1) < 30


def test_one_thread_stays_one() -> None:
    assert set(run(Pace(1), 1, lambda *_: 1.0, 50)) == {1}


def test_a_single_slow_token_changes_nothing() -> None:
    assert set(run(Pace(2), 2, lambda _, token: 1.0 if token % 50 == 49 else 0.01, 250)) == {2}


def test_there_is_a_core() -> None:
    assert physical_cores() >= 1
